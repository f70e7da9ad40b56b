"""The plain direction of a bridge: bytes from one transport to the other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio

from ..core.transport import Transport
from .copy.lane import NOTHING, Tap
from .copy.passage import Passage, open_passage
from .copy.poller import Poller
from .copy.waker import Waker
from .stats import Count

__all__ = ["BUFFER_SIZE", "Gate", "Pump", "Shared", "Tap"]

BUFFER_SIZE = 65536


@dataclass(eq=False, slots=True)
class Shared:
    """What both directions of a bridge share when a poller copies them.

    :param poller: who copies; ``None`` for the thread that all bridges share
    """

    poller: Poller | None = None


@dataclass(frozen=True, slots=True)
class Gate:
    """What bytes may have to pass before they go on to the sink."""

    is_shut: Callable[[], bool]
    open: Callable[[], Awaitable[None]]


class Pump:
    """Copies from ``source`` to ``sink`` until ``source`` ends; a slow sink stops the source.

    As long as nothing but bytes comes and both ends can lend their descriptors, a poller does the work
    (:mod:`serialnet.bridge.copy`); else it is done here.

    :param count: what it counts in, at each receive
    :param tap: sees all bytes, and may replace them
    :param gate: looked at before bytes go on, and opened by them
    """

    def __init__(
        self,
        source: Transport,
        sink: Transport,
        shared: Shared,
        count: Count,
        tap: Tap | None,
        gate: Gate | None = None,
    ) -> None:
        self._source = source
        self._sink = sink
        self._shared = shared
        self._count = count
        self._tap = tap
        self._gate = gate
        self._lends = source._lends and sink._lends
        self._passage: Passage | None = None
        self._buffer: memoryview | None = None
        self._pending = NOTHING
        self._sending: anyio.CancelScope | None = None
        self._receiving: anyio.CancelScope | None = None
        self._injected = b""
        self._injection_over: anyio.Event | None = None
        self._taken = 0
        self._at_end = False

    @property
    def at_end(self) -> bool:
        """Whether the source has ended."""
        return self._at_end or (self._passage is not None and self._passage.at_end)

    @property
    def progress(self) -> int:
        """A number that grows whenever bytes come, or the sink takes some that waited."""
        return self._count.bytes + self._taken + (self._passage.taken if self._passage is not None else 0)

    async def run(self) -> None:
        """Copy until the source's end of file.

        :raises SendFailed: if the sink broke; what else is raised is of the source
        """
        try:
            while True:
                await self._deliver()
                if self._lends and self._shut_gate is None:
                    await self._copy()
                    await self._deliver()
                await self._turn()
        except anyio.EndOfStream:
            self._at_end = True

    def inject(self, data: bytes) -> None:
        """Send this after what was received so far, and before what comes next; not to be called by a tap."""
        self._injected += data
        if self._receiving is not None:
            self._receiving.cancel()  # which loses nothing
        if self._passage is not None:
            self._passage.stop()

    async def injected(self) -> None:
        """Wait until what was injected just now has been sent."""
        self._injection_over = anyio.Event()
        await self._injection_over.wait()

    def discard(self) -> None:
        """Throw away the bytes that wait for the sink."""
        self._injected = b""
        if self._passage is not None:
            self._passage.discard()
        self._pending = self._pending[:0]
        if self._sending is not None and self._sink.native_send_some:
            self._sending.cancel()

    # On a poller

    async def open(
        self, wake: Callable[[], None], *, passes_end: bool = False, at_once: bool = False
    ) -> bool:
        """Let a poller copy, if both ends can lend what that needs; ``wake`` is called when it is over."""
        self._passage = await open_passage(
            self._source,
            self._sink,
            self._tap,
            wake,
            self._shared.poller,
            passes_end=passes_end,
            at_once=at_once,
        )
        self._count.passage = self._passage
        return self._passage is not None

    def close(self) -> None:
        """Take the direction back; what the poller had in hand is the first that :meth:`run` sends."""
        passage, self._passage = self._passage, None
        if passage is not None:
            passage.stop()
            self._count.passage = None
            self._count.counted += passage.received
            self._taken += passage.taken
            self._pending = memoryview(passage.unsent)
            self._at_end = passage.passed_end

    @property
    def passage(self) -> Passage | None:
        """The passage that is open."""
        return self._passage

    async def _copy(self) -> None:
        """Let the poller copy until something else than bytes comes."""
        try:
            waker = Waker()
        except OSError:  # no more descriptors, of which the loop needs none
            return
        try:
            if await self.open(waker.wake):
                self._buffer = None
                while not (self._passage_is_over or self._injected):
                    await waker.wait()
        finally:
            self.close()
            waker.close()

    @property
    def _passage_is_over(self) -> bool:
        return self._passage is None or self._passage.is_over

    # Here

    async def _turn(self) -> None:
        """Receive once, and send it."""
        buffer = self._room()
        n = 0
        with anyio.CancelScope() as self._receiving:
            if not self._injected:
                n = await self._source.receive_into(buffer)
        while self._injected:  # before the tap sees more
            self._pending, self._injected = memoryview(self._injected), b""
            await self._deliver()
            if self._injection_over is not None:
                self._injection_over.set()
        if n:
            await self._send(buffer[:n])

    def _room(self) -> memoryview:
        if self._buffer is None:
            self._buffer = memoryview(bytearray(BUFFER_SIZE))
        return self._buffer

    async def _send(self, view: memoryview) -> None:
        self._pending = await self._admit(view)
        await self._deliver()

    @property
    def _shut_gate(self) -> Gate | None:
        return self._gate if self._gate is not None and self._gate.is_shut() else None

    async def _admit(self, view: memoryview) -> memoryview:
        """Do what has to be done before bytes go on, and let the tap see them."""
        if (gate := self._shut_gate) is not None:
            await gate.open()
        self._count.counted += len(view)
        return view if self._tap is None else self._tap(view)

    async def _deliver(self) -> None:
        """Send what is pending."""
        while self._pending:
            with anyio.CancelScope() as self._sending:
                sent = await send_some(self._sink, self._pending)
                self._taken += sent
                self._pending = self._pending[sent:]


class SendFailed(Exception):
    """Wraps the error of a sink, so that it is not taken for one of the source."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


async def send_some(sink: Transport, view: memoryview) -> int:
    """``sink.send_some``, with its errors told apart from the source's."""
    try:
        return await sink.send_some(view)
    except Exception as error:
        raise SendFailed(error) from error
