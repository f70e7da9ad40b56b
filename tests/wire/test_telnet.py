"""The telnet parser: what is an event, what is answered, what is dropped."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serialnet.wire.escaping import escape
from serialnet.wire.negotiation import Side
from serialnet.wire.telnet import MAX_SUBNEGOTIATION, Code, Command, Subnegotiation, Telnet, TelnetEvent

from .wire_tools import DO, DONT, IAC, SB, SE, WILL, WONT, chunked, events, sb


def make() -> Telnet:
    return Telnet(us=(0, 3), them=(0, 44))


STREAMS: list[tuple[bytes, list[TelnetEvent], int]] = [
    (b"abc", [b"abc"], 0),
    (b"a\xff\xffb", [b"a\xffb"], 0),
    (b"a\xff\xf1b", [b"a", Command(Code.NOP), b"b"], 0),
    (b"a\xff\x00b", [b"ab"], 1),
    (b"a\xff\xefb", [b"ab"], 1),
    (b"a\xff\xf0b", [b"ab"], 1),
    (sb(1, 255, 3), [Subnegotiation(44, b"\x01\xff\x03")], 0),
    (sb(option=255), [Subnegotiation(255, b"")], 0),
    (IAC + SB + IAC + SE, [], 1),
    (IAC + SB + b"\x2c\x05" + IAC + b"\xf1" + b"x", [Command(Code.NOP), b"x"], 1),
    (IAC + SB + b"\x2c\x05" + sb(7), [Subnegotiation(44, b"\x07")], 1),
    (IAC + SB + b"\x2c" + IAC + b"\x05x" + IAC + SE, [b"x"], 3),
    (IAC + SB + b"\x2c\x05" + DO + b"\x00" + IAC + SE + b"x", [b"x"], 2),
    (
        sb(*range(255)) + sb(*b"x" * (MAX_SUBNEGOTIATION - 1)),
        [Subnegotiation(44, bytes(range(255))), Subnegotiation(44, b"x" * (MAX_SUBNEGOTIATION - 1))],
        0,
    ),
    (sb(*b"x" * MAX_SUBNEGOTIATION) + b"y", [b"y"], 1),
    (sb(*b"\xff" * (MAX_SUBNEGOTIATION - 1)), [Subnegotiation(44, b"\xff" * (MAX_SUBNEGOTIATION - 1))], 0),
    (IAC, [], 0),
    (DO, [], 0),
    (IAC + SB + b"\x2c\x05\x08", [], 0),
]


@pytest.mark.parametrize(("wire", "expected", "violations"), STREAMS)
def test_events(wire: bytes, expected: list[TelnetEvent], violations: int) -> None:
    for chunks in ([wire], [wire[i : i + 1] for i in range(len(wire))]):
        telnet = make()
        assert events(telnet, *chunks) == expected
        assert telnet.violations == violations


@pytest.mark.parametrize("code", range(241, 250))
def test_commands_of_two_bytes(code: int) -> None:
    assert events(make(), bytes((255, code))) == [Command(Code(code))]


NEGOTIATIONS = [
    (DO + b"\0", WILL + b"\0"),
    (WILL + b"\0", DO + b"\0"),
    (DO + b"\0" + DO + b"\0", WILL + b"\0"),
    (DO + b"\0" + DONT + b"\0", WILL + b"\0" + WONT + b"\0"),
    (WONT + b"\0" + DONT + b"\0", b""),
    (DO + b"\x2c", WONT + b"\x2c"),  # we let them do it and do not do it
    (WILL + b"\x03", DONT + b"\x03"),
    (DO + b"\x18" + DO + b"\x18", WONT + b"\x18" + WONT + b"\x18"),
    (WILL + b"\x1f" + WILL + b"\x1f", DONT + b"\x1f" + DONT + b"\x1f"),
    (DO + b"\xff", WONT + b"\xff"),
    (DO + b"\x06" + DO + b"\x06", WILL + b"\x06" + WILL + b"\x06"),
    (WILL + b"\x06" + WONT + b"\x06" + DONT + b"\x06", b""),
]


@pytest.mark.parametrize(("heard", "said"), NEGOTIATIONS)
def test_replies(heard: bytes, said: bytes) -> None:
    telnet = make()
    assert events(telnet, heard) == []
    assert telnet.data_to_send() == said
    assert telnet.data_to_send() == b""


def test_every_other_option_is_refused_as_often_as_it_is_asked_for() -> None:
    telnet = make()
    for option in set(range(256)) - {0, 3, 6, 44}:
        for _ in range(2):
            events(telnet, DO + bytes((option,)) + WILL + bytes((option,)))
            assert telnet.data_to_send() == WONT + bytes((option,)) + DONT + bytes((option,))


def test_our_wishes_are_said_once() -> None:
    telnet = make()
    telnet.ask(Side.THEM, 44)
    telnet.ask(Side.THEM, 44)
    telnet.ask(Side.US, 0)
    assert telnet.data_to_send() == DO + b"\x2c" + WILL + b"\0"
    assert not telnet.enabled(Side.THEM, 44)
    events(telnet, WILL + b"\x2c" + DONT + b"\0")
    assert telnet.enabled(Side.THEM, 44)
    assert telnet.refused(Side.US, 0)
    assert telnet.data_to_send() == b""


def test_asking_for_what_we_do_not_know_is_our_own_mistake() -> None:
    with pytest.raises(ValueError, match="option 24"):
        make().ask(Side.US, 24)


def test_no_more_is_parsed_than_the_next_event() -> None:
    telnet = make()
    telnet.receive_data(b"ab" + IAC + b"\xf1" + DO + b"\0")
    assert telnet.next_event() == b"ab"
    assert telnet.buffered == 5
    assert telnet.next_event() == Command(Code.NOP)
    assert telnet.buffered == 3
    assert telnet.data_to_send() == b""
    assert telnet.next_event() is None
    assert telnet.buffered == 0
    assert telnet.data_to_send() == WILL + b"\0"


def test_an_endless_subnegotiation_takes_no_memory() -> None:
    telnet = make()
    telnet.receive_data(IAC + SB)
    for _ in range(100):
        telnet.receive_data(b"x" * 10_000)
        assert telnet.next_event() is None
        assert telnet.buffered == 0
    content = telnet._subnegotiation
    assert content is not None
    assert len(content) <= MAX_SUBNEGOTIATION + 1
    assert events(telnet, IAC + SE + b"y") == [b"y"]


def test_violations_are_logged_for_debugging(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "serialnet.wire.telnet")
    events(make(), b"\xff\x05")
    assert [record.levelno for record in caplog.records] == [logging.DEBUG]
    assert "IAC 5" in caplog.text


@given(chunked())
def test_cuts_change_nothing(chunks: list[bytes]) -> None:
    pieces, whole = make(), make()
    assert events(pieces, *chunks) == events(whole, b"".join(chunks))
    assert pieces.data_to_send() == whole.data_to_send()
    assert pieces.violations == whole.violations
    assert pieces.buffered == whole.buffered <= 2


@given(chunked(st.binary(max_size=50).map(lambda data: data + b"\xff" * 41).map(escape)))
def test_data_comes_back(chunks: list[bytes]) -> None:
    telnet = make()
    (data,) = events(telnet, *chunks)
    assert isinstance(data, bytes)
    assert escape(data) == b"".join(chunks)
    assert telnet.violations == 0


@given(st.binary(max_size=200))
def test_nothing_that_is_received_raises(wire: bytes) -> None:
    telnet = make()
    events(telnet, wire)
    assert len(telnet.data_to_send()) <= len(wire)
