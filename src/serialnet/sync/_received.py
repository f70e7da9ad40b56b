"""What was received and not read yet, and what is looked for in it."""

from __future__ import annotations

import codecs
import re
import threading
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

from ..core.transport import Transport

__all__ = ["CAPACITY", "Received", "search"]

CAPACITY = 65536
_SHOWN = 200

R = TypeVar("R")


class Received:
    """A buffer between a transport, which is read on the event loop, and threads, which take from here.

    So nothing is lost when a thread is interrupted while it waits.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._data = bytearray()
        self._lock = threading.Lock()
        self._buffer = bytearray(CAPACITY)

    async def receive(self, max_bytes: int = CAPACITY) -> None:
        """Receive one byte at least."""
        with memoryview(self._buffer) as view:
            n = await self._transport.receive_into(view[:max_bytes])
            with self._lock:
                self._data += view[:n]

    async def until(self, find: Callable[[bytes], R | None]) -> R:
        """Receive until something is found; when the buffer is full, its older half is dropped."""
        while (found := find(self._copy())) is None:
            if len(self._data) >= CAPACITY:
                self.take(CAPACITY // 2)
            await self.receive(CAPACITY - len(self._data))
        return found

    def take(self, n: int) -> bytes:
        """Take up to ``n`` bytes."""
        with self._lock:
            data = bytes(self._data[:n])
            del self._data[:n]
            return data

    def clear(self) -> None:
        """Throw all away."""
        with self._lock:
            self._data.clear()

    @property
    def tail(self) -> str:
        """The end of what is here, for an error."""
        data = self._copy()
        if not data:
            return "nothing came"
        return f"the last that came: {'...' if len(data) > _SHOWN else ''}{data[-_SHOWN:]!r}"

    def _copy(self) -> bytes:
        with self._lock:  # a bytearray cannot change its size while it is copied
            return bytes(self._data)


Search: TypeAlias = Callable[[bytes], tuple[re.Match[bytes] | re.Match[str], int] | None]


def search(pattern: bytes | str | re.Pattern[bytes] | re.Pattern[str]) -> Search:
    """Make what looks for a pattern: it gives the match, and where that ends."""
    compiled: re.Pattern[Any] = re.compile(pattern)

    def in_bytes(data: bytes) -> tuple[re.Match[bytes], int] | None:
        match = compiled.search(data)
        return match and (match, match.end())

    def in_text(data: bytes) -> tuple[re.Match[str], int] | None:
        # The last character may not be here yet.
        text = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode(data)
        match = compiled.search(text)
        return match and (match, len(text[: match.end()].encode("utf-8", "surrogateescape")))

    return in_text if isinstance(compiled.pattern, str) else in_bytes
