"""How boards and clients find each other at a relay: a few lines of text before a stream is theirs.

::

    peer    serialnet-relay/1 register|connect NAME NONCE
    relay   challenge NONCE
    peer    proof HMAC                      (it knows the name's token)
    relay   welcome HMAC                    (so does the relay), or: refused CODE TEXT
    relay   ping                            (now and then, while the peer waits)
    peer    pong
    relay   paired WITH                     or: refused CODE TEXT
    peer    ready

What follows ``paired`` in one direction and ``ready`` in the other is the session's, to the byte. A peer says
nothing unasked, so a board has no way to send anything before it has a client.

The token itself never travels. Both HMACs (SHA-256) are over both nonces, the role, the name and who speaks:
none can be used a second time, or sent back. A wrong token and an unknown name take the same way through this
code and get the same answer.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import ClassVar, TypeAlias

from typing_extensions import Buffer, override

__all__ = [
    "MOST_LINE",
    "Asked",
    "Paired",
    "Pinged",
    "Pong",
    "Ready",
    "Refusal",
    "Refused",
    "RelayClient",
    "RelayEnd",
    "RelayError",
    "RelayServer",
    "Role",
    "Welcomed",
    "WrongToken",
    "is_name",
]

VERSION = "serialnet-relay/1"
MOST_LINE = 256
_NONCE_BYTES = 16
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_HMAC = r"[0-9a-f]{64}"
_NONCE = rf"[0-9a-f]{{{2 * _NONCE_BYTES}}}"
_TEXT = r"[ -~]*"

# Stands in for the token of a name that has none; nobody knows it.
_NOBODYS = secrets.token_hex()


class RelayError(Exception):
    """The peer did not keep to the protocol."""


class Role(Enum):
    """What a peer comes for."""

    REGISTER = "register"
    """It is a board's end, and waits for clients under a name."""

    CONNECT = "connect"
    """It is a client, and wants to reach a board."""


class Refusal(Enum):
    """Why a peer is refused."""

    TOKEN = "token"  # no password
    """It does not know the token, or nothing has that name: which of the two is not told."""

    ABSENT = "absent"
    """The board is not there."""

    BUSY = "busy"
    """Somebody else uses the board, or has the name."""

    LIMIT = "limit"
    """The relay has as many as it takes."""


@dataclass(frozen=True, slots=True)
class Asked:
    """(At the relay.) A peer has shown that it knows the token; welcome or refuse it."""

    role: Role
    name: str


@dataclass(frozen=True, slots=True)
class WrongToken:
    """(At the relay.) A peer did not know the token, and was refused."""

    name: str


@dataclass(frozen=True, slots=True)
class Pong:
    """(At the relay.) A waiting peer is still there."""


@dataclass(frozen=True, slots=True)
class Ready:
    """(At the relay.) A peer has heard that it is paired: what follows is the session's."""


@dataclass(frozen=True, slots=True)
class Welcomed:
    """(At a peer.) The relay knows the token, too, and the peer waits now."""


@dataclass(frozen=True, slots=True)
class Pinged:
    """(At a peer.) The relay is still there; it is answered."""


@dataclass(frozen=True, slots=True)
class Paired:
    """(At a peer.) What follows is the session's."""

    with_: str


@dataclass(frozen=True, slots=True)
class Refused:
    """(At a peer.) The relay will not have it."""

    code: str
    text: str


Event: TypeAlias = Asked | WrongToken | Pong | Ready | Welcomed | Pinged | Paired | Refused


class _State(Enum):
    HELLO = auto()
    PROOF = auto()
    ASKED = auto()
    CHALLENGE = auto()
    WELCOME = auto()
    WAITING = auto()
    PINGED = auto()
    PAIRED = auto()
    READY = auto()
    OVER = auto()


def is_name(text: str) -> bool:
    """Whether a board may be called so: letters, digits, ``.``, ``_`` and ``-``, 64 at most."""
    return re.fullmatch(_NAME, text) is not None


class RelayEnd(ABC):
    """One end of a connection: bytes in, events and bytes out."""

    #: what may come in each state; where nothing stands, nothing may
    _expected: ClassVar[Mapping[_State, re.Pattern[str]]]

    def __init__(self, state: _State) -> None:
        self._state = state
        self._received = bytearray()
        self._to_send = bytearray()
        self._nonce = secrets.token_hex(_NONCE_BYTES)

    def receive_data(self, data: Buffer) -> None:
        """Take in what the peer sent; then take the events out."""
        self._received += bytes(data)

    def data_to_send(self) -> bytes:
        """Take what is to be sent to the peer."""
        data = bytes(self._to_send)
        self._to_send.clear()
        return data

    @property
    def trailing_data(self) -> bytes:
        """What has come of the session, once it is the session's turn."""
        return bytes(self._received) if self._state is _State.READY else b""

    def next_event(self) -> Event | None:
        """What the peer said next, or ``None`` if there is no more for now.

        :raises RelayError: if the peer does not keep to the protocol
        """
        while self._state not in (_State.READY, _State.OVER) and (line := self._next_line()) is not None:
            if (event := self._handle(line)) is not None:
                return event
        return None

    def _next_line(self) -> re.Match[str] | None:
        expected = self._expected.get(self._state)
        if not self._received:
            return None
        end = self._received.find(b"\n", 0, MOST_LINE)
        if end < 0 and len(self._received) < MOST_LINE and expected is not None:
            return None
        # Never more of it than a line's worth, and nothing that a terminal would obey.
        line = self._received[: end if end >= 0 else MOST_LINE].decode("ascii", "replace")
        match = expected.fullmatch(line) if expected is not None and end >= 0 else None
        if match is None:
            self._state = _State.OVER
            raise RelayError(f"it said {line[:40]!a}, which is no part of {VERSION} here")
        del self._received[: end + 1]
        return match

    @abstractmethod
    def _handle(self, line: re.Match[str]) -> Event | None: ...

    def _say(self, *words: str) -> None:
        self._to_send += " ".join(words).encode("ascii") + b"\n"

    def _check(self, *states: _State) -> None:
        if self._state not in states:
            raise RuntimeError(f"this cannot be said in the state {self._state.name}")


class RelayServer(RelayEnd):
    """The relay's end of a connection to one peer.

    :param find_token: the token of a name, if it has one
    """

    _expected: ClassVar = {
        _State.HELLO: re.compile(rf"{VERSION} (register|connect) ({_NAME}) ({_NONCE})"),
        _State.PROOF: re.compile(rf"proof ({_HMAC})"),
        _State.PINGED: re.compile(r"(pong)"),
        _State.PAIRED: re.compile(r"(ready)"),
    }

    def __init__(self, find_token: Callable[[str], str | None]) -> None:
        super().__init__(_State.HELLO)
        self._find_token = find_token
        self._role = Role.CONNECT
        self._name = ""
        self._our_proof = ""
        self._their_proof = ""

    def welcome(self) -> None:
        """Let a peer wait that has :class:`Asked`."""
        self._check(_State.ASKED)
        self._say("welcome", self._our_proof)
        self._state = _State.WAITING

    def refuse(self, why: Refusal, text: str) -> None:
        """Send a peer away; there is nothing more to say to it after that."""
        self._check(_State.HELLO, _State.ASKED, _State.WAITING)
        self._say("refused", why.value, re.sub(r"[^ -~]", "?", text)[:160])
        self._state = _State.OVER

    def ping(self) -> None:
        """Ask a waiting peer whether it is there; the answer is :class:`Pong`."""
        self._check(_State.WAITING)
        self._say("ping")
        self._state = _State.PINGED

    def pair(self, with_: str) -> None:
        """Tell a waiting peer that it has a partner; the answer is :class:`Ready`."""
        self._check(_State.WAITING)
        self._say("paired", re.sub(r"[^!-~]", "?", with_)[:160] or "?")
        self._state = _State.PAIRED

    @override
    def _handle(self, line: re.Match[str]) -> Event | None:
        match self._state:
            case _State.HELLO:
                self._role, self._name, nonce = Role(line[1]), line[2], line[3]
                token = self._find_token(self._name)
                proofs = _proofs(
                    _NOBODYS if token is None else token, self._role, self._name, nonce, self._nonce
                )
                self._their_proof, self._our_proof = proofs
                self._say("challenge", self._nonce)
                self._state = _State.PROOF
                return None
            case _State.PROOF:
                if hmac.compare_digest(line[1], self._their_proof):
                    self._state = _State.ASKED
                    return Asked(self._role, self._name)
                self._state = _State.ASKED
                self.refuse(Refusal.TOKEN, "no board has that name and token")
                return WrongToken(self._name)
            case _State.PINGED:
                self._state = _State.WAITING
                return Pong()
            case _:
                self._state = _State.READY
                return Ready()


class RelayClient(RelayEnd):
    """A peer's end of a connection to a relay.

    :param role: what it comes for
    :param name: the board's name
    :param token: what both ends know
    """

    _expected: ClassVar = {
        _State.CHALLENGE: re.compile(rf"(challenge) ({_NONCE})|(refused) ([a-z]+) ({_TEXT})"),
        _State.WELCOME: re.compile(rf"(welcome) ({_HMAC})|(refused) ([a-z]+) ({_TEXT})"),
        _State.WAITING: re.compile(rf"(ping)|(paired) ([!-~]+)|(refused) ([a-z]+) ({_TEXT})"),
    }

    def __init__(self, role: Role, name: str, token: str) -> None:
        super().__init__(_State.CHALLENGE)
        self._role = role
        self._name = name
        self._token = token
        self._relays_proof = ""
        self._say(VERSION, role.value, name, self._nonce)

    @override
    def _handle(self, line: re.Match[str]) -> Event | None:
        word, *values = (group for group in line.groups() if group is not None)
        match word:
            case "refused":
                self._state = _State.OVER
                return Refused(*values)
            case "challenge":
                proofs = _proofs(self._token, self._role, self._name, self._nonce, values[0])
                proof, self._relays_proof = proofs
                self._say("proof", proof)
                self._state = _State.WELCOME
                return None
            case "welcome":
                if not hmac.compare_digest(values[0], self._relays_proof):
                    self._state = _State.OVER
                    raise RelayError("it does not know the token itself: it is another relay")
                self._state = _State.WAITING
                return Welcomed()
            case "ping":
                self._say("pong")
                return Pinged()
            case _:
                self._say("ready")
                self._state = _State.READY
                return Paired(values[0])


def _proofs(token: str, role: Role, name: str, peers_nonce: str, relays_nonce: str) -> tuple[str, str]:
    """The peer's proof, and the relay's."""
    key = token.encode()

    def proof(speaker: str) -> str:
        said = f"{VERSION}\n{speaker}\n{role.value}\n{name}\n{peers_nonce}\n{relays_nonce}"
        return hmac.new(key, said.encode(), hashlib.sha256).hexdigest()

    return proof("peer"), proof("relay")
