"""The kit catches what is wrong, and names the rule: transports that are broken, each in one way."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import anyio
import pytest
from anyio.lowlevel import checkpoint
from typing_extensions import Buffer, override

from serialnet import (
    AskingTransport,
    Inputs,
    InputsChanged,
    LineEvent,
    LineRequest,
    LineSettings,
    Outputs,
    Purge,
    Transport,
    TransportAttribute,
)
from serialnet.testing import check_transport, conformance
from serialnet.testing.conformance import _pairs, _promises, _resources
from serialnet.transports.loop import LoopLine, LoopTransport
from serialnet.transports.rfc2217 import RFC2217Session, RFC2217Transport


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let the kit make this check alone, and be less patient."""

    def only(name: str) -> None:
        for checks in (conformance.CHECKS, conformance.CLOGGED_CHECKS):
            monkeypatch.setattr(
                conformance,
                "CHECKS" if checks is conformance.CHECKS else "CLOGGED_CHECKS",
                [check for check in checks if check.__name__ == name],
            )
        assert [*conformance.CHECKS, *conformance.CLOGGED_CHECKS]

    monkeypatch.setattr(_promises.promised.__wrapped__, "__defaults__", (1.0,))  # type: ignore[attr-defined]
    monkeypatch.setattr(_resources, "PATIENCE", 0.2)
    monkeypatch.setattr(_pairs, "MOST", 1 << 20)
    return only


class Pipe(Transport):
    """One end of a pair that keeps the contract: two loops, crossed."""

    def __init__(self, incoming: LoopTransport, outgoing: LoopTransport) -> None:
        self.incoming, self.outgoing = incoming, outgoing
        self.closed = False

    @override
    async def receive_into(self, buffer: Buffer) -> int:
        try:
            return await self.incoming.receive_into(buffer)
        except anyio.ClosedResourceError:
            if self.closed:
                raise
            raise anyio.BrokenResourceError from None

    @override
    async def send_some(self, data: Buffer) -> int:
        try:
            return await self.outgoing.send_some(data)
        except anyio.ClosedResourceError:
            if self.closed:
                raise
            raise anyio.BrokenResourceError from None

    @override
    async def send_eof(self) -> None:
        await self.outgoing.send_eof()

    @override
    async def aclose(self) -> None:
        self.closed = True
        with anyio.CancelScope(shield=True):
            await self.incoming.aclose()
            await self.outgoing.aclose()
        await checkpoint()

    @classmethod
    async def pair(cls) -> tuple[Transport, Transport]:
        one, other = LoopTransport(), LoopTransport()
        return cls(one, other), cls(other, one)


class Derived(Pipe):
    native_send_some = False

    @override
    async def receive(self, max_bytes: int = 65536) -> bytes:
        buffer = bytearray(max_bytes)
        n = await Pipe.receive_into(self, buffer)
        return bytes(buffer[:n])

    @override
    async def send(self, item: Buffer) -> None:
        sent = 0
        while sent < len(memoryview(item)):
            sent += await Pipe.send_some(self, memoryview(item)[sent:])
        await checkpoint()

    receive_into = Transport.receive_into
    send_some = Transport.send_some


class Corrupts(Pipe):
    @override
    async def send_some(self, data: Buffer) -> int:
        return await super().send_some(bytes(data).replace(b"\r", b"\n"))


class TakesTooMuchCredit(Pipe):
    @override
    async def send_some(self, data: Buffer) -> int:
        await super().send_some(data)
        return len(memoryview(data)) + 1


class ReturnsNothing(Pipe):
    @override
    async def receive(self, max_bytes: int = 65536) -> bytes:
        with anyio.move_on_after(0.01):
            return await super().receive(max_bytes)
        return b""


class IgnoresMaxBytes(Pipe):
    @override
    async def receive(self, max_bytes: int = 65536) -> bytes:
        return await super().receive(max_bytes + 5 if max_bytes else 0)


class AcceptsAnEmptyBuffer(Pipe):
    @override
    async def receive_into(self, buffer: Buffer) -> int:
        return await super().receive_into(buffer) if len(memoryview(buffer)) else 0


class KeepsTheBuffer(Pipe):
    @override
    async def send_some(self, data: Buffer) -> int:
        n = await super().send_some(data)
        self.kept = memoryview(data)
        return n


class BytesOnly(Pipe):
    @override
    async def send(self, item: Buffer) -> None:
        if not isinstance(item, bytes):
            raise TypeError("bytes, please")
        await super().send(item)


class EofClosesBoth(Pipe):
    @override
    async def send_eof(self) -> None:
        await super().send_eof()
        await self.incoming.send_eof()


class EofIsLost(Pipe):
    @override
    async def send_eof(self) -> None:
        await checkpoint()


class PretendsNoEof(Pipe):
    can_send_eof = False


class LosesWhenCancelled(Pipe):
    @override
    async def receive_into(self, buffer: Buffer) -> int:
        n = await super().receive_into(buffer)
        await checkpoint()
        return n


class AcceptsWhenCancelled(Pipe):
    @override
    async def send_some(self, data: Buffer) -> int:
        try:
            return await super().send_some(data)
        except anyio.get_cancelled_exc_class():
            self.outgoing.bytes += bytes(data)
            raise


class SurvivesCancellation(Derived):
    @override
    async def send_some(self, data: Buffer) -> int:
        await self.send(bytes(data))
        return len(bytes(data))

    def __init_subclass__(cls, **kwargs: Any) -> None: ...


SurvivesCancellation.native_send_some = False


class GrowsWithoutBound(Pipe):
    @override
    async def send_some(self, data: Buffer) -> int:
        await checkpoint()
        if self.closed:
            raise anyio.ClosedResourceError
        if self.outgoing.closed:
            raise anyio.BrokenResourceError
        if not bytes(data):
            raise ValueError
        self.outgoing.bytes += bytes(data)
        self.outgoing.news.tell()
        return len(bytes(data))

    @override
    async def send_eof(self) -> None:
        raise NotImplementedError

    can_send_eof = False


class LetsTwoReceive(Pipe):
    def __init__(self, incoming: LoopTransport, outgoing: LoopTransport) -> None:
        super().__init__(incoming, outgoing)
        self.lock = anyio.Lock()

    @override
    async def receive_into(self, buffer: Buffer) -> int:
        if not len(memoryview(buffer)):
            raise ValueError
        async with self.lock:
            return await super().receive_into(buffer)


class LetsTwoSend(Pipe):
    def __init__(self, incoming: LoopTransport, outgoing: LoopTransport) -> None:
        super().__init__(incoming, outgoing)
        self.lock = anyio.Lock()

    @override
    async def send_some(self, data: Buffer) -> int:
        async with self.lock:
            return await super().send_some(data)


class NeverYields(Pipe):
    @override
    async def receive_into(self, buffer: Buffer) -> int:
        if (n := len(memoryview(buffer))) and len(self.incoming.bytes) >= n:
            memoryview(buffer)[:] = self.incoming.bytes[:n]
            del self.incoming.bytes[:n]
            return n
        return await super().receive_into(buffer)


class ForgetsThatItIsClosed(Pipe):
    @override
    async def send_some(self, data: Buffer) -> int:
        return len(bytes(data)) if self.closed else await super().send_some(data)


class ClosesOnce(Pipe):
    @override
    async def aclose(self) -> None:
        if self.closed:
            raise RuntimeError("closed already")
        await super().aclose()


class LeavesReceiversWaiting(Pipe):
    @override
    async def aclose(self) -> None:
        self.incoming.closed = self.outgoing.closed = self.closed = True
        await checkpoint()


class ClosesUnlessCancelled(Pipe):
    @override
    async def aclose(self) -> None:
        await checkpoint()
        await super().aclose()


class PeerNeverKnows(Pipe):
    @override
    async def aclose(self) -> None:
        self.closed = True
        self.incoming.news.tell()
        self.outgoing.news.tell()
        await checkpoint()

    @override
    async def receive_into(self, buffer: Buffer) -> int:
        if self.closed:
            raise anyio.ClosedResourceError
        waiting = self.incoming.news.wait
        if len(memoryview(buffer)):
            while not self.incoming.bytes and not self.incoming._eof:
                with self.incoming._receiving:
                    await waiting()
                if self.closed:
                    raise anyio.ClosedResourceError
        return await super().receive_into(buffer)

    @override
    async def send_some(self, data: Buffer) -> int:
        if self.closed:
            raise anyio.ClosedResourceError
        return await super().send_some(data)

    @override
    async def send_eof(self) -> None:
        if self.closed:
            raise anyio.ClosedResourceError
        await super().send_eof()


class Tells(Pipe):
    attributes: ClassVar[Mapping[Any, Any]] = {}

    @property
    @override
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return {name: partial(self.attributes.get, name) for name in self.attributes}


class TellsNoUrl(Tells):
    attributes: ClassVar = {TransportAttribute.url: 7}


class TellsThePassword(Tells):
    attributes: ClassVar = {TransportAttribute.url: "tcp://me:hunter2@host:1"}


class TellsTheSecret(Tells):
    attributes: ClassVar = {TransportAttribute.peer: "hunter2"}


class TellsHalfAnUsbId(Tells):
    attributes: ClassVar = {TransportAttribute.usb: (0x303A,)}


class LeaksADescriptor(Pipe):
    left: ClassVar[list[int]] = []

    def __init__(self, incoming: LoopTransport, outgoing: LoopTransport) -> None:
        super().__init__(incoming, outgoing)
        self.left.append(os.open(os.devnull, os.O_RDONLY))


class LeaksAThread(Pipe):
    over = threading.Event()

    def __init__(self, incoming: LoopTransport, outgoing: LoopTransport) -> None:
        super().__init__(incoming, outgoing)
        threading.Thread(target=self.over.wait).start()


@pytest.fixture(autouse=True)
def tidy() -> Iterator[None]:
    LeaksAThread.over.clear()
    yield
    LeaksAThread.over.set()
    while LeaksADescriptor.left:
        os.close(LeaksADescriptor.left.pop())


@pytest.mark.parametrize("kind", [Pipe, Derived])
async def test_what_is_right_passes(kind: type[Pipe]) -> None:
    await check_transport(kind.pair)


@pytest.mark.parametrize(
    ("kind", "check", "message"),
    [
        (Corrupts, "two_way", "what is sent arrives, whole and in order.*in place of 0x0d"),
        (TakesTooMuchCredit, "two_way", "send_some returned"),
        (ReturnsNothing, "receiving", "a receive waits for one byte at least. But .* it returned b''"),
        (IgnoresMaxBytes, "receiving", r"max_bytes at most, as bytes. But receive.1. returned"),
        (
            AcceptsAnEmptyBuffer,
            "receiving",
            "ValueError if the buffer has no room. But it did not raise ValueError",
        ),
        (
            KeepsTheBuffer,
            "sending",
            "may use the buffer again once send.* returns. But the transport still holds on",
        ),
        (BytesOnly, "sending", "takes any buffer of bytes, an empty one, too.*bytes, please"),
        (EofClosesBoth, "half_close", "EndOfStream|receiving"),
        (EofIsLost, "half_close", "send_eof tells the other end.*But nothing happened for 1 s"),
        (PretendsNoEof, "half_close", "NotImplementedError if can_send_eof is false. But it did not raise"),
        (
            LosesWhenCancelled,
            "cancelled_receive",
            r"cancelling a receive loses nothing.*But \d+ of \d+ bytes were lost",
        ),
        (AcceptsWhenCancelled, "clogged_peer", "cancelled, has accepted nothing. But"),
        (SurvivesCancellation, "clogged_peer", "derived from send breaks the transport when it is cancelled"),
        (
            GrowsWithoutBound,
            "clogged_peer",
            "nothing grows without bound. But it accepted 1 MiB that nobody received",
        ),
        (LetsTwoReceive, "busy_receive", "two tasks receive at once, the second gets BusyResourceError"),
        (LetsTwoSend, "clogged_peer", "two tasks send at once, the second gets BusyResourceError"),
        (NeverYields, "checkpoints", "lets other tasks run, receive as well. But three calls in a row"),
        (
            ForgetsThatItIsClosed,
            "closed",
            "send_some raises ClosedResourceError after aclose. But it did not",
        ),
        (ClosesOnce, "closed", "can be closed, more than once. But it raised RuntimeError"),
        (
            LeavesReceiversWaiting,
            "closed_while_receiving",
            "a receive that waits raises ClosedResourceError.*But nothing happened",
        ),
        (ClosesUnlessCancelled, "closed_when_cancelled", "aclose closes also when it is cancelled"),
        (
            PeerNeverKnows,
            "closed_by_peer",
            "tells a receive that waits of a peer that closes. But nothing happened",
        ),
        (TellsNoUrl, "attributes", "is a URL without secrets. But it is 7"),
        (TellsThePassword, "attributes", "is a URL without secrets. But"),
        (TellsTheSecret, "attributes", r"secrets never show. But there is one in .*\*\*\*"),
        (TellsHalfAnUsbId, "attributes", "is a pair of numbers, vendor and product. But it is"),
        (LeaksADescriptor, "leaks", "leaves no descriptors. But 8 were left by 4 pairs"),
        (LeaksAThread, "leaks", "leaves no threads. But . were left by 4 pairs"),
    ],
)
async def test_what_is_wrong_is_named(
    only: Callable[[str], None], kind: type[Pipe], check: str, message: str
) -> None:
    only(check)
    with pytest.raises(AssertionError, match=f"^a Transport promises: .*{message}") as caught:
        await check_transport(kind.pair, secrets=["hunter2"])
    assert kind.__name__ in caught.value.__notes__[0]


class LineFault(LoopLine):
    @override
    async def configure(self, settings: LineSettings) -> LineSettings:
        await super().configure(settings)
        return replace(settings, baudrate=1)


class OutputsFault(LoopLine):
    @override
    async def set_outputs(
        self, *, dtr: bool | None = None, rts: bool | None = None, brk: bool | None = None
    ) -> Outputs:
        return await super().set_outputs(dtr=bool(dtr), rts=rts, brk=brk)


class InputsFault(LoopLine):
    @property
    @override
    def _inputs(self) -> Inputs:
        return Inputs(cts=self._outputs.dtr)


class EventsFault(LoopLine):
    @override
    def events(self) -> AbstractAsyncContextManager[AsyncIterator[LineEvent]]:
        return self._later()

    @asynccontextmanager
    async def _later(self) -> AsyncIterator[AsyncIterator[LineEvent]]:
        async with super().events() as events:
            await anext(events)
            yield events


class GeneratorFault(LoopLine):
    @override
    def events(self) -> AbstractAsyncContextManager[AsyncIterator[LineEvent]]:
        return self._generated()

    @asynccontextmanager
    async def _generated(self) -> AsyncIterator[AsyncIterator[LineEvent]]:
        async with super().events() as events:

            async def each() -> AsyncIterator[LineEvent]:
                async for event in events:
                    yield event

            yield each()


class PurgeFault(LoopLine):
    @override
    async def purge(self, what: Purge) -> None:
        await self._checkpoint()


@pytest.mark.parametrize(
    ("kind", "check", "message"),
    [
        (LineFault, "settings", "line.configure returns the settings in force"),
        (OutputsFault, "outputs", "line.set_outputs drives what is named, in one step"),
        (InputsFault, "outputs", "line.get_inputs reads what the line is wired to"),
        (EventsFault, "events", "the first event of line.events.* tells the state. But nothing happened"),
        (GeneratorFault, "events", "cancelling the wait for an event ends no watch"),
        (PurgeFault, "purging", "line.purge throws received bytes away"),
    ],
)
async def test_lines(only: Callable[[str], None], kind: type[LoopLine], check: str, message: str) -> None:
    only(check)

    @asynccontextmanager
    async def pair() -> AsyncIterator[tuple[Transport, Transport]]:
        loop = LoopTransport()
        loop.line = kind(loop)
        yield loop, loop

    def plug(outputs: Outputs) -> Inputs:
        return Inputs(cts=outputs.rts, dsr=outputs.dtr, cd=outputs.dtr)

    with pytest.raises(AssertionError, match=f"^a Transport promises: {message}"):
        await check_transport(pair, wired=plug)


class Asker(AskingTransport):
    """An RFC 2217 session, which keeps the contract."""

    def __init__(self, over: Transport) -> None:
        self.session = RFC2217Session(over)

    async def receive_event(self, buffer: Buffer) -> int | LineRequest:
        return await self.session.receive_event(buffer)

    async def notify(self, event: LineEvent) -> None:
        await self.session.notify(event)

    @override
    async def send_some(self, data: Buffer) -> int:
        return await self.session.send_some(data)

    @override
    async def send_eof(self) -> None:
        await self.session.send_eof()

    @override
    async def aclose(self) -> None:
        await self.session.aclose()


class AnswersOften(Asker):
    @override
    async def receive_event(self, buffer: Buffer) -> int | LineRequest:
        event = await super().receive_event(buffer)
        if isinstance(event, int):
            return event
        answer, answered = event.answer, False

        async def once(in_force: Any) -> None:
            nonlocal answered
            if not answered:
                answered = True
                await answer(in_force)

        return replace(event, answerer=once)


class Defers(Asker):
    """Hands requests out later than the bytes behind them."""

    deferred: LineRequest | None = None

    @override
    async def receive_event(self, buffer: Buffer) -> int | LineRequest:
        event = await super().receive_event(buffer)
        if isinstance(event, int):
            return event
        await event.answer(event.settings if hasattr(event, "settings") else event.unchanged)  # type: ignore[arg-type]
        return await super().receive_event(buffer)


class HidesEvents(Asker):
    @override
    async def notify(self, event: LineEvent) -> None:
        await super().notify(InputsChanged(Inputs(), Inputs()))


class OwesAnswers(Asker):
    @override
    async def receive_into(self, buffer: Buffer) -> int:
        while not isinstance(event := await self.receive_event(buffer), int):
            pass
        return event


@pytest.mark.parametrize(
    ("kind", "check", "message"),
    [
        (AnswersOften, "answers", "answered exactly once: a second answer raises RuntimeError"),
        (Defers, "order", "bytes and line requests keep their order"),
        (HidesEvents, "notified", "notify tells the asker what happened"),
        (OwesAnswers, "plain_stream", "as a plain byte stream refuses all requests"),
    ],
)
async def test_askers(only: Callable[[str], None], kind: type[Asker], check: str, message: str) -> None:
    only(check)
    with pytest.raises(AssertionError, match=f"^a Transport promises: .*{message}"):
        await check_transport(lambda: session(kind))


async def test_an_asker_that_is_right_passes() -> None:
    await check_transport(lambda: session(Asker))


async def session(kind: type[Asker]) -> tuple[Transport, Transport]:
    one, other = await Pipe.pair()
    asker, offerer = kind(one), RFC2217Transport(other, timeout=1.0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(asker.receive_event, bytearray(1))
        await offerer.negotiate()
        tasks.cancel_scope.cancel()
    return offerer, asker


async def test_a_clogged_pair_may_be_made() -> None:
    made = 0

    async def clogged() -> tuple[Transport, Transport]:
        nonlocal made
        made += 1
        here, there = await Pipe.pair()
        await here.send(bytes(65536))
        return here, there

    await check_transport(Pipe.pair, make_clogged_pair=clogged)
    assert made == 2
