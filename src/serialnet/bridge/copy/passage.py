"""How a bridge sends a direction through a poller, and takes it back."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

from ...core.transport import Transport
from . import thread
from .lane import OFF, Lane, Tap
from .poller import Poller
from .socket_lane import SocketLane

__all__ = ["Passage", "open_passage"]

logger: logging.Logger = logging.getLogger("serialnet.bridge")


class Passage:
    """A direction whose halves are lent, while a poller copies it.

    :param at_once: whether what is there already is copied now
    """

    __slots__ = ("_poller", "_stopped", "lane", "unsent")

    def __init__(self, lane: Lane, poller: Poller | None, *, at_once: bool) -> None:
        self.lane: Lane = lane
        self.unsent: bytes = b""
        """After the end: what was received and has still to be sent."""
        self._stopped = False
        lane.source.revoke = lane.sink.revoke = self.stop
        lane.sink.interject = self._interject
        turns = thread.turns if poller is None else poller.turns
        with turns.queue, turns.next():
            self._poller = thread.poller() if poller is None else poller
            if at_once:
                lane.readable()
            self._poller.add(lane)

    @property
    def received(self) -> int:
        """Bytes that came from the source."""
        return self.lane.received

    @property
    def taken(self) -> int:
        """Bytes that the sink has taken by now, of those that waited for it."""
        return self.lane.taken

    @property
    def is_over(self) -> bool:
        """Whether it has stopped, by itself or not."""
        return self.lane.state is OFF

    @property
    def at_end(self) -> bool:
        """Whether the source is at its end of file, and all that came before has been delivered."""
        return self.lane.at_end

    @property
    def passed_end(self) -> bool:
        """Whether the sink was told of it."""
        return self.lane.passed_end

    def discard(self) -> None:
        """Throw away what was received and not sent."""
        turns = self._poller.turns
        with turns.queue, turns.next():
            self.lane.discard()

    def stop(self) -> None:
        """Stop copying, and give the halves back.

        The turn is the acknowledgement: in it, and afterwards, the poller does not touch the descriptors.
        """
        if self._stopped:
            return
        lane = self.lane
        source, sink = lane.source, lane.sink
        unsent = b""
        # At the interpreter's end the thread stands still for ever, perhaps in its turn.
        if not (self._poller.forgotten or sys.is_finalizing()):
            turns = self._poller.turns
            with turns.queue, turns.next():
                self._poller.remove(lane)
                was_over = self.is_over
                unsent = lane.stop()
                if not was_over:
                    lane.wake()
        self._stopped = True  # not before: whoever was interrupted while it waited may try again
        # Else they and we would keep each other in memory until the garbage collector comes.
        source.revoke = sink.revoke = sink.interject = _given_back
        source.give_back(lane.error)
        self.unsent = sink.give_back(unsent)

    def _interject(self, wire: bytes) -> int:
        turns = self._poller.turns
        with turns.queue, turns.next():
            return self.lane.interject(wire)


def _given_back(wire: bytes = b"") -> int:
    return 0


async def open_passage(
    source: Transport,
    sink: Transport,
    tap: Tap | None,
    wake: Callable[[], None],
    poller: Poller | None = None,
    *,
    passes_end: bool = False,
    at_once: bool = False,
) -> Passage | None:
    """Send a direction through a poller, if both ends can lend what it needs now.

    :param wake: called when the passage is over, in whatever thread, within the poller's turn
    :param poller: who copies; ``None`` for the thread that all share
    :param passes_end: whether an end of file is passed on at once, where the sink can do that
    :param at_once: whether what is there already is copied now, rather than when the poller gets to it; if
        the sink does not take it, the poller may notice that seconds later than else
    """
    from_ = await source._lend_source()
    if from_ is None:
        return None
    to = None
    try:
        to = await sink._lend_sink()
    finally:
        if to is None:
            from_.give_back(None)
    if to is None:
        return None
    lane: Lane
    if tap is None and from_.socket is not None and to.socket is not None:
        lane = SocketLane(from_, to, from_.socket, to.socket, wake, passes_end=passes_end)
    else:
        lane = Lane(from_, to, wake, tap, passes_end=passes_end)
    try:
        return Passage(lane, poller, at_once=at_once)
    except (OSError, RuntimeError) as error:  # of the thread; a loop needs neither it nor more descriptors
        logger.debug("bytes are copied in the event loop: %s", error)
        from_.give_back(None)
        to.give_back(b"")
        return None
