"""Bytes between the threads that read and write and the event loop: bounded both ways."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

from serial import SerialException, SerialTimeoutException

__all__ = ["Incoming", "Outgoing"]

CAPACITY = 65536


class _Buffer:
    """What both directions share.

    :param wake: wakes the event loop's end
    """

    def __init__(self, wake: Callable[[], object]) -> None:
        self._bytes = bytearray()
        self._wake: Callable[[], object] = wake
        self._idle = False
        self._cancelled = False
        self._ended: str | None = None
        # Re-entrant, for a signal handler may use the port, too.
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._bytes)

    @property
    def ended(self) -> str | None:
        """Why nothing moves any more."""
        return self._ended

    def end(self, reason: str) -> None:
        """Let all that wait know that nothing will move any more; the first reason counts."""
        with self._changed:
            self._ended = self._ended or reason
            self._changed.notify_all()

    def cancel(self) -> None:
        """End the call that waits or, if none does, the next that would."""
        with self._changed:
            self._cancelled = True
            self._changed.notify_all()

    def after_fork(self) -> None:
        """Be usable, if only to say why it is not: another thread may have held the lock in the parent."""
        self._changed = threading.Condition()

    def _take_cancellation(self) -> bool:
        cancelled, self._cancelled = self._cancelled, False
        return cancelled


class Incoming(_Buffer):
    """Received bytes: the event loop puts them in, and waits while there is no room."""

    def __init__(self, wake: Callable[[], object]) -> None:
        super().__init__(wake)
        self._wanted = 1
        self._waiting = 0
        self._flag: _Flag | None = None

    def put(self, data: memoryview) -> None:
        """(event loop) Take what was received."""
        with self._changed:
            self._bytes += data
            if self._flag:
                self._flag.up()
            if len(self._bytes) >= self._wanted:
                self._changed.notify_all()

    def room(self, most: int) -> int:
        """(event loop) How many bytes may be put; if none, the loop will be woken when that changes."""
        with self._changed:
            room = most - len(self._bytes)
            self._idle = room <= 0
            return room

    def clear(self) -> None:
        """Throw away what is there."""
        with self._changed:
            self._take(len(self._bytes))

    def read(self, size: int, timeout: float | None, inter_byte_timeout: float | None) -> bytes:
        """Wait for ``size`` bytes, and return what came in time.

        :raises SerialException: if nothing is there and nothing will come
        """
        with self._changed:
            if len(self._bytes) >= size:
                return self._take(size)
            deadline = None if timeout is None else monotonic() + timeout
            data = self._take(size)
            while len(data) < size and not self._take_cancellation():
                if self._ended:
                    if not data:
                        raise SerialException(self._ended)
                    break
                left = None if deadline is None else deadline - monotonic()
                if left is not None and left <= 0:
                    break
                if data and inter_byte_timeout:
                    left = inter_byte_timeout if left is None else min(left, inter_byte_timeout)
                self._wait(1 if inter_byte_timeout else min(size - len(data), CAPACITY // 2), left)
                more = self._take(size - len(data))
                if data and inter_byte_timeout and not more:
                    break
                data += more
            return data

    def _wait(self, wanted: int, timeout: float | None) -> None:
        """Wait for that many bytes; of several who wait, each is woken by each byte."""
        self._waiting += 1
        self._wanted = wanted if self._waiting == 1 else 1
        try:
            self._changed.wait(timeout)
        finally:
            self._waiting -= 1

    def _take(self, size: int) -> bytes:
        data = bytes(self._bytes[:size])
        del self._bytes[:size]
        if self._flag and not self._bytes and not self._ended:
            self._flag.down()
        if self._idle and len(self._bytes) <= CAPACITY // 2:
            self._idle = False
            self._wake()
        return data

    def end(self, reason: str) -> None:
        """Let all that wait know that nothing will come any more."""
        with self._changed:
            super().end(reason)
            if self._flag:
                self._flag.up()

    def fileno(self) -> int:
        """A descriptor that is readable exactly while a read would not wait."""
        with self._changed:
            if self._flag is None:
                self._flag = _Flag()
                if self._bytes or self._ended:
                    self._flag.up()
            return self._flag.fileno()

    def close(self) -> None:
        """Close the descriptor, if there is one."""
        with self._changed:
            if self._flag:
                self._flag.close()
                self._flag = None


class Outgoing(_Buffer):
    """Bytes to send: the event loop takes them, and a writer waits while there is no room."""

    def __init__(self, wake: Callable[[], object]) -> None:
        super().__init__(wake)
        self._being_sent = 0

    def write(self, data: bytes, timeout: float | None) -> int:
        """Put bytes in; with a timeout of 0, those for which there is room.

        :return: how many; fewer than all only then, or when cancelled
        :raises SerialTimeoutException: if there was no room in time
        :raises SerialException: if nothing can be sent any more
        """
        deadline = None if timeout is None else monotonic() + timeout
        written = 0
        with self._changed:
            while True:
                if self._ended:
                    raise SerialException(self._ended)
                if room := CAPACITY - len(self._bytes):
                    chunk = data[written : written + room]
                    self._bytes += chunk
                    written += len(chunk)
                    if self._idle:
                        self._idle = False
                        self._wake()
                if written == len(data) or timeout == 0 or self._take_cancellation():
                    return written
                self._wait(deadline)

    def _wait(self, deadline: float | None) -> None:
        left = None if deadline is None else deadline - monotonic()
        if left is not None and left <= 0:
            raise SerialTimeoutException("Write timeout")
        self._changed.wait(left)

    def wait_until_empty(self, timeout: float | None, patience: float | None = None) -> None:
        """Wait until all has been sent.

        :param patience: seconds that may pass without progress
        :raises SerialTimeoutException: if it was not in time
        :raises SerialException: if nothing can be sent any more
        """
        deadline = None if timeout is None else monotonic() + timeout
        before = -1
        with self._changed:
            while True:
                if self._ended:
                    raise SerialException(self._ended)
                if not self._bytes or self._take_cancellation():
                    return
                if patience is not None and len(self._bytes) != before:
                    before, deadline = len(self._bytes), monotonic() + patience
                self._wait(deadline)

    def first(self) -> bytes:
        """(event loop) What is to be sent next; if nothing, the loop will be woken when there is."""
        with self._changed:
            self._idle = not self._bytes
            self._being_sent = len(self._bytes)
            return bytes(self._bytes)

    def sent(self, count: int) -> None:
        """(event loop) Drop what was sent of that, unless it was thrown away meanwhile."""
        with self._changed:
            del self._bytes[: min(count, self._being_sent)]
            self._changed.notify_all()

    def clear(self) -> None:
        """Throw away what was not sent."""
        with self._changed:
            self._bytes.clear()
            self._being_sent = 0
            self._changed.notify_all()


class _Flag:
    """A descriptor that is readable while the flag is up: a socket, which is no terminal."""

    def __init__(self) -> None:
        self._theirs, self._ours = socket.socketpair()
        self._theirs.setblocking(False)
        self._ours.setblocking(False)
        self._up = False

    def up(self) -> None:
        if not self._up:
            self._up = True
            self._ours.send(b"\0")

    def down(self) -> None:
        if self._up:
            self._up = False
            with suppress(BlockingIOError):  # somebody read it
                self._theirs.recv(16)

    def fileno(self) -> int:
        return self._theirs.fileno()

    def close(self) -> None:
        self._theirs.close()
        self._ours.close()
