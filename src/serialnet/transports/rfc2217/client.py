"""The client's end of an RFC 2217 session: a transport that offers a far line."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
from typing_extensions import Buffer, override

from ...core.errors import LineTimeoutError, OpenError
from ...core.line import Line
from ...core.transport import Transport, TransportAttribute
from ...values.events import InputsChanged, LineErrors, LineEvent
from ...values.settings import Inputs, LineSettings, Outputs, Purge
from ...wire.comport import Answered, Ask, ComPortClient, Policy
from .stream import SessionStream

__all__ = ["RFC2217Line", "RFC2217Transport"]

logger: logging.Logger = logging.getLogger("serialnet.rfc2217")

# Events that a slow watcher may leave waiting before they are merged.
MOST_EVENTS = 64
# How long a server may take over a poll of the modem status lines before we go by what it told unasked.
POLL_TIMEOUT = 0.5


class RFC2217Transport(SessionStream):
    """A serial port far away.

    :param over: carries the session, and is closed with it
    :param timeout: seconds that a server may take over an answer
    :param answers_to_control: see :class:`~serialnet.wire.comport.ComPortClient`
    """

    line: RFC2217Line

    def __init__(self, over: Transport, *, timeout: float = 3.0, answers_to_control: bool = True) -> None:
        self.session: ComPortClient = ComPortClient(answers_to_control=answers_to_control)
        self.session.initiate()
        super().__init__(over, self.session)
        self.timeout = timeout
        self.line = RFC2217Line(self)
        self.received: bytearray = bytearray()
        self.watchers: list[deque[LineEvent]] = []
        self._waiting: dict[Ask, bool | None] = {}
        # Purges that are under way: what comes before their answers was, when they were asked for.
        self._purges: set[Ask] = set()
        self._answers_purges = True
        self._round_trip = 0.0

    async def negotiate(self) -> None:
        """Agree on RFC 2217 with the server, and learn its settings.

        :raises OpenError: if it refuses, or says nothing within the timeout
        """
        try:
            with anyio.fail_after(self.timeout):
                await self._flush()
                await self._until(lambda: self.session.agreed is not None)
            if not self.session.agreed:
                raise OpenError(
                    "the server refuses RFC 2217: is this a raw port? try tcp:// in place of rfc2217://"
                )
            # Many servers do not answer the questions about outputs. They are asked first, so when the
            # answers about settings are here, theirs are, too, or never will be.
            outputs = self.session.query_outputs()
            asked = anyio.current_time()
            await self.request(self.session.query_settings())
            self._round_trip = anyio.current_time() - asked
            for ask in outputs:
                self.session.forget(ask)
        except TimeoutError:
            raise OpenError(
                f"no answer to RFC 2217 within {self.timeout:g} s: is it a raw port? try tcp:// in its place"
            ) from None
        except anyio.EndOfStream:
            raise OpenError("the server closed the connection: is the port in use?") from None
        except anyio.BrokenResourceError as error:
            # Otherwise it says itself why: a command that has failed.
            text = f"is the port in use? ({error})" if isinstance(error.__cause__, OSError) else str(error)
            raise OpenError(f"the server closed the connection: {text}") from error

    async def request(self, asks: Sequence[Ask], timeout: float | None = None) -> bool:
        """Send commands, and wait for their answers.

        :return: whether all were answered
        :raises LineTimeoutError: if one that must be answered was not
        """
        self._check_may_send()
        if not asks:
            await self._flush()
            return True
        self._waiting.update(dict.fromkeys(asks))
        try:
            with anyio.move_on_after(self.timeout if timeout is None else timeout):
                await self._flush()
                await self._until(lambda: all(self._waiting[ask] is not None for ask in asks))
        except anyio.EndOfStream:
            raise anyio.BrokenResourceError("the server closed the connection") from None
        finally:
            silent = [ask for ask in asks if self._waiting.pop(ask) is None]
            for ask in silent:
                self.session.abandon(ask)
        for ask in silent:
            if ask.policy is Policy.REQUIRE:
                raise LineTimeoutError(f"the server did not answer within {self.timeout:g} s: {ask}")
            if ask.policy is Policy.WARN:
                logger.warning("the server did not answer, which is taken for a yes: %s", ask)
                self.session.assume(ask)
        return not silent

    async def purge(self, what: Purge) -> None:
        """Have the server throw away bytes; throw away what is on its way, which comes before the answer."""
        self._check_open()
        asks = self.session.purge(what) if what else []
        if Purge.RECEIVED in what:
            self.received.clear()
            if self._answers_purges:
                self._purges.update(asks)
        try:
            self._answers_purges = await self.request(asks)
        finally:
            self._purges.difference_update(asks)

    @property
    @override
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return {**super().extra_attributes, TransportAttribute.round_trip: lambda: self._round_trip}

    async def flush(self) -> None:
        """Send the commands that wait."""
        await self._flush()

    async def until_event(self, events: deque[LineEvent]) -> None:
        """Wait until a watcher's queue has an event."""
        await self._until(lambda: bool(events))

    @override
    async def receive_into(self, buffer: Buffer) -> int:
        with self._receiving, memoryview(buffer).cast("B") as view:
            if not view:
                raise ValueError("the buffer must have room for one byte at least")
            self._check_open()
            if self.received:
                await anyio.lowlevel.checkpoint()
            while not self.received:
                if n := await self._advance(view):
                    return n
            n = min(len(view), len(self.received))
            view[:n] = self.received[:n]
            del self.received[:n]
            self._tell()  # there is room again
            return n

    @override
    def _digest(self) -> None:
        while (event := self.session.next_event()) is not None:
            if isinstance(event, bytes):
                if not self._purges:
                    self.received += event
            elif not isinstance(event, Answered):
                for events in self.watchers:
                    _append(events, event)
            elif event.ask in self._waiting:
                self._waiting[event.ask] = event.granted
                self._purges.discard(event.ask)
        self._heed()

    @override
    def _is_dry(self) -> bool:
        return super()._is_dry() and not self.received

    @override
    def _room(self) -> int:
        return max(0, super()._room() - len(self.received))


class RFC2217Line(Line):
    """The far line. Its settings are changed by the server where they stand among the bytes sent."""

    _pipelines = True

    def __init__(self, transport: RFC2217Transport) -> None:
        self._transport = transport
        self._session = transport.session
        self._polls = True

    @property
    @override
    def settings(self) -> LineSettings:
        return self._session.settings

    @property
    @override
    def outputs(self) -> Outputs:
        return self._session.outputs

    @override
    async def configure(self, settings: LineSettings) -> LineSettings:
        await self._transport.request(self._session.configure(settings))
        return self.settings

    @override
    async def set_outputs(
        self, *, dtr: bool | None = None, rts: bool | None = None, brk: bool | None = None
    ) -> Outputs:
        await self._transport.request(self._session.set_outputs(dtr=dtr, rts=rts, brk=brk))
        return self.outputs

    @override
    async def get_inputs(self) -> Inputs:
        if self._polls or self._session.inputs is None:
            timeout = min(POLL_TIMEOUT, self._transport.timeout)
            self._polls = await self._transport.request(self._session.get_inputs(), timeout)
        return self._session.inputs or Inputs()

    @override
    async def purge(self, what: Purge) -> None:
        await self._transport.purge(what)

    @override
    async def drain(self) -> None:
        # The server answers in order: all that was sent before has reached the port's driver.
        await self._transport.request(self._session.query_settings())

    @override
    def events(self) -> AbstractAsyncContextManager[AsyncIterator[LineEvent]]:
        return self._events()

    @asynccontextmanager
    async def _events(self) -> AsyncIterator[AsyncIterator[LineEvent]]:
        events: deque[LineEvent] = deque()
        self._transport.watchers.append(events)
        try:
            self._session.watch_errors()
            inputs = await self.get_inputs()
            # What changed meanwhile is in there already.
            others = [event for event in events if not isinstance(event, InputsChanged)]
            events.clear()
            events.extend([InputsChanged(inputs, inputs), *others])
            yield _Events(self._transport, events)
        finally:
            self._transport.watchers.remove(events)


class _Events(AsyncIterator[LineEvent]):
    """Not a generator: a cancelled wait for the next event must not end the watch."""

    def __init__(self, transport: RFC2217Transport, events: deque[LineEvent]) -> None:
        self._transport = transport
        self._events = events

    @override
    async def __anext__(self) -> LineEvent:
        await anyio.lowlevel.checkpoint_if_cancelled()
        try:
            await self._transport.until_event(self._events)
        except anyio.EndOfStream:
            raise StopAsyncIteration from None
        return self._events.popleft()


def _append(events: deque[LineEvent], event: LineEvent) -> None:
    """Queue an event; behind too many, merge it with the last of its kind."""
    if len(events) >= MOST_EVENTS:
        for index in range(len(events) - 1, -1, -1):
            match events[index], event:
                case InputsChanged(before, _), InputsChanged(_, after):
                    events[index] = InputsChanged(before, after)
                    return
                case LineErrors() as before, LineErrors() as after:
                    events[index] = before + after
                    return
                case was, _ if type(was) is type(event):
                    events[index] = event
                    return
    events.append(event)
