"""``pyserial:loop://``, ``pyserial:/dev/ttyUSB0``: anything that pyserial opens; all serial ports on Windows.

Two threads read and write, a third does all else; the event loop never waits for a driver.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, TypeVar

import anyio
from anyio.lowlevel import cancel_shielded_checkpoint, checkpoint, checkpoint_if_cancelled
from typing_extensions import Buffer, override

from ..core.endpoint import Endpoint
from ..core.errors import EndpointError, LineError, LineTimeoutError
from ..core.line import Line
from ..core.registry import TransportFactory
from ..core.transport import Listener, Transport
from ..port_list import PortInfo, find_port
from ..values.events import LineErrors, LineEvent
from ..values.settings import Inputs, LineSettings, Outputs, Purge
from ._attributes import port_attributes
from ._line_options import SerialOptions
from ._news import News
from ._polling import Watches
from ._pyserial_port import PyserialPort
from ._worker import Worker, call_soon

__all__ = ["PyserialTransport", "factory"]

logger: logging.Logger = logging.getLogger("serialnet.serial")

T = TypeVar("T")

#: Seconds without progress after which a drain fails.
PATIENCE = 1.0
SHORTEST_NAP = 0.001
LONGEST_NAP = 0.05
#: Seconds that closing may take; what hangs longer is left to its threads.
CLOSING = 3.0
#: Characters in the FIFO of a UART, of which pyserial cannot tell.
FIFO = 16


class PyserialTransport(Transport):
    """A port that pyserial has opened.

    A cancelled ``send_some`` has accepted nothing: what it accepts waits, up to 16 KiB, for the writing
    thread.
    """

    can_send_eof = False
    line: Line

    def __init__(self, endpoint: Endpoint, options: SerialOptions) -> None:
        self._endpoint = endpoint
        self._news = News()
        self._info: PortInfo | None = None
        self._port = PyserialPort(endpoint, options, call_soon(lambda: self._news.tell()))
        self._worker = Worker(f"serialnet {endpoint}")
        self._closed = False
        self._receiving = anyio.ResourceGuard("receiving from")
        self._sending = anyio.ResourceGuard("sending to")
        self.line = self._line = PyserialLine(self._port, self._worker)

    async def open(self) -> None:
        """Open the port; if that is cancelled, the thread closes it as soon as it is open."""

        def open_() -> None:
            self._port.open()
            self._info = find_port(self._endpoint.path)

        try:
            await self._worker.call(open_)
        except BaseException:
            self._worker.end(self._port.close)
            raise

    @override
    async def receive_into(self, buffer: Buffer) -> int:
        with self._receiving, memoryview(buffer).cast("B") as view:
            if not view:
                raise ValueError("the buffer must have room for one byte at least")
            return await self._moved(partial(self._port.take, view))

    @override
    async def send_some(self, data: Buffer) -> int:
        with self._sending, memoryview(data).cast("B") as view:
            if not view:
                raise ValueError("there must be one byte at least to send")
            return await self._moved(partial(self._put, view))

    def _put(self, view: memoryview) -> int:
        return self._port.put(view) if self._port.failure is None else 0

    async def _moved(self, move: Callable[[], int]) -> int:
        """Move bytes, when that is possible; nothing awaits between that and the return."""
        await checkpoint_if_cancelled()
        waited = False
        while True:
            if self._closed:
                raise anyio.ClosedResourceError
            if n := move():
                if not waited:
                    await cancel_shielded_checkpoint()
                return n
            if self._port.failure is not None:
                raise anyio.BrokenResourceError(f"the port has failed: {self._port.failure}")
            await self._news.wait()
            waited = True

    @override
    async def aclose(self) -> None:
        """Close the port, and release BREAK.

        What was sent leaves first, as long as it makes progress; after 1 s without, or when this is
        cancelled, the rest is discarded. It never takes longer than 3 s more.
        """
        if self._closed:
            await checkpoint()
            return
        self._closed = True
        self._news.tell()
        try:
            if not self.line.outputs.brk:  # nothing leaves before that ends
                await self._line.drain()
        except (LineError, anyio.BrokenResourceError) as error:
            logger.debug("%s: closing with bytes unsent: %s", self._endpoint, error)
        finally:
            self._line.closed = True
            await self._end()

    async def _end(self) -> None:
        done = anyio.Event()
        tell = call_soon(done.set)

        def close() -> None:
            try:
                self._port.close()
            finally:
                tell()

        self._worker.end(close)
        with anyio.move_on_after(CLOSING, shield=True) as scope:
            await done.wait()
        if scope.cancelled_caught:
            logger.warning("%s: closing hangs in its driver; its threads are left alone", self._endpoint)

    @override
    def _hung_up(self, *, half: bool = False) -> bool:
        return self._closed or self._port.failure is not None

    @property
    @override
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return port_attributes(self._endpoint, self._info)


class PyserialLine(Line):
    """The line of a pyserial object. All calls are done by one thread, in the order of the callers.

    A cancelled call leaves at once, and is done all the same.
    """

    def __init__(self, port: PyserialPort, worker: Worker) -> None:
        self._port = port
        self._worker = worker
        self._watches = Watches(self._look)
        self._configuring = anyio.Lock()
        self.closed: bool = False

    @property
    @override
    def settings(self) -> LineSettings:
        return self._port.settings

    @property
    @override
    def outputs(self) -> Outputs:
        return self._port.outputs

    @override
    async def configure(self, settings: LineSettings) -> LineSettings:
        async with self._configuring:
            self._check_open()
            if settings != self.settings:
                await self.drain()
                await self._call(partial(self._port.configure, settings))
            return self.settings

    @override
    async def set_outputs(
        self, *, dtr: bool | None = None, rts: bool | None = None, brk: bool | None = None
    ) -> Outputs:
        """Drive DTR, RTS and BREAK; DTR and RTS by two calls of pyserial, right after each other."""
        return await self._call(partial(self._port.set_outputs, dtr, rts, brk))

    @override
    async def get_inputs(self) -> Inputs:
        return self._watches.saw(await self._call(self._port.inputs))

    @override
    async def purge(self, what: Purge) -> None:
        await self._call(partial(self._port.purge, what))

    @override
    async def drain(self) -> None:
        lowest: int | None = None
        deadline = 0.0
        while unsent := await self._unsent():
            now = anyio.current_time()
            if lowest is None or unsent < lowest:
                lowest, deadline = unsent, now + PATIENCE
            elif now >= deadline:
                raise LineTimeoutError(f"the port has sent nothing for {PATIENCE:g} s ({unsent} bytes wait)")
            await anyio.sleep(min(max(self._time_of(unsent), SHORTEST_NAP), LONGEST_NAP))
        if lowest is not None:
            await anyio.sleep(self._time_of(min(lowest, FIFO)))

    @override
    def events(self) -> AbstractAsyncContextManager[AsyncIterator[LineEvent]]:
        """Watch the line, polled every 20 ms while somebody waits for an event; pyserial tells no errors."""
        return self._watches.watch()

    async def _unsent(self) -> int:
        with anyio.move_on_after(PATIENCE):
            return await self._call(self._port.unsent)
        raise LineTimeoutError(f"the port has not answered for {PATIENCE:g} s")

    async def _look(self) -> tuple[Inputs, LineErrors]:
        return await self._call(self._port.inputs), LineErrors()

    def _time_of(self, characters: int) -> float:
        return characters * self.settings.bits_per_character / self.settings.baudrate

    async def _call(self, function: Callable[[], T]) -> T:
        self._check_open()
        return await self._worker.call(function)

    def _check_open(self) -> None:
        if self.closed:
            raise anyio.ClosedResourceError


class _Factory:
    options = SerialOptions
    layer = False

    async def connect(
        self, endpoint: Endpoint, options: SerialOptions, over: Transport | None
    ) -> PyserialTransport:
        if endpoint.host or not endpoint.path:
            raise EndpointError(
                f"'{endpoint}': expected a device or a URL of pyserial's, as COM3 or pyserial:loop://"
            )
        if "?" in endpoint.path and "://" not in endpoint.path:
            raise EndpointError(
                f"'{endpoint}': options behind pyserial: are pyserial's own, and a device has none; "
                "give ours as keyword arguments"
            )
        transport = PyserialTransport(endpoint, options)
        await transport.open()
        return transport

    async def listen(self, endpoint: Endpoint, options: SerialOptions, over: Listener | None) -> Listener:
        raise EndpointError(f"'{endpoint}': a serial port is connected to, it cannot listen")


factory: TransportFactory = _Factory()
