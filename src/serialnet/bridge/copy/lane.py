"""One direction of a bridge as a state machine: what can be read at the source is written to the sink.

    READING   waits for bytes at the source
    SENDING   holds bytes that the sink did not take, and waits for it; the source is not read meanwhile
    OFF       has met something that is not its business, or was stopped; holds what it had in hand

It does no waiting and knows no thread: a poller calls :meth:`Lane.readable` and :meth:`Lane.writable`, one at
a time, and looks at :attr:`Lane.state` for what to wait for next. Each call does a bounded amount of work.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from enum import Enum
from typing import TypeAlias

import anyio

from ...core.loan import Sink, Source
from .pools import PIPE_SIZE, Pipe, give_pipe, give_scratch, take_pipe, take_scratch

__all__ = ["NOTHING", "OFF", "READING", "SENDING", "Lane", "State", "Tap"]

Tap: TypeAlias = Callable[[memoryview], memoryview]

# Splicing has a price for each call and none for each byte: it begins after a read of this size ...
SPLICE_FROM = 16384
# ... and ends with one that is smaller than this.
SPLICE_UNTIL = 4096
# A tty hands out about 4 KiB at a time, however much there is: after a read of this size it is asked again,
READ_AGAIN = 2048
# so often.
MOST_READS = 8

NOTHING = memoryview(b"")


class State(Enum):
    """What a lane waits for."""

    READING = "reading"
    SENDING = "sending"
    OFF = "off"


# Names that cost one look-up.
READING, SENDING, OFF = State.READING, State.SENDING, State.OFF


class Lane:
    """One direction.

    :param count: told of each read, in bytes
    :param tap: sees all bytes, and may replace them
    :param passes_end: whether an end of file is passed on at once, where the sink can do that
    """

    __slots__ = (
        "_count",
        "_held",
        "_in_pipe",
        "_may_splice",
        "_passes_end",
        "_pipe",
        "_sent",
        "_splicing",
        "_tap",
        "_wire",
        "at_end",
        "error",
        "moved",
        "passed_end",
        "sink",
        "source",
        "state",
    )

    def __init__(
        self,
        source: Source,
        sink: Sink,
        count: Callable[[int], None],
        tap: Tap | None = None,
        *,
        passes_end: bool = False,
    ) -> None:
        self.source: Source = source
        self.sink: Sink = sink
        self.state: State = READING
        self.moved: int = 0
        """Bytes that the sink has taken."""
        self.at_end: bool = False
        """Whether the source is at its end of file, and all that came before has been delivered."""
        self.passed_end: bool = False
        """Whether the sink has been told so."""
        self.error: Exception | None = None
        """What reading raised."""
        self._count = count
        self._tap = tap
        self._passes_end = passes_end
        # What the sink takes now: so much of it was sent, and it may lie in a buffer that is ours meanwhile.
        self._wire = NOTHING
        self._sent = 0
        self._held: memoryview | None = None
        self._may_splice = source.splices and sink.splices and tap is None and hasattr(os, "splice")
        self._splicing = False
        self._pipe: Pipe | None = None
        self._in_pipe = 0

    def readable(self) -> None:
        """Move what the source has."""
        if self._splicing:
            self._splice()
            return
        scratch = take_scratch()
        reads = 1
        while self._copy(scratch) >= READ_AGAIN and self.state is READING and not self._may_splice:
            if reads == MOST_READS:
                break
            reads += 1
        if self._held is not scratch:
            give_scratch(scratch)

    def writable(self) -> None:
        """Go on sending."""
        if self._pipe is not None:
            self._empty(self._pipe)
        else:
            self._send(self._wire, self._sent)

    def stop(self) -> bytes:
        """Stop whatever it does.

        :return: what was read and not sent
        """
        self.state = OFF
        unsent = bytes(self._wire[self._sent :])
        self._wire = NOTHING
        self._release()
        if self._pipe is not None:
            while self._in_pipe:
                piece = os.read(self._pipe.reading, self._in_pipe)
                self._in_pipe -= len(piece)
                unsent += piece
            give_pipe(self._pipe)
            self._pipe = None
        return unsent

    def interject(self, wire: bytes) -> int:
        """Write something of the sink's owner's, unless there is something unsent; returns how much."""
        if self.state is not READING:
            return 0
        try:
            return self.sink.write(memoryview(wire))
        except (OSError, anyio.BrokenResourceError):  # whoever sends next meets it
            return 0

    def discard(self) -> None:
        """Throw away what was read and not sent."""
        if self.state is SENDING and self._pipe is None:
            wire, sent = self._wire, self._sent
            self._wire = wire[: sent + self.sink.remainder(wire, sent)]

    def compact(self) -> None:
        """Hold no more memory than what is unsent needs."""
        if self._held is not None:
            self._wire = memoryview(bytes(self._wire))
            self._release()

    def _copy(self, scratch: memoryview) -> int:
        """Read once, and send; returns the number of bytes read."""
        try:
            data = self.source.read(scratch)
        except BlockingIOError:
            return 0
        except Exception as error:  # noqa: BLE001  # whoever receives next raises it
            self.error = error
            self.state = OFF
            return 0
        n = len(data)
        if n == 0:
            self._end()
            return 0
        self._count(n)
        if self._tap is not None:
            data = self._tap(data)
            if not data:
                self.state = OFF if self.source.pauses else READING
                return n
        self._splicing = self._may_splice and n >= SPLICE_FROM
        self._send(self.sink.encode(data), 0, scratch)
        return n

    def _end(self) -> None:
        self.state = OFF
        self.at_end = not self.source.pauses
        if self.at_end and self._passes_end and self.sink.send_eof is not None:
            with contextlib.suppress(OSError):  # then whoever tries again meets it
                self.sink.send_eof()
                self.passed_end = True

    def _send(self, wire: memoryview, sent: int, scratch: memoryview | None = None) -> None:
        """Write what follows ``sent``; if it lies in ``scratch``, that is kept until the sink has it."""
        unsent = SENDING
        try:
            n = self.sink.write(wire[sent:] if sent else wire)
        except BlockingIOError:
            n = 0
        except Exception:  # noqa: BLE001  # whoever sends next meets it
            n = 0
            unsent = OFF
        self.moved += n
        sent += n
        if sent < len(wire):
            self._wire, self._sent = wire, sent
            if scratch is not None:
                self._held = scratch
            self.state = unsent
            return
        self._wire = NOTHING
        if self._held is not None:
            self._release()
        self.state = OFF if self.source.pauses else READING

    def _release(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            give_scratch(held)

    def _splice(self) -> None:
        pipe = take_pipe()
        if pipe is None:
            self._splicing = False
            return
        try:
            n = os.splice(
                self.source.descriptor,
                pipe.writing,
                PIPE_SIZE,
                flags=os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE,
            )
        except OSError as error:
            give_pipe(pipe)
            if error.errno == errno.EINVAL:
                self._may_splice = self._splicing = False
            elif error.errno != errno.EAGAIN:
                self.error = error
                self.state = OFF
            return
        if n == 0:
            give_pipe(pipe)
            self._end()
            return
        self._count(n)
        self._splicing = n >= SPLICE_UNTIL
        self._pipe, self._in_pipe = pipe, n
        self._empty(pipe)

    def _empty(self, pipe: Pipe) -> None:
        while self._in_pipe:
            try:
                n = os.splice(
                    pipe.reading,
                    self.sink.descriptor,
                    self._in_pipe,
                    flags=os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE,
                )
            except BlockingIOError:
                self.state = SENDING
                return
            except OSError:
                self.state = OFF
                return
            self._in_pipe -= n
            self.moved += n
        give_pipe(pipe)
        self._pipe = None
        self.state = READING
