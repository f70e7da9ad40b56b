"""Which descriptors are ready: epoll on Linux, :mod:`selectors` elsewhere.

Level-triggered but for :data:`ONCE`, and safe to change while another thread waits. Names and events are
those of :class:`select.epoll`.
"""

from __future__ import annotations

import contextlib
import os
import select
import selectors
import sys
from collections import deque
from typing import Protocol

__all__ = ["GONE", "IN", "ONCE", "OUT", "Notifier", "Readiness", "is_gone"]

IN, OUT = 0x001, 0x004
# As a wish, which only epoll heeds: not to be told again of what was told before (EPOLLET), which saves the
# kernel another look at each that was ready; but to be told of what may lie behind a read that fills no
# buffer: the end of file (EPOLLRDHUP), and whatever follows urgent data (EPOLLPRI).
ONCE = (0x8000_0000 | 0x2000 | 0x002) if sys.platform == "linux" else 0
# Told unasked, by epoll: an error (8), a hang-up (16).
GONE = 0x018


class Notifier(Protocol):
    """Tells which descriptors are ready."""

    def register(self, fd: int, eventmask: int, /) -> None:
        """Wait for these events."""

    def modify(self, fd: int, eventmask: int, /) -> None:
        """Wait for these events instead."""

    def unregister(self, fd: int, /) -> None:
        """Wait for none."""

    def poll(self, timeout: float | None, maxevents: int, /) -> list[tuple[int, int]]:
        """Return what is ready, after a while if need be."""

    def fileno(self) -> int:
        """Return a descriptor that is readable when :meth:`poll` has something to tell."""

    def close(self) -> None:
        """Close what it has open."""


def is_gone(descriptor: int) -> bool:
    """Whether a descriptor has an error or a hang-up to tell."""
    poll = select.poll()
    poll.register(descriptor, 0)
    return bool(poll.poll(0))


class SelectorsReadiness:
    """What :class:`select.epoll` does, by :mod:`selectors`: the waiting thread makes the changes itself."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._changes: deque[tuple[int, int]] = deque()
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._reading, False)
        os.set_blocking(self._writing, False)
        self._selector.register(self._reading, selectors.EVENT_READ)

    def register(self, descriptor: int, mask: int) -> None:
        self._changes.append((descriptor, mask))
        with contextlib.suppress(BlockingIOError):  # full: it wakes up anyway
            os.write(self._writing, b"\0")

    modify = register

    def unregister(self, descriptor: int) -> None:
        self.register(descriptor, 0)

    def poll(self, timeout: float | None = None, maxevents: int = -1) -> list[tuple[int, int]]:
        self._make_changes()
        ready = []
        for key, events in self._selector.select(timeout):
            if key.fd == self._reading:
                os.read(self._reading, 4096)
            else:
                mask = IN * bool(events & selectors.EVENT_READ) | OUT * bool(events & selectors.EVENT_WRITE)
                ready.append((key.fd, mask))
        return ready

    def _make_changes(self) -> None:
        while self._changes:
            descriptor, mask = self._changes.popleft()
            with contextlib.suppress(KeyError, OSError):
                self._selector.unregister(descriptor)
            if mask:
                events = selectors.EVENT_READ * bool(mask & IN) | selectors.EVENT_WRITE * bool(mask & OUT)
                with contextlib.suppress(ValueError, OSError):  # closed: its removal comes next
                    self._selector.register(descriptor, events)

    def fileno(self) -> int:
        return self._selector.fileno()  # kqueue's has one

    def close(self) -> None:
        self._selector.close()
        os.close(self._reading)
        os.close(self._writing)


if sys.platform == "linux":
    Readiness = select.epoll
else:
    Readiness = SelectorsReadiness
