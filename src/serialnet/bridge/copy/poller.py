"""Drives lanes: waits for their descriptors, and lets each lane do its bit when one is ready."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from .lane import OFF, READING, SENDING, Lane
from .readiness import GONE, IN, OUT, Notifier, Readiness, is_gone

__all__ = ["Poller", "Ride"]

logger: logging.Logger = logging.getLogger("serialnet.bridge")

# How long a sink may take nothing before its lane goes off, and somebody is asked what to do.
STALLED_AFTER = 1.0
LOOKS = 4
MOST_EVENTS = 256

READABLE = IN | GONE
WRITABLE = OUT | GONE


class Ride:
    """A lane while a poller drives it.

    :param lock: held while the lane is touched; the lanes of one bridge share descriptors, and one lock
    :param wake: called when the lane has gone off by itself, in whatever thread
    """

    __slots__ = ("lane", "lock", "looks", "seen", "wake")

    def __init__(self, lane: Lane, lock: threading.Lock, wake: Callable[[], None]) -> None:
        self.lane: Lane = lane
        self.lock: threading.Lock = lock
        self.wake: Callable[[], None] = wake
        self.seen: int = 0
        self.looks: int = 0


class _Entry:
    """A descriptor: whose source it is, whose sink, and what is waited for."""

    __slots__ = ("lock", "mask", "reader", "writer")

    def __init__(self, lock: threading.Lock) -> None:
        self.lock = lock
        self.reader: Ride | None = None
        self.writer: Ride | None = None
        self.mask = 0


class Poller:
    """Lanes and their descriptors.

    Rides are added and removed by any thread. :meth:`dispatch` is called by one, and takes a bridge's lock
    for each of its events: so whoever holds that lock and has removed a ride knows that nobody touches its
    descriptors any more.

    :param readiness: tells which descriptors are ready; if it does so unasked, by :meth:`handle`
    """

    def __init__(self, readiness: Notifier | None = None) -> None:
        self._readiness: Notifier = Readiness() if readiness is None else readiness
        self._entries: dict[int, _Entry] = {}
        self._sending: set[Ride] = set()
        self._next_look = 0.0
        self.forgotten: bool = False
        """Whether this is the child of a fork, where all belongs to the parent."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to drive."""
        return not self._entries

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

    def add(self, ride: Ride) -> None:
        """Drive a lane; its lock is held."""
        lane = ride.lane
        self._entry(lane.sink.descriptor, ride.lock).writer = ride
        self._entry(lane.source.descriptor, ride.lock).reader = ride
        self._attend(ride)

    def remove(self, ride: Ride) -> None:
        """Drive a lane no longer; its lock is held. It may have gone off already."""
        self._sending.discard(ride)
        lane = ride.lane
        for descriptor in (lane.source.descriptor, lane.sink.descriptor):
            entry = self._entries.get(descriptor)
            if entry is None:
                continue
            if entry.reader is ride:
                entry.reader = None
            if entry.writer is ride:
                entry.writer = None
            self._watch(descriptor, entry)
            if entry.reader is None and entry.writer is None:
                del self._entries[descriptor]

    def dispatch(self, timeout: float | None = 0) -> bool:
        """Wait for events, and let the lanes concerned do their bit.

        :return: whether there were any
        """
        if self._sending:
            left = max(0.0, self._next_look - time.monotonic())
            timeout = left if timeout is None else min(left, timeout)
        ready = self._readiness.poll(timeout, MOST_EVENTS)
        for descriptor, events in ready:
            self.handle(descriptor, events)
        if self._sending and time.monotonic() >= self._next_look:
            self._look()
        return bool(ready)

    def handle(self, descriptor: int, events: int) -> None:
        """Let the lanes of a descriptor do their bit."""
        # The descriptor may belong to another bridge since: then this event is a false alarm.
        entry = self._entries.get(descriptor)
        if entry is None:
            self._unknown(descriptor)
            return
        with entry.lock:
            self._handle(descriptor, entry, events)

    def _handle(self, descriptor: int, entry: _Entry, events: int) -> None:
        if events & WRITABLE and (ride := entry.writer) is not None and ride.lane.state is SENDING:
            lane = ride.lane
            moved = lane.moved
            lane.writable()
            if lane.state is SENDING and lane.moved == moved and is_gone(descriptor):
                # A PTY without a client takes nothing, and is called ready for ever.
                lane.state = OFF
            if lane.state is not SENDING:
                self._attend(ride)
        if events & READABLE and (ride := entry.reader) is not None and ride.lane.state is READING:
            lane = ride.lane
            lane.readable()
            if lane.state is not READING:
                self._attend(ride)

    def _entry(self, descriptor: int, lock: threading.Lock) -> _Entry:
        entry = self._entries.get(descriptor)
        if entry is None:
            entry = self._entries[descriptor] = _Entry(lock)
        return entry

    def _attend(self, ride: Ride) -> None:
        """Act on a lane's new state."""
        lane = ride.lane
        if lane.state is OFF:
            self.remove(ride)
            ride.wake()
            return
        if lane.state is SENDING:
            ride.seen, ride.looks = lane.moved, 0
            begins = not self._sending
            self._sending.add(ride)
            if begins:
                self._next_look = time.monotonic() + STALLED_AFTER / LOOKS
                self._sending_begins()
        else:
            self._sending.discard(ride)
        for descriptor in (lane.source.descriptor, lane.sink.descriptor):
            self._watch(descriptor, self._entries[descriptor])

    def _unknown(self, descriptor: int) -> None:
        """Take note of an event of a descriptor that is no lane's."""

    def _sending_begins(self) -> None:
        """Have :meth:`dispatch` called now and then, until :attr:`is_sending` is false."""

    def _watch(self, descriptor: int, entry: _Entry) -> None:
        mask = 0
        if entry.reader is not None and entry.reader.lane.state is READING:
            mask = IN
        if entry.writer is not None and entry.writer.lane.state is SENDING:
            mask |= OUT
        if mask == entry.mask:
            return
        try:
            if not mask:  # a hang-up is reported even to those who wait for nothing
                self._readiness.unregister(descriptor)
            elif entry.mask:
                self._readiness.modify(descriptor, mask)
            else:
                self._readiness.register(descriptor, mask)
        except OSError as error:
            # A file, say, is always ready and cannot be waited for.
            logger.debug("cannot wait for descriptor %d: %s", descriptor, error)
            mask = 0
            for ride in (entry.reader, entry.writer):
                if ride is not None and ride.lane.state is not OFF:
                    ride.lane.state = OFF
                    ride.wake()
        entry.mask = mask

    def _look(self) -> None:
        """Turn lanes off whose sink takes nothing."""
        self._next_look = time.monotonic() + STALLED_AFTER / LOOKS
        for ride in list(self._sending):
            with ride.lock:
                lane = ride.lane
                if lane.state is not SENDING:
                    continue
                lane.compact()
                if lane.moved != ride.seen:
                    ride.seen, ride.looks = lane.moved, 0
                    continue
                ride.looks += 1
                if ride.looks > LOOKS:
                    lane.state = OFF
                    self._attend(ride)
