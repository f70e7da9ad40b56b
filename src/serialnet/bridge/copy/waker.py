"""How a poller wakes a task: by a descriptor that any event loop can wait for; a closed loop does no harm."""

from __future__ import annotations

import contextlib
import os
import sys

import anyio

__all__ = ["Waker", "forget_wakers"]

MOST_IDLE = 64
ONE = (1).to_bytes(8, sys.byteorder)

_idle: list[tuple[int, int]] = []
_forks = 0


class Waker:
    """Wakes the one task that waits; also when it begins to wait only later."""

    __slots__ = ("_forks", "_reading", "_writing")

    def __init__(self) -> None:
        self._forks = _forks
        try:
            self._reading, self._writing = _idle.pop()
        except IndexError:
            self._reading, self._writing = _open()

    @property
    def descriptor(self) -> int:
        """What is readable when somebody has woken."""
        return self._reading

    def wake(self) -> None:
        """Wake the task, in whatever thread; this does not block."""
        os.write(self._writing, ONE)

    async def wait(self) -> None:
        """Wait until somebody wakes."""
        await anyio.wait_readable(self._reading)
        self.clear()

    def close(self) -> None:
        """Nobody waits or wakes any more."""
        if self._forks != _forks:
            return  # it is the parent's
        self.clear()
        if len(_idle) < MOST_IDLE:
            _idle.append((self._reading, self._writing))
        else:
            _close(self._reading, self._writing)

    def clear(self) -> None:
        """Nobody has woken."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._reading, 8)


def _open() -> tuple[int, int]:
    if sys.platform == "linux":
        event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        return event, event
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    return reading, writing


def _close(reading: int, writing: int) -> None:
    os.close(reading)
    if writing != reading:
        os.close(writing)


def forget_wakers() -> None:
    """In the child of a fork: leave the parent's descriptors alone."""
    global _forks
    _forks += 1
    while _idle:
        _close(*_idle.pop())
