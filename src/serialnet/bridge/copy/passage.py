"""How a bridge sends a direction through a poller, and takes it back."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

from ...core.transport import Transport
from . import thread
from .lane import OFF, Lane, Tap
from .poller import Poller, Ride

__all__ = ["Passage", "open_passage"]


class Passage(Ride):
    """A direction whose halves are lent, while a poller copies it."""

    __slots__ = ("_poller", "_stopped", "unsent")

    def __init__(
        self,
        lane: Lane,
        lock: threading.Lock,
        wake: Callable[[], None],
        poller: Poller | None,
        at_once: bool,
    ) -> None:
        super().__init__(lane, lock, wake)
        self.unsent: bytes = b""
        """After the end: what was received and has still to be sent."""
        self._stopped = False
        lane.source.revoke = lane.sink.revoke = self.stop
        lane.sink.interject = self._interject
        with lock:
            if at_once:
                lane.readable()
            if poller is None:
                poller = thread.add(self)
            else:
                poller.add(self)
        self._poller = poller

    @property
    def moved(self) -> int:
        """Bytes that the sink has taken."""
        return self.lane.moved

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
        with self.lock:
            self.lane.discard()

    def stop(self) -> None:
        """Stop copying, and give the halves back.

        The lock is the acknowledgement: once it is ours, the poller does not touch the descriptors any more.
        """
        if self._stopped:
            return
        self._stopped = True
        lane = self.lane
        unsent = b""
        # At the interpreter's end the thread stands still for ever, perhaps with the lock.
        if not (self._poller.forgotten or sys.is_finalizing()):
            with self.lock:
                self._poller.remove(self)
                was_over = self.is_over
                unsent = lane.stop()
                if not was_over:
                    self.wake()
        lane.source.give_back(lane.error)
        self.unsent = lane.sink.give_back(unsent)

    def _interject(self, wire: bytes) -> int:
        with self.lock:
            return self.lane.interject(wire)


async def open_passage(
    source: Transport,
    sink: Transport,
    count: Callable[[int], None],
    tap: Tap | None,
    lock: threading.Lock,
    wake: Callable[[], None],
    poller: Poller | None = None,
    *,
    passes_end: bool = False,
    at_once: bool = False,
) -> Passage | None:
    """Send a direction through a poller, if both ends can lend what it needs now.

    :param count: told of each read, in bytes
    :param lock: the same for both directions of a bridge
    :param wake: called when the passage is over, in whatever thread, with the lock held
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
    return Passage(Lane(from_, to, count, tap, passes_end=passes_end), lock, wake, poller, at_once)
