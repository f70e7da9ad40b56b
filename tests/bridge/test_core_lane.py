"""One direction as a state machine, between ends that do as they are told."""

from __future__ import annotations

import random

import pytest
from typing_extensions import override

from serialnet.bridge.copy.lane import MOST_READS, OFF, READING, SENDING, Lane
from serialnet.core.loan import Sink, Source
from serialnet.transports.rfc2217.lending import SessionSink, SessionSource

IAC = b"\xff"


class From(Source):
    """Has a list of what its reads give: an error is raised."""

    def __init__(self, *reads: bytes | Exception) -> None:
        super().__init__(-1)
        self.reads = list(reads)
        self.error: Exception | None = None

    @override
    def read(self, buffer: memoryview) -> memoryview:
        if not self.reads:
            raise BlockingIOError
        item = self.reads.pop(0)
        if isinstance(item, Exception):
            raise item
        buffer[: len(item)] = item
        return buffer[: len(item)]

    @override
    def give_back(self, error: Exception | None) -> None:
        self.error = error


class To(Sink):
    """Takes so many bytes at each write: none is a full buffer, an error is raised."""

    def __init__(self, *takes: int | Exception) -> None:
        super().__init__(-1, self.take)
        self.takes = list(takes)
        self.taken = b""

    def take(self, view: memoryview) -> int:
        n = self.takes.pop(0) if self.takes else len(view)
        if isinstance(n, Exception):
            raise n
        if n == 0:
            raise BlockingIOError
        self.taken += view[:n]
        return min(n, len(view))

    @override
    def give_back(self, unsent: bytes) -> bytes:
        return unsent


def wake() -> None:
    """What a poller would call."""


def test_bytes_pass() -> None:
    source, sink = From(b"ab", b"c"), To()
    lane = Lane(source, sink, wake)
    lane.readable()
    lane.readable()
    lane.readable()
    assert (sink.taken, lane.received, lane.taken, lane.state) == (b"abc", 3, 0, READING)


def test_a_short_write_stops_the_source_until_the_rest_has_gone() -> None:
    source, sink = From(b"abcdef", b"g"), To(2, 0, 3)
    lane = Lane(source, sink, wake)
    lane.readable()
    assert (lane.state, sink.taken) == (SENDING, b"ab")
    lane.writable()
    assert (lane.state, sink.taken) == (SENDING, b"ab")
    lane.compact()
    lane.writable()
    assert (lane.state, sink.taken) == (SENDING, b"abcde")
    lane.writable()
    assert (lane.state, sink.taken, source.reads, lane.taken) == (READING, b"abcdef", [b"g"], 4)


def test_what_is_in_hand_is_handed_back() -> None:
    lane = Lane(From(b"abcdef"), To(2), wake)
    lane.readable()
    assert lane.stop() == b"cdef"
    assert lane.state is OFF
    assert lane.stop() == b""


def test_the_end() -> None:
    lane = Lane(From(b""), To(), wake)
    lane.readable()
    assert (lane.state, lane.at_end, lane.passed_end, lane.error) == (OFF, True, False, None)


@pytest.mark.parametrize("error", [None, OSError("it has gone")])
def test_the_end_is_passed_on_if_the_sink_can(error: Exception | None) -> None:
    sink = To()
    told: list[None] = []

    def send_eof() -> None:
        told.append(None)
        if error is not None:
            raise error

    sink.send_eof = send_eof
    lane = Lane(From(b""), sink, wake, passes_end=True)
    lane.readable()
    assert (lane.at_end, lane.passed_end, len(told)) == (True, error is None, 1)


def test_errors_turn_it_off() -> None:
    error = OSError("reset")
    lane = Lane(From(error), To(), wake)
    lane.readable()
    assert (lane.state, lane.error, lane.at_end) == (OFF, error, False)

    lane = Lane(From(b"abc"), To(1, OSError("broken")), wake)
    lane.readable()
    lane.writable()
    assert (lane.state, lane.error, lane.stop()) == (OFF, None, b"bc")


def test_what_a_broken_sink_did_not_take_is_not_overwritten() -> None:
    lane = Lane(From(b"abc"), To(OSError("broken")), wake)
    lane.readable()
    Lane(From(b"xyz"), To(), wake).readable()
    assert lane.stop() == b"abc"


def test_a_tap_sees_and_changes() -> None:
    sink = To()
    lane = Lane(From(b"abc", b"x"), sink, wake, lambda view: view[:0] if bytes(view) == b"x" else view[1:])
    lane.readable()
    lane.readable()
    assert (sink.taken, lane.state) == (b"bc", READING)


def test_large_reads_are_repeated_but_not_for_ever() -> None:
    source = From(*[bytes(4096)] * 100)
    lane = Lane(source, To(), wake)
    lane.readable()
    assert len(source.reads) == 100 - MOST_READS


def test_discarding() -> None:
    sink = To(2)
    lane = Lane(From(b"abcdef", b"new"), sink, wake)
    lane.readable()
    lane.discard()
    lane.writable()
    lane.readable()
    assert sink.taken == b"abnew"


def test_interjecting() -> None:
    sink = To(3, 2, 1)
    lane = Lane(From(b"abcdef"), sink, wake)
    assert lane.interject(b"xyz!") == 3
    lane.readable()
    assert lane.state is SENDING
    assert lane.interject(b"later") == 0
    sink.takes = [OSError("broken")]
    lane = Lane(From(), sink, wake)
    assert lane.interject(b"x") == 0


# Coded.


def test_data_is_unescaped_up_to_a_command() -> None:
    returned: list[bytes] = []
    source = SessionSource(
        From(b"plain", b"\xff\xff", b"x\xff", b"\xffy", b"z\xff\xfa\x2crest"), returned.append
    )
    sink = To()
    lane = Lane(source, sink, wake)
    while lane.state is READING:
        lane.readable()
    assert (sink.taken, lane.at_end) == (b"plain\xffx\xffyz", False)
    source.give_back(None)
    assert returned == [b"\xff\xfa\x2crest"]


def test_half_a_pair_is_handed_back() -> None:
    returned: list[bytes] = []
    source = SessionSource(From(b"x\xff"), returned.append)
    lane = Lane(source, To(), wake)
    lane.readable()
    assert lane.state is READING
    source.give_back(None)
    assert returned == [IAC]


@pytest.mark.parametrize("seed", range(300))
def test_any_data_in_any_pieces(seed: int) -> None:
    rng = random.Random(seed)
    data = b"".join(rng.choice([b"\xff" * rng.randint(1, 300), rng.randbytes(100), b"ab"]) for _ in range(20))
    to_wire = To(*[rng.randint(0, 200) for _ in range(100)])
    reads = []
    rest = data
    while rest:
        size = rng.randint(1, 700)
        reads.append(rest[:size])
        rest = rest[size:]
    lane = Lane(From(*reads), SessionSink(to_wire, lambda unsent: None), wake)
    while to_wire.taken != data.replace(IAC, IAC * 2):
        lane.readable() if lane.state is READING else lane.writable()
    wire = to_wire.taken
    pieces = []
    while wire:
        size = rng.choice([1, 2, 3, rng.randint(1, 900)])
        pieces.append(wire[:size])
        wire = wire[size:]
    sink = To()
    source = SessionSource(From(*pieces), lambda wire: None)
    back = Lane(source, sink, wake)
    for _ in pieces:
        back.readable()
    assert back.state is READING
    assert sink.taken == data


def test_discarding_leaves_no_half_pair() -> None:
    for sent in range(1, 9):
        to = To(sent)
        lane = Lane(From(b"a\xff\xffb\xff"), SessionSink(to, lambda unsent: None), wake)
        lane.readable()
        lane.discard()
        if lane.state is SENDING:
            lane.writable()
        assert to.taken.count(IAC) % 2 == 0
        assert len(to.taken) <= sent + 1
