"""The relay's protocol: who gets in, what is said, and that nothing else can be."""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from serialnet.wire.relay import (
    MOST_LINE,
    Asked,
    Event,
    Paired,
    Pinged,
    Pong,
    Ready,
    Refusal,
    Refused,
    RelayClient,
    RelayEnd,
    RelayError,
    RelayServer,
    Role,
    Welcomed,
    WrongToken,
    is_name,
)

TOKEN = "the token of the lab"
ROLES = st.sampled_from(Role)


def find_token(name: str) -> str | None:
    return TOKEN if name == "lab" else None


class Talk:
    """A relay and a peer that hear each other, in pieces of any size."""

    def __init__(
        self, role: Role = Role.REGISTER, name: str = "lab", token: str = TOKEN, piece: int = MOST_LINE
    ) -> None:
        self.relay = RelayServer(find_token)
        self.peer = RelayClient(role, name, token)
        self._piece = piece

    def run(self) -> tuple[list[Event], list[Event]]:
        """Pass on all that is said until nobody says more: what the relay, and what the peer has heard."""
        heard: dict[RelayEnd, list[Event]] = {self.relay: [], self.peer: []}
        pairs: list[tuple[RelayEnd, RelayEnd]] = [(self.peer, self.relay), (self.relay, self.peer)]
        while True:
            quiet = True
            for speaker, hearer in pairs:
                said = speaker.data_to_send()
                quiet = quiet and not said
                for start in range(0, len(said), self._piece):
                    hearer.receive_data(said[start : start + self._piece])
                    heard[hearer] += iter(hearer.next_event, None)
            if quiet:
                return heard[self.relay], heard[self.peer]


@given(ROLES, st.integers(1, MOST_LINE), st.binary(max_size=99), st.binary(max_size=99))
def test_from_hello_to_session(role: Role, piece: int, to_relay: bytes, to_peer: bytes) -> None:
    talk = Talk(role, piece=piece)
    assert talk.run() == ([Asked(role, "lab")], [])
    talk.relay.welcome()
    assert talk.run() == ([], [Welcomed()])
    for _ in range(2):
        talk.relay.ping()
        assert talk.run() == ([Pong()], [Pinged()])
    talk.relay.pair("192.0.2.1:5")
    # The session's first bytes may come with the last of ours.
    talk.peer.receive_data(talk.relay.data_to_send() + to_peer)
    assert talk.peer.next_event() == Paired("192.0.2.1:5")
    talk.relay.receive_data(talk.peer.data_to_send() + to_relay)
    assert talk.relay.next_event() == Ready()
    assert (talk.relay.trailing_data, talk.peer.trailing_data) == (to_relay, to_peer)
    assert talk.relay.next_event() is talk.peer.next_event() is None


@given(ROLES, st.sampled_from(["lab", "nobody"]), st.text(max_size=40))
@example(Role.CONNECT, "lab", "")
@example(Role.CONNECT, "lab", TOKEN + "x")
@example(Role.REGISTER, "nobody", TOKEN)
def test_a_wrong_token_and_an_unknown_name_get_the_same_answer(role: Role, name: str, token: str) -> None:
    if (name, token) == ("lab", TOKEN):
        return
    talk = Talk(role, name, token)
    assert talk.run() == ([WrongToken(name)], [Refused("token", "no board has that name and token")])
    with pytest.raises(RuntimeError):
        talk.relay.welcome()


def test_the_token_and_what_would_do_in_its_place_never_travel() -> None:
    said = []
    for _ in range(2):
        talk = Talk()
        hello = talk.peer.data_to_send()
        talk.relay.receive_data(hello)
        assert talk.relay.next_event() is None
        challenge = talk.relay.data_to_send()
        talk.peer.receive_data(challenge)
        assert talk.peer.next_event() is None
        said.append((hello, challenge, talk.peer.data_to_send()))
    assert all(first != second for first, second in zip(*said, strict=True))
    assert TOKEN.encode() not in b"".join(said[0])
    # What was overheard opens nothing.
    relay = RelayServer(find_token)
    relay.receive_data(said[0][0])
    assert relay.next_event() is None
    relay.receive_data(said[0][2])
    assert relay.next_event() == WrongToken("lab")


def test_proofs_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A comparison that refuses all has to be asked, by the relay and by the peer."""
    monkeypatch.setattr(hmac, "compare_digest", lambda given, known: False)
    assert Talk().run() == ([WrongToken("lab")], [Refused("token", "no board has that name and token")])
    monkeypatch.setattr(hmac, "compare_digest", lambda given, known: True)
    talk = Talk()
    talk.run()
    talk.relay.welcome()
    monkeypatch.setattr(hmac, "compare_digest", lambda given, known: False)
    with pytest.raises(RelayError, match="another relay"):
        talk.run()


def test_a_proof_is_of_no_use_in_another_role() -> None:
    peer, relay = RelayClient(Role.CONNECT, "lab", TOKEN), RelayServer(find_token)
    relay.receive_data(peer.data_to_send().replace(b"connect", b"register"))
    assert relay.next_event() is None
    peer.receive_data(relay.data_to_send())
    assert peer.next_event() is None
    relay.receive_data(peer.data_to_send())
    assert relay.next_event() == WrongToken("lab")


def test_a_proof_is_of_no_use_sent_back() -> None:
    """An impostor has only what the peer says."""
    peer, relay = RelayClient(Role.CONNECT, "lab", TOKEN), RelayServer(find_token)
    relay.receive_data(peer.data_to_send())
    assert relay.next_event() is None
    peer.receive_data(relay.data_to_send())
    assert peer.next_event() is None
    peer.receive_data(peer.data_to_send().replace(b"proof", b"welcome"))
    with pytest.raises(RelayError, match="another relay"):
        peer.next_event()


@pytest.mark.parametrize("refusal", Refusal)
def test_refusals(refusal: Refusal) -> None:
    talk = Talk()
    talk.run()
    talk.relay.refuse(refusal, "no\r\n\x1b[2J" + "x" * 999)
    _, [refused] = talk.run()
    assert isinstance(refused, Refused)
    assert refused.code == refusal.value
    assert re.fullmatch(r"no\?\?\?\[2Jx{100,}", refused.text)


@given(st.binary(max_size=1000), st.integers(1, 300), st.integers(0, 4))
@example(b"x" * 1000, 300, 0)
@example(b"\n", 1, 0)
def test_nonsense_is_an_error_at_once_and_nothing_else(noise: bytes, piece: int, after: int) -> None:
    """Whatever comes in whatever state raises the protocol's error or is no event: never another error."""
    for end in (0, 1):
        talk = Talk()
        steps: list[Callable[[], object]] = [talk.run, talk.relay.welcome, talk.run, talk.relay.ping]
        for step in steps[:after]:
            step()
        victim: RelayEnd = (talk.relay, talk.peer)[end]
        victim.data_to_send()
        refused = False
        for start in range(0, len(noise), piece):
            victim.receive_data(noise[start : start + piece])
            try:
                assert victim.next_event() is None or isinstance(victim, RelayClient)
            except RelayError as error:
                refused = str(error).isascii() and str(error).isprintable()
                break
        assert refused or len(noise) < MOST_LINE


@pytest.mark.parametrize("state", ["before", "waiting"])
def test_a_peer_says_nothing_unasked(state: str) -> None:
    talk = Talk()
    talk.run()
    if state == "waiting":
        talk.relay.welcome()
        talk.run()
    talk.relay.receive_data(b"x")
    with pytest.raises(RelayError):
        talk.relay.next_event()


def test_who_speaks_out_of_turn_here_is_told() -> None:
    relay = RelayServer(find_token)
    for say in (relay.welcome, relay.ping, lambda: relay.pair("x")):
        with pytest.raises(RuntimeError, match="HELLO"):
            say()


@pytest.mark.parametrize("name", ["a", "lab-esp32", "A.b_c-9", "x" * 64])
def test_names(name: str) -> None:
    assert is_name(name)


@pytest.mark.parametrize("name", ["", "-a", ".", "a b", "a/b", "a\n", "é", "x" * 65])
def test_no_names(name: str) -> None:
    assert not is_name(name)
