"""``sim://esp32``: a simulated board, for trying things out and for tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.lowlevel
from typing_extensions import Buffer, override

from ..chips import Board
from ..core.endpoint import Endpoint
from ..core.errors import EndpointError, LineTimeoutError
from ..core.line import Line
from ..core.options import option
from ..core.registry import TransportFactory
from ..core.transport import Listener, Transport, TransportAttribute
from ..values.events import LineErrors, LineEvent
from ..values.requests import SetOutputs
from ..values.settings import Inputs, LineSettings, Outputs, Purge
from ._line_options import LineOptions
from ._news import News
from ._polling import Watches

__all__ = ["SimulatedTransport", "factory"]

# What a test does to the board itself (to let it take data again, say) is noticed within this time.
LOOK_AGAIN = 0.02
DRAIN_TIMEOUT = 1.0


class SimulatedTransport(Transport):
    """The serial port of a simulated board; the bytes and the line keep their order to the byte.

    :param board: the board; it stays the caller's to look at and to meddle with
    """

    can_send_eof = False
    line: SimulatedLine

    def __init__(self, board: Board) -> None:
        self.board = board
        self.news: News = News()
        self.closed: bool = False
        self.line = SimulatedLine(self)
        self._receiving = anyio.ResourceGuard("receiving from")
        self._sending = anyio.ResourceGuard("sending to")

    @override
    async def receive_into(self, buffer: Buffer) -> int:
        with self._receiving, memoryview(buffer).cast("B") as view:
            if not view:
                raise ValueError("the buffer must have room for one byte at least")
            await anyio.lowlevel.checkpoint()
            while True:
                self.advance()
                if data := self.board.data_to_send(len(view)):
                    view[: len(data)] = data
                    self.news.tell()
                    return len(data)
                await self.news.wait(self.board.deadline)

    @override
    async def send_some(self, data: Buffer) -> int:
        with self._sending, memoryview(data).cast("B") as view:
            if not view:
                raise ValueError("there must be one byte at least to send")
            await anyio.lowlevel.checkpoint()
            while not (room := self.advance().room):
                await self.pause()
            chunk = bytes(view[:room])
            self.board.receive_data(chunk, anyio.current_time())
            self.news.tell()
            return len(chunk)

    @override
    async def aclose(self) -> None:
        self.closed = True
        self.news.tell()
        await anyio.lowlevel.checkpoint()

    def advance(self) -> Board:
        """Let the board do what is due; raise if there is no board any more."""
        if self.closed:
            raise anyio.ClosedResourceError
        self.board.advance(anyio.current_time())
        if not self.board.connected:
            raise anyio.BrokenResourceError("the device has gone")
        return self.board

    async def pause(self) -> None:
        """Wait until the board may have changed."""
        soon = anyio.current_time() + LOOK_AGAIN
        await self.news.wait(min(soon, self.board.deadline or soon))

    @property
    @override
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        attributes: dict[Any, Callable[[], Any]] = {
            TransportAttribute.url: lambda: f"sim://{self.board.chip}"
        }
        if self.board.usb is not None:
            attributes[TransportAttribute.usb] = lambda: self.board.usb
        return attributes


class SimulatedLine(Line):
    """The line of a simulated board."""

    def __init__(self, transport: SimulatedTransport) -> None:
        self._transport = transport
        self._errors = LineErrors()
        self._watches = Watches(self._look)

    @property
    @override
    def settings(self) -> LineSettings:
        return self._transport.board.settings

    @property
    @override
    def outputs(self) -> Outputs:
        return self._transport.board.outputs

    @override
    async def configure(self, settings: LineSettings) -> LineSettings:
        board = await self._checkpoint()
        if settings != board.settings:
            await self.drain()
            board.configure(settings, anyio.current_time())
            self._transport.news.tell()
        return board.settings

    @override
    async def set_outputs(
        self, *, dtr: bool | None = None, rts: bool | None = None, brk: bool | None = None
    ) -> Outputs:
        board = await self._checkpoint()
        board.set_outputs(SetOutputs(dtr, rts, brk, unchanged=board.outputs).asked, anyio.current_time())
        self._transport.news.tell()
        return board.outputs

    @override
    async def get_inputs(self) -> Inputs:
        return self._watches.saw((await self._checkpoint()).inputs)

    @override
    async def purge(self, what: Purge) -> None:
        board = await self._checkpoint()
        board.purge(what, anyio.current_time())
        self._transport.news.tell()

    @override
    async def drain(self) -> None:
        board = await self._checkpoint()
        unsent, deadline = board.unsent, anyio.current_time() + DRAIN_TIMEOUT
        while board.unsent:
            if board.unsent != unsent:
                unsent, deadline = board.unsent, anyio.current_time() + DRAIN_TIMEOUT
            if anyio.current_time() >= deadline:
                raise LineTimeoutError(f"the board took none of {unsent} bytes for {DRAIN_TIMEOUT:g} s")
            await self._transport.pause()
            self._transport.advance()

    @override
    def events(self) -> AbstractAsyncContextManager[AsyncIterator[LineEvent]]:
        return self._watches.watch()

    async def _look(self) -> tuple[Inputs, LineErrors]:
        board = await self._checkpoint()
        self._errors += board.take_errors()
        return board.inputs, self._errors

    async def _checkpoint(self) -> Board:
        await anyio.lowlevel.checkpoint()
        return self._transport.advance()


@dataclass(frozen=True, slots=True)
class SimOptions(LineOptions):
    """The options of ``sim://``: those of a line and those of a :class:`~serialnet.chips.Board`."""

    capacitor: float = option(1e-6, "of the reset circuit, in farads; 1e-7 is usual, too")
    flash_size: int = option(4 << 20, "bytes")
    pace: bool = option(False, "let bytes take the time that they need at their baud rate")
    reenumerate: bool = option(
        False, "(esp32s2) come back under another name after a reset, as native USB does"
    )
    usb_jtag: bool = option(False, "(esp32c3) reset by the USB Serial/JTAG unit in place of the circuit")


class _Factory:
    options = SimOptions
    layer = False

    async def connect(
        self, endpoint: Endpoint, options: SimOptions, over: Transport | None
    ) -> SimulatedTransport:
        if endpoint.netloc != endpoint.host or endpoint.path:
            raise EndpointError(f"'{endpoint}': expected sim://CHIP and nothing behind it")
        try:
            board = Board(
                endpoint.host,
                capacitor=options.capacitor,
                flash_size=options.flash_size,
                pace=options.pace,
                reenumerate=options.reenumerate,
                usb_jtag=options.usb_jtag,
            )
        except ValueError as error:
            raise EndpointError(f"'{endpoint}': {error}") from None
        transport = SimulatedTransport(board)
        # As opening a serial port does.
        await transport.line.set_outputs(dtr=True, rts=True)
        await options.apply(transport.line)
        return transport

    async def listen(self, endpoint: Endpoint, options: SimOptions, over: Listener | None) -> Listener:
        raise EndpointError(f"'{endpoint}': a board cannot be listened on")


factory: TransportFactory = _Factory()
