"""A port lent for one session: closing the lease leaves the port open."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import anyio
from typing_extensions import Buffer, override

from ..core.line import Line
from ..core.loan import Sink, Source
from ..core.transport import Transport

__all__ = ["Lease"]


class Lease(Transport):
    """A transport that hands everything on to a port, but for the close."""

    can_send_eof: bool = False

    def __init__(self, port: Transport) -> None:
        self._port = port
        self._closed = False
        self.line: Line | None = port.line
        self.native_send_some: bool = port.native_send_some
        self._lends = port._lends

    @override
    async def receive_into(self, buffer: Buffer) -> int:
        self._check_open()
        try:
            return await self._port.receive_into(buffer)
        except anyio.EndOfStream:  # no client can use what is left of it
            raise anyio.BrokenResourceError("it hung up") from None

    @override
    async def send_some(self, data: Buffer) -> int:
        self._check_open()
        return await self._port.send_some(data)

    @override
    async def _lend_source(self) -> Source | None:
        return None if self._closed else await self._port._lend_source()

    @override
    async def _lend_sink(self) -> Sink | None:
        return None if self._closed else await self._port._lend_sink()

    @override
    async def aclose(self) -> None:
        self._closed = True
        await anyio.lowlevel.checkpoint()

    @property
    @override
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return self._port.extra_attributes

    def _check_open(self) -> None:
        if self._closed:
            raise anyio.ClosedResourceError
