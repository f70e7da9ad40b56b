"""One direction of a bridge as a state machine: what can be read at the source is written to the sink.

    READING   waits for bytes at the source
    SENDING   holds bytes that the sink did not take, and waits for it; the source is not read meanwhile
    OFF       has met something that is not its business, or was stopped; holds what it had in hand

It does no waiting and knows no thread: a poller calls :meth:`Lane.readable` and :meth:`Lane.writable`, one at
a time, and looks at :attr:`Lane.state` for what to wait for next. Each call does a bounded amount of work.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from enum import Enum
from typing import TypeAlias

import anyio

from ...core.loan import Sink, Source
from .pools import give_scratch, take_scratch

__all__ = ["NOTHING", "OFF", "READING", "SENDING", "Lane", "State", "Tap"]

Tap: TypeAlias = Callable[[memoryview], memoryview]

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

    :param wake: for the poller: called when the lane has gone off by itself, in whatever thread
    :param tap: sees all bytes, and may replace them
    :param passes_end: whether an end of file is passed on at once, where the sink can do that
    """

    __slots__ = (
        "_held",
        "_passes_end",
        "_sent",
        "_tap",
        "_wire",
        "at_end",
        "error",
        "passed_end",
        "received",
        "sink",
        "source",
        "state",
        "taken",
        "tells_rest",
        "wake",
    )

    def __init__(
        self,
        source: Source,
        sink: Sink,
        wake: Callable[[], None],
        tap: Tap | None = None,
        *,
        passes_end: bool = False,
    ) -> None:
        self.source: Source = source
        self.sink: Sink = sink
        self.wake: Callable[[], None] = wake
        self.tells_rest: bool = False
        """Whether :meth:`readable` returns whether it may have left something behind."""
        self.state: State = READING
        self.received: int = 0
        """Bytes that came from the source."""
        self.taken: int = 0
        """Bytes that the sink has taken by now, of those that waited for it."""
        self.at_end: bool = False
        """Whether the source is at its end of file, and all that came before has been delivered."""
        self.passed_end: bool = False
        """Whether the sink has been told so."""
        self.error: Exception | None = None
        """What reading raised."""
        self._tap = tap
        self._passes_end = passes_end
        # What the sink takes now: so much of it was sent, and it may lie in a buffer that is ours meanwhile.
        self._wire = NOTHING
        self._sent = 0
        self._held: memoryview | None = None

    def readable(self) -> bool:
        """Move what the source has.

        :return: whether it may have more, if :attr:`tells_rest`
        """
        scratch = take_scratch()
        reads = 1
        while self._copy(scratch) >= READ_AGAIN and self.state is READING and reads < MOST_READS:
            reads += 1
        if self._held is not scratch:
            give_scratch(scratch)
        return False

    def writable(self) -> None:
        """Go on sending."""
        wire, sent = self._wire, self._sent
        sent += self._write(wire[sent:])
        if sent < len(wire):
            self.taken += sent - self._sent
            self._sent = sent
        elif self.state is SENDING:
            self.taken += sent - self._sent
            self._wire = NOTHING
            self._release()
            self.state = OFF if self.source.pauses else READING

    def stop(self) -> bytes:
        """Stop whatever it does.

        :return: what was read and not sent
        """
        self.state = OFF
        unsent = bytes(self._wire[self._sent :])
        self._wire = NOTHING
        self._release()
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
        if self.state is SENDING:
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
            self._fail(error)
            return 0
        n = len(data)
        if n == 0:
            self._end()
            return 0
        self.received += n
        if self._tap is not None:
            data = self._tap(data)
        encode = self.sink.encode
        wire = data if encode is None else encode(data)
        if wire:
            sent = self._write(wire)
            if sent < len(wire):
                self._keep(wire, sent, scratch)
                return n
        if self.source.pauses:
            self.state = OFF
        return n

    def _write(self, wire: memoryview) -> int:
        """Let the sink take what it will; turns off if it is broken."""
        try:
            return self.sink.write(wire)
        except BlockingIOError:
            return 0
        except Exception:  # noqa: BLE001  # whoever sends next meets it
            self.state = OFF
            return 0

    def _keep(self, wire: memoryview, sent: int, scratch: memoryview) -> None:
        """Hold what the sink did not take, and the buffer in which it may lie."""
        self._wire, self._sent, self._held = wire, sent, scratch
        if self.state is READING:
            self.state = SENDING

    def _end(self) -> None:
        self.state = OFF
        self.at_end = not self.source.pauses
        if self.at_end and self._passes_end and self.sink.send_eof is not None:
            with contextlib.suppress(OSError):  # then whoever tries again meets it
                self.sink.send_eof()
                self.passed_end = True

    def _fail(self, error: Exception) -> None:
        self.error = error
        self.state = OFF

    def _release(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            give_scratch(held)
