"""A port that outlives its cable: what was lost is opened again, with its settings and lines."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from typing import Any, Protocol, TypeVar

import anyio
import anyio.lowlevel
from typing_extensions import Buffer, override

from ..core import loan
from ..core.errors import LineTimeoutError, MassStorageError, SerialnetError
from ..core.line import Line
from ..core.transport import Transport, TransportAttribute
from ..values.events import InputsChanged, LineEvent, Lost, Restored, SettingsChanged
from ..values.requests import SetOutputs
from ..values.settings import Inputs, LineSettings, Outputs, Purge
from ..wire.touch import TouchWatch
from .policies import SHORT, Gap, GapPolicy, Reconnect

__all__ = ["Kept", "Source"]

logger: logging.Logger = logging.getLogger("serialnet.server")

T = TypeVar("T")

# What a stream says when it is over, whichever way.
OVER = (anyio.EndOfStream, anyio.BrokenResourceError)
# A request that meets a gap is answered when the device is back, or this long after the loss, or after it
# came if that was before: a flasher that resets a board has its answers then, and is not asked to wait longer
# than it does (pyserial: 3 s).
ANSWER_WITHIN = 2.0
DRAIN_WITHIN = 1.0
CLOSE_WITHIN = 2.0
FOREVER = float("inf")


class Source(Protocol):
    """Opens the same port again and again."""

    tells: bool
    """Whether :meth:`changed` can return at all."""

    async def open(self, settings: LineSettings | None, outputs: Outputs | None) -> Transport:
        """Open it, with these settings and lines if it has a line.

        :raises OpenError: if it is not there
        """

    async def changed(self) -> None:
        """Return when it might be there again."""


class Kept(Transport):
    """A transport whose :class:`Source` opens it again when it was lost; :meth:`run` does so.

    Whoever uses it waits while it is gone, up to the gap's patience, and then gets
    ``BrokenResourceError``; later it can be used again. Requests for the line are answered in the gap, and
    hold when the port is back.

    :param transport: what the source opened first
    """

    can_send_eof: bool = False

    def __init__(self, transport: Transport, source: Source, gap: Gap, reconnect: Reconnect) -> None:
        self.native_send_some: bool = transport.native_send_some
        self._lends = transport._lends
        self.on_change: Callable[[Lost | Restored], None] = lambda event: None
        """Is told of each loss and each return."""
        self.losses: int = 0
        """How often it was lost."""
        self.bytes_discarded: int = 0
        """Bytes that were thrown away in gaps."""
        self._current: Transport | None = transport
        self._attributes: Mapping[Any, Callable[[], Any]] = transport.extra_attributes
        self._source = source
        self._gap = gap
        self._reconnect = reconnect
        self.reason: str = ""
        """Why it is gone, or was last."""
        self._lost_at = 0.0
        self._closed = False
        self._changed = anyio.Event()
        self._line = KeptLine(self, transport.line) if transport.line else None
        self.line: Line | None = self._line

    @property
    def lost(self) -> str | None:
        """Why it is gone, if it is."""
        return None if self._current is not None else self.reason

    @property
    def is_given_up(self) -> bool:
        """Whether a session of it would be over by now."""
        return self._current is None and anyio.current_time() >= self._lost_at + self._gap.patience

    async def run(self) -> None:
        """Open the port again whenever it was lost, for ever."""
        delays = self._reconnect.delays()
        while True:
            since = anyio.current_time()
            while self._current is not None:
                await self._changed.wait()
            was_short = self._lost_at - since <= SHORT
            if self._source.tells or not was_short:
                delays = self._reconnect.delays()
            if was_short:  # as when a connection is taken and closed: it must not be dialled without a pause
                delays = await self._pause(delays)
            transport = await self._open(delays)
            if self._closed:
                await anyio.aclose_forcefully(transport)
                return
            self._attributes = transport.extra_attributes
            self._current = transport
            logger.warning("%s is back", self.name)
            self.on_change(Restored(self.name))
            self._tell()

    async def _open(self, delays: Iterator[float]) -> Transport:
        while True:
            settings, outputs = (self._line.settings, self._line.outputs) if self._line else (None, None)
            try:
                transport = await self._source.open(settings, outputs)
                try:
                    if self._line is not None and transport.line is not None:
                        await self._line.restore(transport.line)
                except BaseException:
                    await anyio.aclose_forcefully(transport)
                    raise
                return transport
            except (SerialnetError, OSError, *OVER) as error:
                if isinstance(error, MassStorageError) and self.reason != str(error):
                    self.reason = str(error)
                    logger.warning("%s is not back: %s", self.name, error)
                else:
                    logger.debug("not yet: %s", error)
            delays = await self._pause(delays)

    async def _pause(self, delays: Iterator[float]) -> Iterator[float]:
        """Wait before an attempt; return how long to wait before those after it."""
        with anyio.move_on_after(next(delays)):
            await self._source.changed()
            return self._reconnect.delays()
        return delays

    @property
    def name(self) -> str:
        """Its URL, as it is or was."""
        return self.extra(TransportAttribute.url, "the port")

    async def restored(self) -> None:
        """Wait until it is there.

        :raises ~anyio.ClosedResourceError: if it is closed meanwhile
        """
        while self._current is None:
            self._check_open()
            await self._changed.wait()

    async def present(self, patience: float, since: float = float("inf")) -> Transport | None:
        """The open transport; waited for until ``patience`` seconds after the loss, then ``None``.

        :param since: when that began which has to wait; it waits ``patience`` seconds at most
        """
        with anyio.move_on_at(min(self._lost_at, since) + patience):
            await self.restored()
        self._check_open()
        return self._current

    async def lose(self, transport: Transport, error: Exception) -> None:
        """Take note that a transport is over, and close it at once.

        A device that comes back while its old descriptor is open gets another name.
        """
        if self._current is transport:
            self._current = None
            self.losses += 1
            self._lost_at = anyio.current_time()
            self.reason = str(error) or "it hung up"
            if self._line is not None:
                self._line.note_loss()
            logger.warning("lost %s: %s", self.name, self.reason)
            self.on_change(Lost(self.reason))
            with anyio.move_on_after(CLOSE_WITHIN, shield=True):
                try:
                    await anyio.aclose_forcefully(transport)
                except Exception:
                    logger.exception("a lost port did not close as it should")
            self._tell()
        else:
            await anyio.lowlevel.checkpoint()

    def _tell(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    # The bytes

    @override
    async def receive_into(self, buffer: Buffer) -> int:
        return await self.use(lambda transport: transport.receive_into(buffer), self._gap.patience)

    @override
    async def send_some(self, data: Buffer) -> int:
        discards = self._gap.policy is GapPolicy.DISCARD
        try:
            return await self.use(
                lambda transport: transport.send_some(data), 0.0 if discards else self._gap.patience
            )
        except anyio.BrokenResourceError:
            if not discards:
                raise
            with memoryview(data) as view:
                self.bytes_discarded += view.nbytes
                return view.nbytes

    # A borrower that meets a loss gives the half back, and whoever receives or sends next meets the same.

    @override
    async def _lend_source(self) -> loan.Source | None:
        return None if self._current is None else await self._current._lend_source()

    @override
    async def _lend_sink(self) -> loan.Sink | None:
        return None if self._current is None else await self._current._lend_sink()

    async def use(self, use: Callable[[Transport], Awaitable[T]], patience: float) -> T:
        """Do something with the open transport; once more with the next one, if it is lost meanwhile.

        :raises ~anyio.BrokenResourceError: if there is none, ``patience`` seconds after the loss
        """
        while (transport := await self.present(patience)) is not None:
            try:
                return await use(transport)
            except OVER as error:
                await self.lose(transport, error)
            except anyio.ClosedResourceError:
                if self._current is transport:  # else somebody else noticed the loss
                    raise
        raise anyio.BrokenResourceError(self.reason)

    @override
    async def aclose(self) -> None:
        self._closed = True
        transport, self._current = self._current, None
        self._tell()
        if transport is not None:
            await transport.aclose()
        else:
            await anyio.lowlevel.checkpoint()

    @property
    @override
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return self._attributes

    @override
    def _hung_up(self, *, half: bool = False) -> bool:
        if self._current is None:
            return self.is_given_up
        return self._gap.patience == 0 and self._current._hung_up(half=half)

    def _check_open(self) -> None:
        if self._closed:
            raise anyio.ClosedResourceError


class KeptLine(Line):
    """The line of a port that comes back: what it was last asked for outlives the device."""

    def __init__(self, port: Kept, line: Line) -> None:
        self._port = port
        self._settings = line.settings
        self._outputs = line.outputs
        self._touch = TouchWatch()

    @property
    @override
    def settings(self) -> LineSettings:
        return self._settings

    @property
    @override
    def outputs(self) -> Outputs:
        return self._outputs

    def note_loss(self) -> None:
        """Forget what is not to be taken up again.

        A BREAK ends with the device. If it went just after it had been set to 1200 baud, that was a touch,
        and what comes back is not to be touched again: it gets what was in force before.
        """
        if (before := self._touch.before(anyio.current_time())) is not None:
            self._touch = TouchWatch()
            self._settings, self._outputs = before
        self._outputs = replace(self._outputs, brk=False)

    async def restore(self, line: Line) -> None:
        """Bring a port that was opened again to what was asked for meanwhile."""
        if line.settings != self._settings:
            self._settings = await line.configure(self._settings)
        if line.outputs != self._outputs:
            wanted = self._outputs
            self._outputs = await line.set_outputs(dtr=wanted.dtr, rts=wanted.rts)

    @override
    async def configure(self, settings: LineSettings) -> LineSettings:
        began, is_there = anyio.current_time(), self._port.lost is None
        touches = self._touch.configure(settings, self._settings, self._outputs, began)
        try:
            self._settings = await self._use(lambda line: line.configure(settings))
        except anyio.BrokenResourceError:
            has_obeyed = touches and is_there  # a board that goes at once, see note_loss()
            if not has_obeyed:
                self._settings = settings
            await self._port.present(ANSWER_WITHIN, began)
            if has_obeyed:
                return settings
        return self._settings

    @override
    async def set_outputs(
        self, *, dtr: bool | None = None, rts: bool | None = None, brk: bool | None = None
    ) -> Outputs:
        began = anyio.current_time()
        try:
            self._outputs = await self._use(lambda line: line.set_outputs(dtr=dtr, rts=rts, brk=brk))
        except anyio.BrokenResourceError:
            self._outputs = SetOutputs(dtr, rts, unchanged=self._outputs).asked
            await self._port.present(ANSWER_WITHIN, began)
        return self._outputs

    @override
    async def get_inputs(self) -> Inputs:
        try:
            return await self._use(lambda line: line.get_inputs())
        except anyio.BrokenResourceError:
            return Inputs()  # nobody drives them

    @override
    async def purge(self, what: Purge) -> None:
        with suppress(anyio.BrokenResourceError):  # nothing is on its way then
            await self._use(lambda line: line.purge(what))

    @override
    async def drain(self) -> None:
        try:
            await self._use(lambda line: line.drain(), DRAIN_WITHIN)
        except anyio.BrokenResourceError as error:
            raise LineTimeoutError(f"the device has gone: {error}") from error

    async def _use(self, use: Callable[[Line], Awaitable[T]], patience: float = 0.0) -> T:
        def use_line(transport: Transport) -> Awaitable[T]:
            assert transport.line is not None
            return use(transport.line)

        return await self._port.use(use_line, patience)

    @override
    def events(self) -> AbstractAsyncContextManager[AsyncIterator[LineEvent]]:
        """Watch the line, through losses: each is told as ``Lost`` and ``Restored``, with the inputs off."""
        return self._events()

    @asynccontextmanager
    async def _events(self) -> AsyncIterator[AsyncIterator[LineEvent]]:
        async with AsyncExitStack() as watches:
            yield _Events(self._port, watches)


class _Events(AsyncIterator[LineEvent]):
    """Not a generator: a cancelled wait for the next event must not end the watch."""

    def __init__(self, port: Kept, watches: AsyncExitStack) -> None:
        self._port = port
        self._watches = watches
        self._watched: Transport | None = None
        self._events: AsyncIterator[LineEvent] | None = None
        self._inputs: Inputs | None = None
        self._queue: deque[LineEvent] = deque()

    @override
    async def __anext__(self) -> LineEvent:
        await anyio.lowlevel.checkpoint()
        while not self._queue:
            if self._events is None:
                await self._watch_next()
            else:
                await self._hear(self._events)
        return self._queue.popleft()

    async def _watch_next(self) -> None:
        transport = await self._port.present(FOREVER)
        assert transport is not None
        assert transport.line is not None
        try:
            self._events = await self._watches.enter_async_context(transport.line.events())
        except (*OVER, anyio.ClosedResourceError) as error:
            await self._port.lose(transport, error)
            return
        if self._watched is not None:
            self._queue.append(Restored(self._port.name))
            self._queue.append(SettingsChanged(transport.line.settings, transport.line.outputs))
        self._watched = transport

    async def _hear(self, events: AsyncIterator[LineEvent]) -> None:
        assert self._watched is not None
        try:
            event = await anext(events)
        except (StopAsyncIteration, *OVER, anyio.ClosedResourceError) as error:
            event = Lost(str(error))
        match event:
            case Lost(reason):
                await self._watches.aclose()
                self._events = None
                await self._port.lose(self._watched, anyio.BrokenResourceError(reason))
                self._queue.append(Lost(self._port.reason))
                self._see(Inputs())
            case InputsChanged(_, after):
                self._see(after)
            case _:
                self._queue.append(event)

    def _see(self, inputs: Inputs) -> None:
        """Tell a change; the first report tells the state."""
        before, self._inputs = self._inputs, inputs
        if before != inputs:
            self._queue.append(InputsChanged(inputs if before is None else before, inputs))
