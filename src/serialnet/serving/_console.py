"""What a port says, for all who look on: a fan-out with a bounded buffer for each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import anyio
import anyio.lowlevel
from typing_extensions import Buffer, override

from ..core.errors import LineError
from ..core.line import Line
from ..core.loan import Sink, Source
from ..core.transport import STREAM_ERRORS, Transport
from ..values.events import LineEvent
from ._view import View

__all__ = ["Console"]


class Console(Transport):
    """A port, of which others see all that is received here.

    While nobody looks on, and nothing is to be replayed, the port's descriptors are lent as ever.

    :param replay: how many bytes are kept for those who begin to look on later
    """

    can_send_eof: bool = False

    def __init__(self, port: Transport, replay: int = 0) -> None:
        self.native_send_some: bool = port.native_send_some
        self._lends = port._lends
        self._port = port
        self._replay = replay
        self._said = bytearray()
        self._views: list[View] = []
        self._source: Source | None = None
        self._watched = anyio.Event()
        self._listened = anyio.Event()
        self._listening = anyio.CancelScope()
        self.line: Line | None = port.line

    # Looking on

    def said(self, most: int) -> bytes:
        """The last that was received, as far as it is kept."""
        return bytes(self._said[-most:]) if most else b""

    @property
    def is_watched(self) -> bool:
        """Whether somebody looks on."""
        return bool(self._views)

    async def watched(self) -> None:
        """Wait until somebody looks on."""
        while not self._views:
            await self._watched.wait()

    @contextmanager
    def view(
        self, buffer: int, replay: int = 0, missed: Callable[[int], None] | None = None
    ) -> Iterator[View]:
        """Look on, as long as the block lasts.

        :param buffer: how many bytes may wait
        :param replay: how many bytes from before come first
        :param missed: told of bytes for which there was no room
        """
        view = View(self._port.line, self.said(replay), buffer, missed)
        view.on_listen = self._listen
        self._views.append(view)
        if self._source is not None:
            self._source.revoke()
        self._watched.set()
        try:
            yield view
        finally:
            self._views.remove(view)
            self._listen()
            if not self._views:
                self._watched = anyio.Event()

    # The bytes

    @override
    async def receive_into(self, buffer: Buffer) -> int:
        try:
            n = await self._port.receive_into(buffer)
        except (anyio.EndOfStream, anyio.BrokenResourceError) as error:
            for view in self._views:
                view.end(str(error))
            raise
        if self._views or self._replay:
            with memoryview(buffer).cast("B") as received:
                self._show(received[:n])
        return n

    def _show(self, data: memoryview) -> None:
        for view in self._views:
            view.show(data)
        if self._replay:
            self._said += data
            if len(self._said) > 2 * self._replay:
                del self._said[: -self._replay]

    @override
    async def send_some(self, data: Buffer) -> int:
        return await self._port.send_some(data)

    @override
    async def _lend_source(self) -> Source | None:
        if self._views or self._replay:
            return None
        source = await self._port._lend_source()
        if source is not None and self._views:  # somebody came meanwhile
            source.give_back(None)
            source = None
        self._source = source
        return source

    @override
    async def _lend_sink(self) -> Sink | None:
        return await self._port._lend_sink()

    @override
    async def aclose(self) -> None:
        await self._port.aclose()

    @property
    @override
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return self._port.extra_attributes

    # The line

    def announce(self, event: LineEvent) -> None:
        """Tell those who look on what happened to the line."""
        for view in self._views:
            view.announce(event)

    def _listen(self) -> None:
        """Begin, or cease, to watch the line."""
        if self._has_listeners:
            self._listened.set()
            self._listened = anyio.Event()
        else:
            self._listening.cancel()

    @property
    def _has_listeners(self) -> bool:
        return any(view.listens for view in self._views)

    async def run(self) -> None:
        """Watch the line for all who look on and want to know of it, for ever."""
        while True:
            while self.line is None or not self._has_listeners:
                await self._listened.wait()
            with anyio.CancelScope() as self._listening, suppress(LineError, *STREAM_ERRORS):
                async with self.line.events() as events:
                    async for event in events:
                        self.announce(event)
            if not self._listening.cancel_called:
                return  # the port is lost; whoever reads it says so
