"""The Q method, state by state, and that no two peers answer each other for ever."""

from __future__ import annotations

from collections import Counter, deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serialnet.wire.negotiation import ASKED, HEARD, Option, Side, State
from serialnet.wire.telnet import Telnet

NO, YES, WANTNO, WANTNO_OPPOSITE, WANTYES, WANTYES_OPPOSITE = State

# From RFC 1143, section 7, for "him": what WILL and WONT lead to, and what is said: "+" for DO, "-" for DONT.
RULES = [
    (NO, YES, "+", NO, ""),
    (YES, YES, "", NO, "-"),
    (WANTNO, NO, "", NO, ""),
    (WANTNO_OPPOSITE, YES, "", WANTYES, "+"),
    (WANTYES, YES, "", NO, ""),
    (WANTYES_OPPOSITE, WANTNO, "-", NO, ""),
]
SAID = {True: "+", False: "-", None: ""}


@pytest.mark.parametrize(("state", "after_will", "to_will", "after_wont", "to_wont"), RULES)
def test_what_the_peer_says(
    state: State, after_will: State, to_will: str, after_wont: State, to_wont: str
) -> None:
    for enable, after, say in ((True, after_will, to_will), (False, after_wont, to_wont)):
        option = Option()
        option.state = state
        assert (SAID[option.hear(enable)], option.state) == (say, after)


# The same section: what our wishes lead to.
WISHES = [
    (NO, WANTYES, "+", NO, ""),
    (YES, YES, "", WANTNO, "-"),
    (WANTNO, WANTNO_OPPOSITE, "", WANTNO, ""),
    (WANTNO_OPPOSITE, WANTNO_OPPOSITE, "", WANTNO, ""),
    (WANTYES, WANTYES, "", WANTYES_OPPOSITE, ""),
    (WANTYES_OPPOSITE, WANTYES, "", WANTYES_OPPOSITE, ""),
]


@pytest.mark.parametrize(("state", "after_on", "for_on", "after_off", "for_off"), WISHES)
def test_what_we_want(state: State, after_on: State, for_on: str, after_off: State, for_off: str) -> None:
    for enable, after, say in ((True, after_on, for_on), (False, after_off, for_off)):
        option = Option()
        option.state = state
        assert (SAID[option.ask(enable)], option.state) == (say, after)


def test_the_tables_are_complete() -> None:
    every = {(state, enable) for state in State for enable in (True, False)}
    assert set(HEARD) == set(ASKED) == every


def test_a_refusal_is_remembered_until_it_is_taken_back() -> None:
    option = Option()
    assert not option.refused
    option.hear(False)
    assert not option.refused  # nobody had asked
    option.ask(True)
    option.hear(False)
    assert option.refused
    option.hear(True)
    assert not option.refused
    option.hear(False)
    assert option.refused


def test_giving_up_ourselves_is_no_refusal() -> None:
    option = Option()
    option.ask(True)
    option.hear(True)
    option.ask(False)
    option.hear(False)
    assert not option.refused


sides = st.sampled_from(list(Side))
options = st.sampled_from([0, 3, 44])
wishes = st.lists(st.tuples(st.booleans(), sides, options, st.booleans()), max_size=12)
known = st.frozensets(options)


def parse(wire: bytes) -> list[bytes]:
    return [wire[i : i + 3] for i in range(0, len(wire), 3)]


steps = st.lists(st.tuples(st.booleans(), st.none() | st.tuples(sides, options, st.booleans())), max_size=30)


@given(known, known, known, known, steps)
def test_two_peers_settle_on_the_same(
    us_a: frozenset[int],
    them_a: frozenset[int],
    us_b: frozenset[int],
    them_b: frozenset[int],
    steps: list[tuple[bool, tuple[Side, int, bool] | None]],
) -> None:
    peers = [Telnet(us=us_a, them=them_a), Telnet(us=us_b, them=them_b)]
    wires: list[deque[bytes]] = [deque(), deque()]  # by sender
    said: Counter[tuple[int, int]] = Counter()  # since the latest wish, by whose behaviour, and option

    def collect(sender: int) -> None:
        for verb in parse(peers[sender].data_to_send()):
            wires[sender].append(verb)
            said[sender if verb[1] in (251, 252) else 1 - sender, verb[2]] += 1

    def deliver(sender: int) -> None:
        if wires[sender]:
            peers[1 - sender].receive_data(wires[sender].popleft())
            assert peers[1 - sender].next_event() is None
            collect(1 - sender)

    for which, wish in steps:
        if wish is None:
            deliver(which)
        elif wish[1] in ((us_a, them_a), (us_b, them_b))[which][wish[0] is Side.THEM]:
            said.clear()
            peers[which].ask(*wish)
            collect(which)
    while any(wires):
        deliver(0)
        deliver(1)
        assert max(said.values(), default=0) <= 6
    for option in (0, 3, 44):
        for us, them, a, b in ((us_a, them_b, 0, 1), (us_b, them_a, 1, 0)):
            ours = option in us and peers[a].enabled(Side.US, option)
            theirs = option in them and peers[b].enabled(Side.THEM, option)
            assert ours == theirs


@given(known, known, wishes)
def test_a_peer_that_echoes_everything_is_survived(
    us: frozenset[int], them: frozenset[int], asks: list[tuple[bool, Side, int, bool]]
) -> None:
    peer = Telnet(us=us, them=them)
    for echoed, side, option, enable in asks:
        if option not in (us if side is Side.US else them):
            continue
        peer.ask(side, option, enable)
        messages = 0
        flying: deque[bytes] = deque([peer.data_to_send()])
        while flying and echoed:
            wire = flying.popleft()
            messages += 2 * len(wire) // 3
            peer.receive_data(wire)
            assert peer.next_event() is None
            if reply := peer.data_to_send():
                flying.append(reply)
            assert messages <= 12  # both sides of one option


@given(st.sampled_from([251, 252, 253, 254]), st.integers(0, 255), known, known, wishes)
def test_at_most_one_reply_to_a_negotiation(
    verb: int, option: int, us: frozenset[int], them: frozenset[int], asks: list[tuple[bool, Side, int, bool]]
) -> None:
    peer = Telnet(us=us, them=them)
    for _, side, asked, enable in asks:
        if asked in (us if side is Side.US else them):
            peer.ask(side, asked, enable)
    peer.data_to_send()
    for _ in range(3):
        peer.receive_data(bytes((255, verb, option)))
        assert peer.next_event() is None
        assert len(peer.data_to_send()) in (0, 3)
