"""Drives lanes: waits for their descriptors, and lets each lane do its bit when one is ready."""

from __future__ import annotations

import contextlib
import logging
import time
from dataclasses import dataclass

from .lane import OFF, READING, SENDING, Lane
from .readiness import GONE, IN, ONCE, OUT, Notifier, Readiness, is_gone
from .turns import Turns

__all__ = ["Poller"]

logger: logging.Logger = logging.getLogger("serialnet.bridge")

# How long a sink may take nothing before its lane goes off, and somebody is asked what to do.
STALLED_AFTER = 1.0
LOOKS = 4
MOST_EVENTS = 256

READABLE = IN | GONE
WRITABLE = OUT | GONE


@dataclass(slots=True)
class _Look:
    """What a sink for which a lane waits had taken when it was looked at, and how often it was in vain."""

    taken: int
    looks: int = 0


class Poller:
    """Lanes and their descriptors.

    Lanes are added and removed by any thread, in its :attr:`turns`. :meth:`dispatch` is called by one, and
    works in a turn of its own, which it gives up between any two events when that is wanted: so whoever has
    a turn and has removed a lane knows that nobody touches its descriptors any more.

    :param readiness: tells which descriptors are ready; if it does so unasked, by :meth:`handle`
    :param turns: those of pollers that follow each other
    """

    def __init__(self, readiness: Notifier | None = None, turns: Turns | None = None) -> None:
        self._readiness: Notifier = Readiness() if readiness is None else readiness
        self.turns: Turns = Turns() if turns is None else turns
        # By descriptor: whose source it is, whose sink, and what is waited for.
        self._readers: list[Lane | None] = []
        self._writers: list[Lane | None] = []
        self._masks: list[int] = []
        self._lanes = 0
        self._sending: dict[Lane, _Look] = {}
        self._next_look = 0.0
        self.forgotten: bool = False
        """Whether this is the child of a fork, where all belongs to the parent."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to drive."""
        return not self._lanes

    @property
    def is_sending(self) -> bool:
        """Whether any lane waits for its sink."""
        return bool(self._sending)

    def fileno(self) -> int:
        """A descriptor that is readable when :meth:`dispatch` has something to do."""
        return self._readiness.fileno()

    def close(self) -> None:
        """Close what the poller itself has open."""
        self._readiness.close()

    def add(self, lane: Lane) -> None:
        """Drive a lane."""
        source, sink = lane.source.descriptor, lane.sink.descriptor
        self._make_room(max(source, sink))
        self._readers[source] = lane
        self._writers[sink] = lane
        self._lanes += 1
        self._attend(lane)

    def remove(self, lane: Lane) -> None:
        """Drive a lane no longer. It may have gone off already."""
        source, sink = lane.source.descriptor, lane.sink.descriptor
        if self._readers[source] is not lane:
            return
        self._sending.pop(lane, None)
        self._readers[source] = None
        self._writers[sink] = None
        self._lanes -= 1
        self._watch(source)
        self._watch(sink)

    def abandon(self) -> None:
        """Turn all lanes off."""
        for lane in list(self._readers):
            if lane is not None:
                lane.state = OFF
                with contextlib.suppress(Exception):  # what one lane's bridge raises is not the others'
                    self._attend(lane)

    def dispatch(self, timeout: float | None = 0) -> bool:
        """Wait for events, and let the lanes concerned do their bit.

        :return: whether there were any
        """
        if self._sending:
            left = max(0.0, self._next_look - time.monotonic())
            timeout = left if timeout is None else min(left, timeout)
        ready = self._readiness.poll(timeout, MOST_EVENTS)
        turns, readers = self.turns, self._readers
        with turns.lock:
            for descriptor, events in ready:
                if turns.wanted:
                    turns.give_way()
                # What mostly happens needs no other call.
                if events == IN and (lane := readers[descriptor]) is not None and lane.state is READING:
                    if lane.readable():
                        self._watch_anew(descriptor)
                    if lane.state is not READING:
                        self._attend(lane)
                else:
                    self.handle(descriptor, events)
            if self._sending and time.monotonic() >= self._next_look:
                self._look()
        return bool(ready)

    def handle(self, descriptor: int, events: int) -> None:
        """Let the lanes of a descriptor do their bit."""
        # The descriptor may be another lane's since: then this event is a false alarm.
        reader, writer = self._readers[descriptor], self._writers[descriptor]
        if events & WRITABLE and writer is not None and writer.state is SENDING:
            taken = writer.taken
            writer.writable()
            if writer.state is SENDING and writer.taken == taken and is_gone(descriptor):
                # A PTY without a client takes nothing, and is called ready for ever.
                writer.state = OFF
            if writer.state is not SENDING:
                self._attend(writer)
        if events & READABLE and reader is not None and reader.state is READING:
            if reader.readable() or events != IN:
                self._watch_anew(descriptor)
            if reader.state is not READING:
                self._attend(reader)
        if reader is writer is None:
            self._unknown(descriptor)

    def _attend(self, lane: Lane) -> None:
        """Act on a lane's new state."""
        if lane.state is OFF:
            self.remove(lane)
            lane.wake()
            return
        if lane.state is SENDING:
            if not self._sending:
                self._next_look = time.monotonic() + STALLED_AFTER / LOOKS
            self._sending[lane] = _Look(lane.taken)
            if len(self._sending) == 1:  # noted above, for a thread that looks before it rests
                self._sending_begins()
        else:
            self._sending.pop(lane, None)
        self._watch(lane.source.descriptor)
        self._watch(lane.sink.descriptor)

    def _unknown(self, descriptor: int) -> None:
        """Take note of an event of a descriptor that is no lane's."""

    def _sending_begins(self) -> None:
        """Have :meth:`dispatch` called now and then, until :attr:`is_sending`, now true, is false."""

    def _make_room(self, descriptor: int) -> None:
        """Let a descriptor have its places."""
        more = descriptor + 1 - len(self._masks)
        if more > 0:
            self._readers += [None] * more
            self._writers += [None] * more
            self._masks += [0] * more

    def _watch(self, descriptor: int) -> None:
        """Be told of what the lanes of a descriptor wait for, and of nothing else."""
        reader, writer, before = self._readers[descriptor], self._writers[descriptor], self._masks[descriptor]
        mask = 0
        if reader is not None and reader.state is READING:
            mask = IN
        if writer is not None and writer.state is SENDING:
            mask |= OUT
        elif mask and reader is not None and reader.tells_rest:
            mask |= ONCE
        if mask == before:
            return
        try:
            if not mask:  # a hang-up is reported even to those who wait for nothing
                self._readiness.unregister(descriptor)
            elif before:
                self._readiness.modify(descriptor, mask)
            else:
                self._readiness.register(descriptor, mask)
        except OSError as error:
            # A file, say, is always ready and cannot be waited for.
            logger.debug("cannot wait for descriptor %d: %s", descriptor, error)
            mask = 0
            for lane in (reader, writer):
                if lane is not None and lane.state is not OFF:
                    lane.state = OFF
                    lane.wake()
        self._masks[descriptor] = mask

    def _watch_anew(self, descriptor: int) -> None:
        """Be told of what there is now, though it may have been told before."""
        mask = self._masks[descriptor]
        if mask & ONCE:
            self._readiness.modify(descriptor, mask)

    def _look(self) -> None:
        """Turn lanes off whose sink takes nothing."""
        self._next_look = time.monotonic() + STALLED_AFTER / LOOKS
        for lane, look in list(self._sending.items()):
            if self.turns.wanted:
                self.turns.give_way()
            if lane.state is not SENDING:
                continue
            lane.compact()
            if lane.taken != look.taken:
                look.taken, look.looks = lane.taken, 0
                continue
            look.looks += 1
            if look.looks > LOOKS:
                lane.state = OFF
                self._attend(lane)
