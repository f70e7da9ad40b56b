"""What both ends of an RFC 2217 session share: a codec driven over a byte stream."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import anyio
from anyio.lowlevel import cancel_shielded_checkpoint, checkpoint, checkpoint_if_cancelled
from typing_extensions import Buffer, override

from ...core.loan import Sink, Source
from ...core.transport import Transport
from ...wire.comport.session import Session
from ...wire.escaping import escape
from .lending import SessionSink, SessionSource

__all__ = ["SessionStream"]

E = TypeVar("E")

# Commands and replies that may wait for the peer to read; beyond that we stop reading, too.
MOST_UNSENT = 65536
CHUNK = 65536
# Data that the session need not see.
AT_ONCE = 262144
# How long replies may take before they are sent beside the reading instead of before it.
PATIENCE = 0.05
# How long the last replies may take at the close.
FAREWELL = 0.5

IAC = b"\xff"


class SessionStream(Transport, abstract=True):
    """A transport whose bytes are coded by a session and carried by another transport, which it owns.

    Only one task at a time reads from below. Whoever waits for something that the peer has to say reads
    until it is there, unless somebody reads already: then it waits for news. So a request for the line works
    without anybody receiving data, and beside somebody who does.
    """

    def __init__(self, over: Transport, session: Session[E]) -> None:
        self.can_send_eof: bool = over.can_send_eof
        self.native_send_some: bool = over.native_send_some
        self._over = over
        self._codec = session
        self._unsent = bytearray()
        # An IAC may be on the wire whose second half, and the byte that both stand for, are not.
        self._half_sent = False
        # A byte that the caller was not told of went out whole, because a command had to follow it.
        self._sent_ahead = False
        self._writing = anyio.Lock(fast_acquire=True)
        self._sending = anyio.ResourceGuard("sending to")
        self._receiving = anyio.ResourceGuard("receiving from")
        self._reading = False
        self._read_scope = anyio.CancelScope()
        # Whoever reads for want of somebody who receives shall leave it to a borrower.
        self._wanted = False
        self._lends = over._lends
        self._source: SessionSource | None = None
        self._sink: SessionSink | None = None
        self._told: anyio.Event | None = None  # if anybody waits for it
        self._ended: Exception | None = None
        self._sent_end = False
        self._closed = False

    # Sending

    @override
    async def send_some(self, data: Buffer) -> int:
        with self._sending, memoryview(data).cast("B") as view:
            if not view:
                raise ValueError("there must be one byte at least to send")
            self._check_may_send()
            if self._codec.suspended:
                await self._until(lambda: not self._codec.suspended)
            async with self._writing:
                await self._write_commands()
                return await self._write_data(bytes(view[:CHUNK]))

    async def _write_data(self, data: bytes) -> int:
        """Send escaped data, and count what was accepted in bytes of the caller's."""
        if self._sent_ahead:
            self._sent_ahead = False
            if data.startswith(IAC):
                await cancel_shielded_checkpoint()
                return 1
        if self._half_sent and not data.startswith(IAC):
            # The caller dropped the byte whose first half is out; the wire needs the other half.
            self._half_sent = False
            self._unsent += IAC
            await self._write_commands()
        if self._codec.to_terminal:  # what is added cannot be told from data: all of it or nothing
            self._unsent += self._codec.send_data(data)
            await self._write_commands()
            await cancel_shielded_checkpoint()
            return len(data)
        wire = escape(data)
        while True:
            start = int(self._half_sent)
            sent = start + await self._over.send_some(wire[start:])
            if sent == len(wire):
                self._half_sent = False
                return len(data)
            iacs = wire.count(IAC, 0, sent)
            self._half_sent = bool(iacs % 2)
            if accepted := sent - iacs + iacs // 2:
                return accepted

    async def _write_commands(self) -> None:
        """Send what the session has to say, and what an earlier call could not; ``_writing`` is held."""
        self._unsent += self._codec.data_to_send()
        if self._sent_end:  # a peer that goes on asking gets no more answers
            self._unsent.clear()
        if self._unsent and self._sink is not None:
            del self._unsent[: self._sink.interject(bytes(self._unsent))]
            if self._unsent:
                self._sink.revoke()
        if self._unsent and self._half_sent:
            self._half_sent, self._sent_ahead = False, True
            self._unsent[:0] = IAC
        while self._unsent:
            del self._unsent[: await self._over.send_some(bytes(self._unsent))]

    async def _flush(self) -> None:
        await checkpoint()  # there may be nothing to send
        async with self._writing:
            await self._write_commands()

    @override
    async def send_eof(self) -> None:
        with self._sending:
            self._check_open()
            await self._flush()
            self._sent_end = True
            await self._over.send_eof()

    # Reading

    async def _until(self, done: Callable[[], bool]) -> None:
        """Wait for something that the peer has to say."""
        await checkpoint_if_cancelled()
        if done():  # nothing to wait for: let others have their turn
            await cancel_shielded_checkpoint()
        while not done():
            await self._advance()

    async def _advance(self, buffer: memoryview | None = None) -> int:
        """Receive once from below, or wait for news from whoever does already.

        :param buffer: takes what is data and nothing else; all else goes to the session
        :return: how many bytes of data are in the buffer
        """
        self._check_open()
        if self._ended is not None:
            await checkpoint()
            raise self._ended
        room = self._room()
        if self._reading or self._wanted or not room:
            # What was taken out of the session may have been worth a reply, and whoever reads waits.
            await self._while_flushing(self._news().wait)
            return 0
        self._reading = True
        try:
            if buffer is not None and self._codec.is_plain and await self._flush_promptly():
                return await self._receive(buffer[:AT_ONCE], to_session=False)
            with anyio.CancelScope() as self._read_scope:
                view = memoryview(bytearray(room))
                await self._while_flushing(partial(self._receive, view, to_session=True))
            return 0
        finally:
            self._reading = False
            self._tell()

    async def _while_flushing(self, wait: Callable[[], Awaitable[object]]) -> None:
        """Send what there is to send, and wait for something; a peer may do the one only after the other."""
        if await self._flush_promptly():
            await wait()
            return
        failure: Exception | None = None  # out of the task group's wrapping
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._try_flush)
            try:
                await wait()
            except Exception as error:  # noqa: BLE001  # raised below
                failure = error
            tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def _flush_promptly(self) -> bool:
        """Send what there is to send, if that is a short matter, as it is nearly always."""
        self._unsent += self._codec.data_to_send()
        if self._unsent:
            # With too much of it, nothing else is done meanwhile.
            with anyio.move_on_after(PATIENCE if len(self._unsent) < MOST_UNSENT else None):
                await self._try_flush()
        return not self._unsent

    async def _try_flush(self) -> None:
        # Whoever receives hears of it, too, if the connection is broken.
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            await self._flush()

    async def _receive(self, view: memoryview, *, to_session: bool) -> int:
        # From the receive to the codec nothing awaits: what was received is never lost.
        try:
            n = await self._over.receive_into(view)
        except (anyio.EndOfStream, anyio.BrokenResourceError) as error:
            self._ended = error
            return 0
        wire = bytes(view[:n])
        if not to_session and IAC not in wire:
            return n
        self._codec.receive_data(wire)
        self._digest()
        return 0

    def _digest(self) -> None:
        """Take events out of the session, as far as there is room for them."""

    def _room(self) -> int:
        """How many bytes may be read now."""
        return CHUNK

    def _news(self) -> anyio.Event:
        """What is set when there is news, from now on."""
        if self._told is None:
            self._told = anyio.Event()
        return self._told

    def _tell(self) -> None:
        if self._told is not None:
            self._told.set()
            self._told = None

    # Lending

    @override
    async def _lend_source(self) -> Source | None:
        with self._receiving:
            self._wanted = True
            try:
                while self._reading:
                    self._read_scope.cancel()
                    await self._news().wait()
                if not self._is_dry():
                    return None
                over = await self._over._lend_source()
            finally:
                self._wanted = False
        if over is None:
            return None
        self._receiving.__enter__()
        self._reading = True
        self._source = SessionSource(over, self._source_returns)
        return self._source

    def _source_returns(self, wire: bytes) -> None:
        self._source = None
        self._reading = False
        self._receiving.__exit__(None, None, None)
        if wire:
            self._codec.receive_data(wire)
            self._digest()
        self._tell()

    @override
    async def _lend_sink(self) -> Sink | None:
        if not self._is_in_step() or self._writing.locked():
            return None
        over = await self._over._lend_sink()
        if over is None:
            return None
        self._sending.__enter__()
        self._sink = SessionSink(over, self._sink_returns)
        return self._sink

    def _sink_returns(self, unsent: bytes) -> None:
        self._sink = None
        self._sending.__exit__(None, None, None)
        self._unsent[:0] = unsent

    def _is_dry(self) -> bool:
        """Whether all that was received has been handed out, and data comes next or a command."""
        return not self._closed and self._ended is None and self._codec.is_plain

    def _is_in_step(self) -> bool:
        """Whether data can be sent now, escaped and as it is otherwise."""
        sent_all = not (self._unsent or self._half_sent or self._sent_ahead)
        return sent_all and not (self._closed or self._codec.suspended or self._codec.to_terminal)

    def _heed(self) -> None:
        """Take the sending half back, if the peer has said something that matters to it."""
        if self._sink is not None and not self._is_in_step():
            self._sink.revoke()

    # Closing

    @override
    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        for half in (self._source, self._sink):
            if half is not None:
                half.revoke()
        self._tell()
        try:
            with (
                anyio.move_on_after(FAREWELL),
                suppress(anyio.BrokenResourceError, anyio.ClosedResourceError),
            ):
                await self._flush()
        finally:
            await self._over.aclose()

    def _check_open(self) -> None:
        if self._closed:
            raise anyio.ClosedResourceError

    def _check_may_send(self) -> None:
        self._check_open()
        if self._sent_end:
            raise anyio.BrokenResourceError("nothing can be sent after the end")

    @override
    def _hung_up(self, *, half: bool = False) -> bool:
        return self._over._hung_up(half=half)

    @property
    @override
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return self._over.extra_attributes
