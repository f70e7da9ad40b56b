"""Patience: when a flasher is kept waiting, and that this is all that ever happens."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from serialnet.wire import slip
from serialnet.wire.patience import EMPTY_FRAME, INTERVAL, LONGEST_WAIT, Patience

SYNC = slip.encode(bytes.fromhex("0008240000000000" + "07071220" + 32 * "55"))
READ_REG = slip.encode(bytes.fromhex("000a040000000000" + "00100040"))
MEM_END = slip.encode(bytes.fromhex("0006080000000000" + "00000000" + "c0db0840"))
SYNCED = slip.encode(bytes.fromhex("0108040007122055" + "00000000"))
STARTED = slip.encode(bytes.fromhex("0106040007122055" + "00000000"))
REFUSED = slip.encode(bytes.fromhex("0106040007122055" + "01050000"))
OTHER = slip.encode(bytes.fromhex("010a040007122055" + "00000000"))
SYNC_WAIT, MEM_END_WAIT = LONGEST_WAIT[0x08], LONGEST_WAIT[0x06]


def empty_frames(patience: Patience, begin: float, end: float) -> int:
    """How many the tool is sent in a span of time."""
    count = 0
    while patience.deadline is not None and begin <= patience.deadline <= end:
        data = patience.expire(patience.deadline)
        assert data in (b"", EMPTY_FRAME)
        count += data == EMPTY_FRAME
    return count


def synced() -> Patience:
    patience = Patience()
    patience.sent(SYNC, 0)
    patience.received(SYNCED * 8)
    assert patience.deadline is None
    return patience


def test_it_waits_for_sync_as_long_as_is_promised_and_no_longer() -> None:
    patience = Patience()
    patience.sent(SYNC, 10)
    assert empty_frames(patience, 10, 1000) == pytest.approx(SYNC_WAIT / INTERVAL, abs=1)
    assert patience.deadline is None


def test_a_tool_skips_no_more_frames_than_it_is_sent() -> None:
    assert max(LONGEST_WAIT.values()) / INTERVAL < 100
    assert INTERVAL < 0.1


@pytest.mark.parametrize("answer", [STARTED, REFUSED], ids=["started", "refused"])
def test_it_waits_for_the_start_of_the_stub_until_the_chip_says_what_came_of_it(answer: bytes) -> None:
    patience = synced()
    patience.sent(MEM_END, 5)
    assert empty_frames(patience, 5, 6) > 20
    patience.received(answer)
    assert empty_frames(patience, 6, 1000) == 0


def test_other_answers_and_late_ones_do_not_end_the_wait() -> None:
    patience = synced()
    patience.sent(MEM_END, 5)
    patience.received(SYNCED + OTHER + b"\xc0\xc0")
    assert empty_frames(patience, 5, 100) == pytest.approx(MEM_END_WAIT / INTERVAL, abs=1)


def test_no_frame_of_the_chip_is_torn() -> None:
    patience = Patience()
    patience.sent(SYNC, 0)
    patience.received(OTHER[:5])
    assert empty_frames(patience, 0, 0.5) == 0
    patience.received(OTHER[5:])
    assert empty_frames(patience, 0.5, 0.9) > 5


@pytest.mark.parametrize("request_", [READ_REG, SYNC], ids=["another request", "the next SYNC"])
def test_a_request_ends_the_wait_of_the_one_before(request_: bytes) -> None:
    patience = Patience()
    patience.sent(SYNC, 0)
    patience.sent(request_, 0.5)
    assert patience.deadline == (0.5 + INTERVAL if request_ == SYNC else None)


def test_a_reset_ends_it_all() -> None:
    patience = synced()
    patience.sent(SYNC, 1)
    patience.forget()
    assert patience.deadline is None
    patience.sent(MEM_END, 2)  # nobody has greeted a loader
    assert patience.deadline is None


def test_it_knows_whether_a_sync_was_the_last_that_was_sent() -> None:
    patience = Patience()
    assert not patience.ends_in_sync
    patience.sent(b"noise" + SYNC, 0)
    assert patience.ends_in_sync
    patience.sent(READ_REG[:-1], 0)
    assert not patience.ends_in_sync
    patience.sent(READ_REG[-1:], 0)
    assert not patience.ends_in_sync
    patience.sent(SYNC, 0)
    assert patience.ends_in_sync
    patience.forget()
    assert not patience.ends_in_sync


def test_it_waits_no_longer_than_the_way_is() -> None:
    patience = Patience()
    patience.measured(0.2)
    patience.measured(0.001)
    patience.sent(SYNC, 0)
    assert empty_frames(patience, 0, 0.39) > 5
    assert empty_frames(patience, 0.39, 1000) <= 1


def test_nothing_is_done_where_the_board_is_near() -> None:
    patience = Patience()
    patience.measured(0.01)
    patience.sent(SYNC, 0)
    assert empty_frames(patience, 0, 1000) == 0


def cut(stream: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    return [stream[a:b] for a, b in pairwise(edges)]


pieces = st.one_of(
    st.sampled_from([SYNC, SYNC[:-1], SYNC[1:], MEM_END, READ_REG, SYNCED, STARTED, OTHER, b"\xc0"]),
    st.binary(max_size=20),
)
streams = st.lists(pieces, max_size=8).map(b"".join)


@given(streams, streams, st.lists(st.integers(min_value=0)), st.lists(st.integers(min_value=0)))
@example(SYNC, SYNCED, list(range(50)), list(range(20)))
def test_cuts_never_matter(there: bytes, back: bytes, cuts: list[int], others: list[int]) -> None:
    whole, in_pieces = Patience(), Patience()
    whole.sent(there, 1)
    for piece in cut(there, cuts):
        in_pieces.sent(piece, 1)
    assert in_pieces.deadline == whole.deadline
    whole.received(back)
    for piece in cut(back, others):
        in_pieces.received(piece)
    assert in_pieces.deadline == whole.deadline
    if whole.deadline is not None:
        assert in_pieces.expire(1.1) == whole.expire(1.1)


@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=300))))
def test_without_a_sync_nothing_happens(traffic: list[tuple[bool, bytes]]) -> None:
    patience = Patience()
    for is_sent, data in traffic:
        if is_sent:
            patience.sent(data, 0)
        else:
            patience.received(data)
        assert patience.deadline is None


class Tool:
    """A tool that reads SLIP as esptool does: from a frame's END on; empty frames are none."""

    def __init__(self) -> None:
        self.frame: bytes | None = None
        self.frames: list[bytes] = []

    def receive(self, data: bytes) -> None:
        for byte in data:
            if byte != 0xC0:
                assert self.frame is not None, "noise between frames"
                self.frame += bytes([byte])
            elif self.frame is None:
                self.frame = b""
            else:
                if self.frame:
                    self.frames.append(self.frame)
                self.frame = None


answers = st.lists(st.sampled_from([SYNCED, STARTED, REFUSED, OTHER, slip.encode(b"OHAI")]), max_size=10)


@given(answers, st.lists(st.integers(min_value=0)), st.data())
def test_a_tool_reads_what_the_chip_has_said_and_nothing_else(
    said: list[bytes], cuts: list[int], data: st.DataObject
) -> None:
    patience, with_it, without = synced(), Tool(), Tool()
    patience.sent(data.draw(st.sampled_from([SYNC, MEM_END])), 0)
    for piece in cut(b"".join(said), cuts):
        for _ in range(data.draw(st.integers(0, 3))):
            if patience.deadline is not None:
                with_it.receive(patience.expire(patience.deadline))
        patience.received(piece)
        with_it.receive(piece)
        without.receive(piece)
    assert with_it.frames == without.frames


def test_long_frames_and_noise_take_no_memory() -> None:
    patience = synced()
    for _ in range(100):
        patience.sent(b"x" * 10_000, 0)
    patience.sent(b"\xc0" + SYNC, 1)
    for _ in range(100):
        patience.received(b"x" * 10_000)
    assert len(patience._requests._partial) <= 128
    assert len(patience._answers._partial) <= 128
    fresh = Patience()
    fresh.sent(b"x" * 1_000_000, 0)
    assert len(fresh._tail) < len(SYNC)
