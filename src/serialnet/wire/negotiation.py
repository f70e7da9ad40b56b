"""How two telnet peers agree on an option: the Q method of RFC 1143, as tables.

Each option has two sides which are negotiated apart: what *we* do (they say DO or DONT, we say WILL or
WONT) and what *they* do (they say WILL or WONT, we say DO or DONT). The tables know neither: to them a peer
is for (``True``) or against (``False``), and so is what we say, if we say anything (``None``).

What keeps two peers from answering each other for ever is that a request for what is already so, or is
already asked for, is never acknowledged.
"""

from collections.abc import Mapping
from enum import Enum, auto

__all__ = ["ASKED", "HEARD", "Option", "Side", "State"]


class Side(Enum):
    """Whose behaviour an option is about."""

    US = auto()
    THEM = auto()


class State(Enum):
    """RFC 1143's states; the names that end in ``OPPOSITE`` have its queue bit set."""

    NO = auto()
    YES = auto()
    WANTNO = auto()
    WANTNO_OPPOSITE = auto()
    WANTYES = auto()
    WANTYES_OPPOSITE = auto()


HEARD: Mapping[tuple[State, bool], tuple[State, bool | None]] = {
    (State.NO, True): (State.YES, True),
    (State.NO, False): (State.NO, None),
    (State.YES, True): (State.YES, None),
    (State.YES, False): (State.NO, False),
    (State.WANTNO, True): (State.NO, None),  # an error of theirs: "don't" was answered by "will"
    (State.WANTNO, False): (State.NO, None),
    (State.WANTNO_OPPOSITE, True): (State.YES, None),  # the same error
    (State.WANTNO_OPPOSITE, False): (State.WANTYES, True),
    (State.WANTYES, True): (State.YES, None),
    (State.WANTYES, False): (State.NO, None),
    (State.WANTYES_OPPOSITE, True): (State.WANTNO, False),
    (State.WANTYES_OPPOSITE, False): (State.NO, None),
}
"""What follows when the peer says something about an option that we have; those we have not are refused."""

ASKED: Mapping[tuple[State, bool], tuple[State, bool | None]] = {
    (State.NO, True): (State.WANTYES, True),
    (State.NO, False): (State.NO, None),
    (State.YES, True): (State.YES, None),
    (State.YES, False): (State.WANTNO, False),
    (State.WANTNO, True): (State.WANTNO_OPPOSITE, None),
    (State.WANTNO, False): (State.WANTNO, None),
    (State.WANTNO_OPPOSITE, True): (State.WANTNO_OPPOSITE, None),
    (State.WANTNO_OPPOSITE, False): (State.WANTNO, None),
    (State.WANTYES, True): (State.WANTYES, None),
    (State.WANTYES, False): (State.WANTYES_OPPOSITE, None),
    (State.WANTYES_OPPOSITE, True): (State.WANTYES, None),
    (State.WANTYES_OPPOSITE, False): (State.WANTYES_OPPOSITE, None),
}
"""What follows when we ourselves want an option on or off."""


class Option:
    """One option on one side."""

    def __init__(self) -> None:
        self.state: State = State.NO
        self.refused: bool = False
        """True once the peer has said no to it, until it says yes."""

    def hear(self, enable: bool) -> bool | None:
        """Take in what the peer said, and tell what to say to that, if anything."""
        before = self.state
        self.state, reply = HEARD[before, enable]
        if self.state is State.YES:
            self.refused = False
        elif not enable and before in (State.YES, State.WANTYES):
            self.refused = True
        return reply

    def ask(self, enable: bool) -> bool | None:
        """Want it on or off, and tell what to say, if anything."""
        self.state, say = ASKED[self.state, enable]
        return say
