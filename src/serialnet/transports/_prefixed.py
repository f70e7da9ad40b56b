"""A transport some of whose bytes were read before it was handed on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import anyio.lowlevel
from typing_extensions import Buffer, override

from ..core.line import Line
from ..core.loan import Sink, Source
from ..core.transport import Transport

__all__ = ["PrefixedTransport"]


class PrefixedTransport(Transport):
    """Gives first what was read already, then what its transport receives; all else is that transport's.

    :param over: the transport, which is closed with this one
    :param first: what was read of it
    """

    def __init__(self, over: Transport, first: bytes) -> None:
        self._over = over
        self._first = memoryview(first)
        self.line: Line | None = over.line
        self.can_send_eof: bool = over.can_send_eof
        self.native_send_some: bool = over.native_send_some
        self._lends = over._lends

    @override
    async def receive_into(self, buffer: Buffer) -> int:
        if not self._first:
            return await self._over.receive_into(buffer)
        with memoryview(buffer).cast("B") as view:
            if not view:
                raise ValueError("the buffer must have room for one byte at least")
            await anyio.lowlevel.checkpoint()
            n = min(len(view), len(self._first))
            view[:n] = self._first[:n]
            self._first = self._first[n:]
            return n

    @override
    async def send_some(self, data: Buffer) -> int:
        return await self._over.send_some(data)

    @override
    async def _lend_source(self) -> Source | None:
        return None if self._first else await self._over._lend_source()

    @override
    async def _lend_sink(self) -> Sink | None:
        return await self._over._lend_sink()

    @override
    async def send_eof(self) -> None:
        await self._over.send_eof()

    @override
    async def aclose(self) -> None:
        self._first = self._first[:0]
        await self._over.aclose()

    @property
    @override
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return self._over.extra_attributes

    @override
    def _hung_up(self, *, half: bool = False) -> bool:
        return self._over._hung_up(half=half)
