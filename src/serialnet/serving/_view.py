"""What a watcher has in place of a port: all that the port says, and a line that is not one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import anyio
import anyio.lowlevel
from typing_extensions import Buffer, override

from ..core.line import Line
from ..core.transport import Transport
from ..values.events import InputsChanged, LineErrors, LineEvent, SettingsChanged
from ..values.requests import SetOutputs
from ..values.settings import Inputs, LineSettings, Outputs, Purge

__all__ = ["View"]


class View(Transport):
    """All that a port says from now on; what is sent is thrown away.

    :param line: the port's
    :param first: what it said before
    :param buffer: how many bytes may wait to be received; then the oldest are lost
    :param missed: told how many were
    """

    can_send_eof: bool = False

    def __init__(
        self, line: Line | None, first: Buffer, buffer: int, missed: Callable[[int], None] | None = None
    ) -> None:
        self.on_listen: Callable[[], None] = lambda: None
        """Is told when somebody begins or ceases to listen to the line."""
        self._waiting = bytearray(first)
        self._room = max(buffer, len(self._waiting))
        self._missed = missed
        self._over: str | None = None
        self._closed = False
        self._news: anyio.Event | None = None  # while somebody waits for it
        self._line = ViewLine(self, line) if line is not None else None
        self.line: Line | None = self._line

    def show(self, data: memoryview) -> None:
        """Let it receive this."""
        self._waiting += data
        if (excess := len(self._waiting) - self._room) > 0:
            del self._waiting[:excess]
            if self._missed is not None:
                self._missed(excess)
        self._tell()

    def end(self, reason: str) -> None:
        """Say that nothing more will come."""
        self._over = reason
        self._tell()

    async def next(self) -> bytes:
        """Wait for something, and take all of it; an end does not matter."""
        while not self._waiting:
            await self._wait()
        return self.take()

    def take(self) -> bytes:
        """Take all that waits to be received."""
        data = bytes(self._waiting)
        self._waiting.clear()
        return data

    @property
    def listens(self) -> bool:
        """Whether somebody listens to the line."""
        return self._line is not None and self._line.listens

    def announce(self, event: LineEvent) -> None:
        """Tell what happened to the line."""
        if self._line is not None:
            self._line.announce(event)

    def _tell(self) -> None:
        if self._news is not None:
            self._news.set()

    async def _wait(self) -> None:
        self._news = anyio.Event()
        try:
            await self._news.wait()
        finally:
            self._news = None

    @override
    async def receive_into(self, buffer: Buffer) -> int:
        with memoryview(buffer).cast("B") as view:
            if not view:
                raise ValueError("the buffer must have room for one byte at least")
            await anyio.lowlevel.checkpoint_if_cancelled()
            self._check_open()
            if self._waiting:  # else the wait lets the others have their turn
                await anyio.lowlevel.cancel_shielded_checkpoint()
            while not self._waiting:
                self._check_open()
                if self._over is not None:
                    raise anyio.BrokenResourceError(self._over)
                await self._wait()
            n = min(len(view), len(self._waiting))
            with memoryview(self._waiting) as waiting:
                view[:n] = waiting[:n]
            del self._waiting[:n]
            return n

    @override
    async def send_some(self, data: Buffer) -> int:
        self._check_open()
        await anyio.lowlevel.checkpoint()
        return memoryview(data).nbytes

    @override
    async def aclose(self) -> None:
        self._closed = True
        self._tell()
        await anyio.lowlevel.checkpoint()

    def _check_open(self) -> None:
        if self._closed:
            raise anyio.ClosedResourceError


class ViewLine(Line):
    """A line that grants all and changes nothing; what happens to the port's is told here."""

    def __init__(self, view: View, line: Line) -> None:
        self.listens: bool = False
        self._view = view
        self._line = line
        self._settings = line.settings
        self._outputs = line.outputs
        self._inputs: Inputs | None = None
        # One of each kind, merged, so that any number takes bounded memory.
        self._events: dict[type, LineEvent] = {}
        self._news = anyio.Event()

    def announce(self, event: LineEvent) -> None:
        """Take note of what happened to the port's line."""
        match event, self._events.get(type(event)):
            case SettingsChanged(settings, outputs), _:
                if (settings, outputs) == (self._settings, self._outputs):
                    return
                self._settings, self._outputs = settings, outputs
            case InputsChanged(_, after), earlier:
                self._inputs = after
                if isinstance(earlier, InputsChanged):
                    event = InputsChanged(earlier.before, after)
            case LineErrors() as errors, LineErrors() as earlier:
                event = earlier + errors
        if self.listens:
            self._events[type(event)] = event
            self._tell()

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
        await anyio.lowlevel.checkpoint()
        self._settings = settings
        return settings

    @override
    async def set_outputs(
        self, *, dtr: bool | None = None, rts: bool | None = None, brk: bool | None = None
    ) -> Outputs:
        await anyio.lowlevel.checkpoint()
        self._outputs = SetOutputs(dtr, rts, brk, unchanged=self._outputs).asked
        return self._outputs

    @override
    async def get_inputs(self) -> Inputs:
        if self._inputs is not None:
            await anyio.lowlevel.checkpoint()
            return self._inputs
        return await self._line.get_inputs()

    @override
    async def purge(self, what: Purge) -> None:
        await anyio.lowlevel.checkpoint()
        if Purge.RECEIVED in what:
            self._view.take()

    @override
    async def drain(self) -> None:
        await anyio.lowlevel.checkpoint()

    @override
    def events(self) -> AbstractAsyncContextManager[AsyncIterator[LineEvent]]:
        return self._listen()

    @asynccontextmanager
    async def _listen(self) -> AsyncIterator[AsyncIterator[LineEvent]]:
        inputs = await self.get_inputs()
        self._events = {InputsChanged: InputsChanged(inputs, inputs)}
        self.listens = True
        self._view.on_listen()
        try:
            yield _Events(self)
        finally:
            self.listens = False
            self._view.on_listen()

    async def next_event(self) -> LineEvent:
        """Wait for what happens next."""
        await anyio.lowlevel.checkpoint()
        while not self._events:
            await self._news.wait()
        return self._events.pop(next(iter(self._events)))

    def _tell(self) -> None:
        self._news.set()
        self._news = anyio.Event()


class _Events(AsyncIterator[LineEvent]):
    """Not a generator: a cancelled wait for the next event must not end the watch."""

    def __init__(self, line: ViewLine) -> None:
        self._line = line

    @override
    async def __anext__(self) -> LineEvent:
        return await self._line.next_event()
