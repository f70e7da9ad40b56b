"""``loop:``: a port with a loopback plug, within the process, for trying things out.

What is sent comes back; RTS is wired to CTS, DTR to DSR and CD, and a BREAK is received as one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import anyio
import anyio.lowlevel
from typing_extensions import Buffer, override

from ..core.endpoint import Endpoint
from ..core.errors import EndpointError
from ..core.line import Line
from ..core.registry import TransportFactory
from ..core.transport import Listener, Transport, TransportAttribute
from ..values.events import LineErrors, LineEvent
from ..values.requests import SetOutputs
from ..values.settings import Inputs, LineSettings, Outputs, Purge
from ._line_options import LineOptions
from ._news import News
from ._polling import Watches

__all__ = ["LoopTransport", "factory"]

CAPACITY = 65536


class LoopTransport(Transport):
    """A port that receives what it sends; it takes :data:`CAPACITY` bytes until they are received."""

    line: LoopLine

    def __init__(self) -> None:
        self.bytes: bytearray = bytearray()
        self.news: News = News()
        self.closed: bool = False
        self.line = LoopLine(self)
        self._eof = False
        self._receiving = anyio.ResourceGuard("receiving from")
        self._sending = anyio.ResourceGuard("sending to")

    @override
    async def receive_into(self, buffer: Buffer) -> int:
        with self._receiving, memoryview(buffer).cast("B") as view:
            if not view:
                raise ValueError("the buffer must have room for one byte at least")
            await anyio.lowlevel.checkpoint()
            while True:
                self.check_open()
                if n := min(len(view), len(self.bytes)):
                    view[:n] = self.bytes[:n]
                    del self.bytes[:n]
                    self.news.tell()
                    return n
                if self._eof:
                    raise anyio.EndOfStream
                await self.news.wait()

    @override
    async def send_some(self, data: Buffer) -> int:
        with self._sending, memoryview(data).cast("B") as view:
            if not view:
                raise ValueError("there must be one byte at least to send")
            await anyio.lowlevel.checkpoint()
            while True:
                self.check_open()
                if self._eof:
                    raise anyio.ClosedResourceError
                if n := min(len(view), CAPACITY - len(self.bytes)):
                    self.bytes += view[:n]
                    self.news.tell()
                    return n
                await self.news.wait()

    @override
    async def send_eof(self) -> None:
        with self._sending:
            await anyio.lowlevel.checkpoint()
            self.check_open()
            self._eof = True
            self.news.tell()

    @override
    async def aclose(self) -> None:
        self.closed = True
        self.news.tell()
        await anyio.lowlevel.checkpoint()

    def check_open(self) -> None:
        """Raise if this is closed."""
        if self.closed:
            raise anyio.ClosedResourceError

    @property
    @override
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return {TransportAttribute.url: lambda: "loop:"}


class LoopLine(Line):
    """The line of a loopback plug."""

    def __init__(self, transport: LoopTransport) -> None:
        self._transport = transport
        self._settings = LineSettings()
        self._outputs = Outputs()
        self._errors = LineErrors()
        self._watches = Watches(self._look)

    @property
    @override
    def settings(self) -> LineSettings:
        return self._settings

    @property
    @override
    def outputs(self) -> Outputs:
        return self._outputs

    @override
    async def configure(self, settings: LineSettings) -> LineSettings:
        await self._checkpoint()
        self._settings = settings
        return settings

    @override
    async def set_outputs(
        self, *, dtr: bool | None = None, rts: bool | None = None, brk: bool | None = None
    ) -> Outputs:
        await self._checkpoint()
        before, self._outputs = self._outputs, SetOutputs(dtr, rts, brk, unchanged=self._outputs).asked
        if self._outputs.brk and not before.brk:
            self._errors += LineErrors(breaks=1)
        return self._outputs

    @override
    async def get_inputs(self) -> Inputs:
        await self._checkpoint()
        return self._watches.saw(self._inputs)

    @override
    async def purge(self, what: Purge) -> None:
        await self._checkpoint()
        self._transport.bytes.clear()
        self._transport.news.tell()

    @override
    async def drain(self) -> None:
        await self._checkpoint()

    @override
    def events(self) -> AbstractAsyncContextManager[AsyncIterator[LineEvent]]:
        return self._watches.watch()

    @property
    def _inputs(self) -> Inputs:
        return Inputs(cts=self._outputs.rts, dsr=self._outputs.dtr, cd=self._outputs.dtr)

    async def _look(self) -> tuple[Inputs, LineErrors]:
        await self._checkpoint()
        return self._inputs, self._errors

    async def _checkpoint(self) -> None:
        await anyio.lowlevel.checkpoint()
        self._transport.check_open()


class _Factory:
    options = LineOptions
    layer = False

    async def connect(
        self, endpoint: Endpoint, options: LineOptions, over: Transport | None
    ) -> LoopTransport:
        if endpoint.netloc or endpoint.path:
            raise EndpointError(f"'{endpoint}': expected loop: and nothing behind it")
        transport = LoopTransport()
        await options.apply(transport.line)
        return transport

    async def listen(self, endpoint: Endpoint, options: LineOptions, over: Listener | None) -> Listener:
        raise EndpointError("loop: cannot listen: nobody could connect to it")


factory: TransportFactory = _Factory()
