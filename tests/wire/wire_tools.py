"""What the tests of wire protocols share."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Protocol, TypeVar

from hypothesis import strategies as st

from serialnet.values.requests import (
    Configure,
    GetInputs,
    InForce,
    LineRequest,
    PurgeRequest,
    SendBreak,
    SetOutputs,
)
from serialnet.values.settings import Inputs
from serialnet.wire.comport import ComPortServer

T = TypeVar("T")
E_co = TypeVar("E_co", covariant=True)

IAC, SE, BRK, AYT, SB = b"\xff", b"\xf0", b"\xf3", b"\xf6", b"\xfa"
WILL, WONT, DO, DONT = (bytes((0xFF, verb)) for verb in (251, 252, 253, 254))


class Receiver(Protocol[E_co]):
    def receive_data(self, data: bytes, /) -> None: ...
    def next_event(self) -> E_co | None: ...


def sb(*content: int, option: int = 44) -> bytes:
    """A subnegotiation, encoded the slow way."""
    escaped = b"".join(bytes((byte,)) * (2 if byte == 255 else 1) for byte in (option, *content))
    return IAC + SB + escaped + IAC + SE


def joined(found: Iterable[T]) -> list[T | bytes]:
    """Pieces of data that follow each other, as one."""
    result: list[T | bytes] = []
    for event in found:
        assert event != b""
        if isinstance(event, bytes) and result and isinstance(last := result[-1], bytes):
            result[-1] = last + event
        else:
            result.append(event)
    return result


def events(receiver: Receiver[T], *chunks: bytes) -> list[T | bytes]:
    """What comes out, data joined."""
    found: list[T] = []
    for chunk in chunks:
        receiver.receive_data(chunk)
        while (event := receiver.next_event()) is not None:
            found.append(event)
    return joined(found)


def grant(request: LineRequest) -> InForce:
    """The answer of a port that does all it is asked for."""
    match request:
        case Configure(settings):
            return settings
        case SetOutputs():
            return request.asked
        case PurgeRequest(what):
            return what
        case GetInputs():
            return Inputs(cts=True, cd=True)
        case SendBreak():
            return None


def serve(server: ComPortServer, *chunks: bytes) -> list[bytes | LineRequest]:
    """Like :func:`events`, each request granted."""
    found: list[bytes | LineRequest] = []
    for chunk in chunks:
        found += events(server, chunk)
        while server.pending is not None:
            server.answer(grant(server.pending))
            found += events(server, b"")
    return joined(found)


# What a telnet stream is made of, sound or not, and dense in what matters.
pieces = st.one_of(
    st.sampled_from(
        [b"\xff", b"\xff\xff", b"\xff\xfa", b"\xff\xf0", b"\xff\xfa\x2c", b"\r", b"\0", b"\n", b"x"]
    ),
    st.binary(max_size=4),
    st.builds(
        lambda verb, option: verb + bytes((option,)),
        st.sampled_from([WILL, WONT, DO, DONT]),
        st.sampled_from([0, 1, 3, 6, 24, 44, 255]),
    ),
    st.builds(sb, st.integers(0, 12) | st.integers(100, 112) | st.integers(0, 255), st.integers(0, 255)),
    st.builds(lambda command, rest: sb(command, *rest), st.integers(0, 112), st.binary(max_size=9)),
    st.sampled_from([b"\xff" * 300, b"\xff" * 2001, IAC + BRK, IAC + AYT, IAC + b"\xf1"]),
)
streams = st.lists(pieces, max_size=30).map(b"".join)


@st.composite
def chunked(draw: st.DrawFn, source: st.SearchStrategy[bytes] = streams) -> list[bytes]:
    """A stream, cut anywhere."""
    stream = draw(source)
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    bounds = [0, *cuts, len(stream)]
    return [stream[a:b] for a, b in pairwise(bounds)]
