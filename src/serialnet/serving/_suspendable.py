"""A lease of a port that can be suspended, while somebody else has the port."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Any, TypeVar

import anyio
import anyio.lowlevel
from typing_extensions import Buffer, override

from ..core.errors import LineError
from ..core.line import Line
from ..core.loan import Sink, Source
from ..core.transport import STREAM_ERRORS, Transport
from ..values.events import LineEvent, SettingsChanged
from ..values.requests import SetOutputs
from ..values.settings import Inputs, LineSettings, Outputs, Purge
from .lease import Lease

__all__ = ["SuspendableLease"]

logger: logging.Logger = logging.getLogger("serialnet.server")

T = TypeVar("T")

# How long what is on its way to the port may keep a suspension waiting.
SUSPEND_WITHIN = 5.0


class SuspendableLease(Lease):
    """A lease that can be suspended.

    While it is, somebody else has the port: nothing is received, what is sent waits, and requests for the
    line are granted and remembered; the port can be brought back to them at the end.

    :param on_change: told what is in force after each change of the line
    """

    def __init__(self, port: Transport, on_change: Callable[[LineEvent], None]) -> None:
        super().__init__(port)
        self.on_change: Callable[[LineEvent], None] = on_change
        self.first: bytes = b""
        """What is received before all else."""
        self.receives: int = 0
        """How often something was received."""
        self.receiving: bool = False
        """Whether somebody waits to receive."""
        self._source: Source | None = None
        self._sink: Sink | None = None
        self._in_use = 0
        self._unused = anyio.Event()
        self._suspended = False
        self._resumed = anyio.Event()
        self._receive_scope: anyio.CancelScope | None = None
        self._send_scope: anyio.CancelScope | None = None
        self._line = _LeaseLine(self, port.line) if port.line is not None else None
        self.line: Line | None = self._line

    # The bytes

    @override
    async def receive_into(self, buffer: Buffer) -> int:
        self.receiving = True
        try:
            while True:
                await self._has_port()
                with anyio.CancelScope() as self._receive_scope:
                    receive = self._receive_first if self.first else super().receive_into
                    return await self.use(receive, buffer)
        finally:
            self.receiving = False
            self.receives += 1

    async def _receive_first(self, buffer: Buffer) -> int:
        await anyio.lowlevel.checkpoint()
        with memoryview(buffer).cast("B") as view:
            n = min(len(view), len(self.first))
            view[:n] = self.first[:n]
        self.first = self.first[n:]
        return n

    @override
    async def send_some(self, data: Buffer) -> int:
        while True:
            await self._has_port()
            with anyio.CancelScope() as self._send_scope:
                return await self.use(super().send_some, data)

    @override
    async def _lend_source(self) -> Source | None:
        source = None if self._suspended or self.first else await super()._lend_source()
        if source is not None and self._suspended:  # by now
            source.give_back(None)
            source = None
        self._source = source
        return source

    @override
    async def _lend_sink(self) -> Sink | None:
        sink = None if self._suspended else await super()._lend_sink()
        if sink is not None and self._suspended:
            sink.give_back(b"")
            sink = None
        self._sink = sink
        return sink

    async def use(self, use: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        """Do something with the port; a suspension waits for it."""
        self._in_use += 1
        try:
            return await use(*arguments)
        finally:
            self._in_use -= 1
            if self._suspended and not self._in_use:
                unused, self._unused = self._unused, anyio.Event()
                unused.set()

    async def _has_port(self) -> None:
        while self._suspended:
            self._check_open()
            await self._resumed.wait()

    # Suspending

    @property
    def suspended(self) -> bool:
        """Whether somebody else has the port."""
        return self._suspended

    async def suspend(self) -> None:
        """Leave the port to somebody else; when this returns, nothing here touches it any more.

        :raises TimeoutError: if it cannot be left within 5 s; it goes on then
        """
        self._suspended = True
        if self._line is not None:
            self._line.remember()
        try:
            for half in (self._source, self._sink):
                if half is not None:
                    half.revoke()  # perhaps it was given back long ago
            if self._receive_scope is not None:
                self._receive_scope.cancel()
            if self._send_scope is not None and self.native_send_some:
                self._send_scope.cancel()
            with anyio.fail_after(SUSPEND_WITHIN):
                while self._in_use:
                    await self._unused.wait()
                if self._line is not None:
                    await self._line.release_break()
        except BaseException:
            self.resume()
            raise

    async def restore_settings(self) -> None:
        """Bring the port's settings to what they were, or were asked to be meanwhile.

        :raises LineError: if they cannot be
        """
        if self._line is not None:
            await self._line.restore_settings()

    async def restore_outputs(self) -> None:
        """Bring DTR and RTS to what they were, or were asked to be meanwhile."""
        if self._line is not None:
            await self._line.restore_outputs()

    def resume(self) -> None:
        """Go on with the port."""
        self._suspended = False
        self._resumed.set()
        self._resumed = anyio.Event()

    @override
    async def aclose(self) -> None:
        await super().aclose()
        self._resumed.set()


class _LeaseLine(Line):
    """The line of a lease: the port's, or what is remembered of it while the lease is suspended."""

    def __init__(self, lease: SuspendableLease, line: Line) -> None:
        self._lease = lease
        self._line = line
        self._settings = line.settings
        self._outputs = line.outputs

    @property
    @override
    def settings(self) -> LineSettings:
        return self._settings if self._lease.suspended else self._line.settings

    @property
    @override
    def outputs(self) -> Outputs:
        return self._outputs if self._lease.suspended else self._line.outputs

    def remember(self) -> None:
        """Remember what is in force."""
        self._settings = self._line.settings
        self._outputs = replace(self._line.outputs, brk=False)

    async def release_break(self) -> None:
        """End a BREAK; it is not taken up again."""
        if self._line.outputs.brk:
            try:
                await self._line.set_outputs(brk=False)
            except (LineError, *STREAM_ERRORS) as error:
                logger.info("a BREAK could not be ended: %s", error)

    async def restore_settings(self) -> None:
        """Put the settings in force that are remembered."""
        if self._line.settings != self._settings:
            await self._line.configure(self._settings)
            self._tell()

    async def restore_outputs(self) -> None:
        """Drive DTR and RTS as it is remembered, in one step."""
        if self._line.outputs != self._outputs:
            await self._line.set_outputs(dtr=self._outputs.dtr, rts=self._outputs.rts)
            self._tell()

    @override
    async def configure(self, settings: LineSettings) -> LineSettings:
        if self._lease.suspended:
            await anyio.lowlevel.checkpoint()
            self._settings = settings
            return settings
        in_force = await self._lease.use(self._line.configure, settings)
        self._settings = in_force  # for it may be suspended by now
        self._tell()
        return in_force

    @override
    async def set_outputs(
        self, *, dtr: bool | None = None, rts: bool | None = None, brk: bool | None = None
    ) -> Outputs:
        if self._lease.suspended:
            await anyio.lowlevel.checkpoint()
            self._outputs = SetOutputs(dtr, rts, False, unchanged=self._outputs).asked
            return self._outputs
        in_force = await self._lease.use(lambda: self._line.set_outputs(dtr=dtr, rts=rts, brk=brk))
        self._outputs = replace(in_force, brk=False)  # for it may be suspended by now
        self._tell()
        return in_force

    def _tell(self) -> None:
        self._lease.on_change(SettingsChanged(self._line.settings, self._line.outputs))

    @override
    async def get_inputs(self) -> Inputs:
        return await self._lease.use(self._line.get_inputs)

    @override
    async def purge(self, what: Purge) -> None:
        if self._lease.suspended:  # what is on its way is somebody else's
            await anyio.lowlevel.checkpoint()
        else:
            await self._lease.use(self._line.purge, what)

    @override
    async def drain(self) -> None:
        if self._lease.suspended:
            await anyio.lowlevel.checkpoint()
        else:
            await self._lease.use(self._line.drain)

    @override
    def events(self) -> AbstractAsyncContextManager[AsyncIterator[LineEvent]]:
        return self._events()

    @asynccontextmanager
    async def _events(self) -> AsyncIterator[AsyncIterator[LineEvent]]:
        async with self._line.events() as events:
            yield _OwnEvents(self, events)


class _OwnEvents(AsyncIterator[LineEvent]):
    """Not a generator: a cancelled wait for the next event must not end the watch."""

    def __init__(self, line: _LeaseLine, events: AsyncIterator[LineEvent]) -> None:
        self._line = line
        self._events = events

    @override
    async def __anext__(self) -> LineEvent:
        event = await anext(self._events)
        if isinstance(event, SettingsChanged):  # somebody else's, perhaps
            return SettingsChanged(self._line.settings, self._line.outputs)
        return event
