"""The plain direction of a bridge: bytes from one transport to the other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

import anyio

from ..core.transport import Transport

__all__ = ["BUFFER_SIZE", "Pump", "Tap"]

BUFFER_SIZE = 65536

Tap: TypeAlias = Callable[[memoryview], memoryview]


class Pump:
    """Copies from ``source`` to ``sink`` until ``source`` ends; a slow sink stops the source.

    :param first_data: awaited once, before the first bytes go on
    """

    def __init__(
        self,
        source: Transport,
        sink: Transport,
        tap: Tap,
        first_data: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._source = source
        self._sink = sink
        self._tap = tap
        self._first_data = first_data
        self._pending = memoryview(b"")
        self._sending = anyio.CancelScope()
        self.moved: int = 0
        """Bytes that the sink has taken."""
        self.at_end: bool = False
        """Whether the source has ended."""

    async def run(self) -> None:
        """Copy until the source's end of file.

        :raises SendFailed: if the sink broke; what else is raised is of the source
        """
        buffer = memoryview(bytearray(BUFFER_SIZE))
        try:
            while True:
                n = await self._source.receive_into(buffer)
                if self._first_data is not None:
                    await self._first_data()
                    self._first_data = None
                self._pending = self._tap(buffer[:n])
                while self._pending:
                    with anyio.CancelScope() as self._sending:
                        sent = await send_some(self._sink, self._pending)
                        self.moved += sent
                        self._pending = self._pending[sent:]
        except anyio.EndOfStream:
            self.at_end = True

    def discard(self) -> None:
        """Throw away the bytes that wait for the sink."""
        self._pending = self._pending[:0]
        if self._sink.native_send_some:
            self._sending.cancel()


class SendFailed(Exception):
    """Wraps the error of a sink, so that it is not taken for one of the source."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


async def send_some(sink: Transport, view: memoryview) -> int:
    """``sink.send_some``, with its errors told apart from the source's."""
    try:
        return await sink.send_some(view)
    except Exception as error:
        raise SendFailed(error) from error
