"""inotify(7), as far as we need it: what comes and goes in directories, who opens and closes a file."""

from __future__ import annotations

import ctypes
import os
import struct
from typing import NamedTuple

__all__ = ["CREATED", "DELETED", "Inotify", "Seen"]

CREATED = 0x100 | 0x80  # IN_CREATE, IN_MOVED_TO
DELETED = 0x200 | 0x40  # IN_DELETE, IN_MOVED_FROM
EVENT = struct.Struct("iIII")


class Seen(NamedTuple):
    """What happened to a name."""

    mask: int
    name: str


class Inotify:
    """One inotify descriptor. It becomes readable when something has happened.

    :raises OSError: if the system has none, or no more
    """

    def __init__(self) -> None:
        try:
            self._libc = ctypes.CDLL(None, use_errno=True)
            self.descriptor: int = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        except (AttributeError, TypeError) as error:  # not on Linux
            raise OSError("no inotify here") from error
        self._check(self.descriptor)

    def add(self, path: str, mask: int) -> None:
        """Watch a file or a directory; again, where it is watched already, changes nothing."""
        self._check(self._libc.inotify_add_watch(self.descriptor, os.fsencode(path), mask))

    def read(self) -> list[Seen]:
        """All that has happened since, at once."""
        seen: list[Seen] = []
        while True:
            try:
                data = os.read(self.descriptor, 4096)
            except BlockingIOError:
                return seen
            at = 0
            while at < len(data):
                _, mask, _, length = EVENT.unpack_from(data, at)
                at += EVENT.size
                seen.append(Seen(mask, os.fsdecode(data[at : at + length].rstrip(b"\0"))))
                at += length

    def close(self) -> None:
        """Stop watching."""
        os.close(self.descriptor)

    @staticmethod
    def _check(result: int) -> None:
        if result < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
