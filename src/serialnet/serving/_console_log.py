"""A file to which all goes that a port says, and the files before it."""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from itertools import pairwise

import anyio
import anyio.to_thread

from ..core.errors import OpenError
from ._view import View
from .sharing import LogOptions

__all__ = ["BUFFER", "ConsoleLog"]

logger: logging.Logger = logging.getLogger("serialnet.server")

#: What may wait for a slow disk.
BUFFER = 1 << 20
# How long the last of it may take at the end.
LAST_WRITE = 2.0


class ConsoleLog:
    """A log that is begun anew when it has reached its size.

    It is written in a thread. When that fails (the disk is full), a warning says so, and what the port says
    is lost for the log until it works again.
    """

    def __init__(self, options: LogOptions, view: View) -> None:
        self._path = options.log
        self._limit = options.log_size
        self._count = options.log_files
        self._view = view
        self._unwritten: deque[bytes] = deque()
        self._writing = threading.Lock()
        self._failing = False
        self._descriptor = self._open()
        self._size = os.fstat(self._descriptor).st_size

    @classmethod
    async def open(cls, options: LogOptions, view: View) -> ConsoleLog:
        """Open the file, or begin it.

        :param view: what is written
        :raises OpenError: if it cannot be written
        """
        try:
            return await anyio.to_thread.run_sync(cls, options, view)
        except OSError as error:
            raise OpenError(error.errno, f"cannot write the log {options.log}: {error.strerror}") from error

    async def run(self, missed: Callable[[int], None]) -> None:
        """Write, for ever.

        :param missed: told of bytes that could not be written
        """
        while True:
            self._unwritten.append(await self._view.next())
            # Who is cancelled does not wait for a disk that hangs.
            if lost := await anyio.to_thread.run_sync(self._write_all, abandon_on_cancel=True):
                missed(lost)

    async def aclose(self) -> None:
        """Write what waits, if that takes no longer than 2 s, and close the file."""
        self._unwritten.append(self._view.take())
        with anyio.move_on_after(LAST_WRITE, shield=True):
            await anyio.to_thread.run_sync(self._close, abandon_on_cancel=True)

    # In a thread

    def _write_all(self) -> int:
        """Write what waits; returns how many bytes could not be written."""
        lost = 0
        with self._writing:
            while self._unwritten:
                lost += self._write(self._unwritten.popleft())
        return lost

    def _write(self, data: bytes) -> int:
        rest = memoryview(data)
        try:
            while rest:
                if self._size >= self._limit:
                    self._begin_anew()
                n = os.write(self._descriptor, rest[: self._limit - self._size])
                self._size += n
                rest = rest[n:]
        except OSError as error:
            if not self._failing:
                logger.warning("the log %s cannot be written, and misses data: %s", self._path, error)
            self._failing = True
        else:
            if self._failing and data:
                logger.warning("the log %s is written again", self._path)
                self._failing = False
        return len(rest)

    def _close(self) -> None:
        self._write_all()
        os.close(self._descriptor)

    def _open(self, *, anew: bool = False) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | (os.O_TRUNC if anew else 0)
        return os.open(self._path, flags, 0o644)

    def _begin_anew(self) -> None:
        names = [self._path, *(f"{self._path}.{number}" for number in range(1, self._count))]
        if os.path.exists(self._path):  # else this failed half-way before
            for newer, older in reversed(list(pairwise(names))):
                if os.path.exists(newer):
                    os.replace(newer, older)
        descriptor = self._open(anew=True)
        os.close(self._descriptor)
        self._descriptor, self._size = descriptor, 0
