"""The RFC 2217 server: each request answered once, in order, with what is in force."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serialnet.values.events import InputsChanged, LineErrors, Lost, SettingsChanged
from serialnet.values.requests import (
    Configure,
    GetInputs,
    InForce,
    LineRequest,
    PurgeRequest,
    SendBreak,
    SetOutputs,
)
from serialnet.values.settings import FlowControl, Inputs, LineSettings, Outputs, Parity, Purge, StopBits
from serialnet.wire.comport import READ_AHEAD, ComPortServer
from serialnet.wire.telnet import Subnegotiation, Telnet

from .wire_tools import AYT, BRK, DO, DONT, IAC, WILL, WONT, chunked, events, grant, sb, serve

SETTINGS = LineSettings(9600, 7, Parity.EVEN, StopBits.TWO, FlowControl.XONXOFF)
OUTPUTS = Outputs(dtr=True, rts=False, brk=False)


def make(settings: LineSettings = SETTINGS, outputs: Outputs = OUTPUTS) -> ComPortServer:
    """A session whose negotiation is over, the first report of the inputs included."""
    server = ComPortServer()
    server.notify(SettingsChanged(settings, outputs))
    server.initiate()
    events(server, WILL + b"\x2c")
    server.data_to_send()
    return server


def baud(rate: int) -> tuple[int, ...]:
    return tuple(rate.to_bytes(4, "big"))


# Negotiation.


def test_the_greeting_asks_for_rfc2217_first() -> None:
    server = ComPortServer()
    server.initiate()
    assert server.data_to_send() == b"".join(
        (DO + b"\x2c", WILL + b"\0", DO + b"\0", WILL + b"\3", DO + b"\3", WILL + b"\1")
    )


@pytest.mark.parametrize(
    ("heard", "agreed"),
    [
        (b"", None),
        (WILL + b"\x2c", True),
        (DO + b"\x2c", True),  # the wrong way round
        (WONT + b"\x2c", False),
        (WONT + b"\x2c" + DO + b"\x2c", True),
        (WILL + b"\x2c" + WONT + b"\x2c", False),
        (WILL + b"\0" + DO + b"\0", None),
    ],
)
def test_either_way_of_agreeing_will_do(heard: bytes, agreed: bool | None) -> None:
    server = ComPortServer()
    server.initiate()
    events(server, heard)
    assert server.agreed is agreed


def test_the_client_is_not_to_echo() -> None:
    server = make()
    events(server, WILL + b"\1")
    assert server.data_to_send() == DONT + b"\1"


# Requests. Each row: what is sent, the request, the reply when it is granted.

changed = replace
GRANTED: list[tuple[tuple[int, ...], LineRequest, tuple[int, ...]]] = [
    ((1, *baud(115200)), Configure(changed(SETTINGS, baudrate=115200)), (101, *baud(115200))),
    ((1, 255, 255, 255, 255), Configure(changed(SETTINGS, baudrate=2**32 - 1)), (101, 255, 255, 255, 255)),
    *(((2, n), Configure(changed(SETTINGS, bytesize=n)), (102, n)) for n in (5, 6, 7, 8)),
    *(
        ((3, n), Configure(changed(SETTINGS, parity=parity)), (103, n))
        for n, parity in enumerate([Parity.NONE, Parity.ODD, Parity.EVEN, Parity.MARK, Parity.SPACE], 1)
    ),
    ((4, 1), Configure(changed(SETTINGS, stopbits=StopBits.ONE)), (104, 1)),
    ((4, 2), Configure(changed(SETTINGS, stopbits=StopBits.TWO)), (104, 2)),
    ((4, 3), Configure(changed(SETTINGS, stopbits=StopBits.ONE_POINT_FIVE)), (104, 3)),
    ((5, 1), Configure(changed(SETTINGS, flow=FlowControl.NONE)), (105, 1)),
    ((5, 2), Configure(changed(SETTINGS, flow=FlowControl.XONXOFF)), (105, 2)),
    ((5, 3), Configure(changed(SETTINGS, flow=FlowControl.RTSCTS)), (105, 3)),
    ((5, 5), SetOutputs(brk=True), (105, 5)),
    ((5, 6), SetOutputs(brk=False), (105, 6)),
    ((5, 8), SetOutputs(dtr=True), (105, 8)),
    ((5, 9), SetOutputs(dtr=False), (105, 9)),
    ((5, 11), SetOutputs(rts=True), (105, 11)),
    ((5, 12), SetOutputs(rts=False), (105, 12)),
    *(((12, n), PurgeRequest(Purge(n)), (112, n)) for n in (1, 2, 3)),
    ((7,), GetInputs(), (107, 16 | 128)),
    ((7, 0), GetInputs(), (107, 16 | 128)),
]
# The replies when the port does not move.
REFUSED = {1: (101, *baud(9600)), 2: (102, 7), 3: (103, 3), 4: (104, 2)}
REFUSED_CONTROL = dict.fromkeys((1, 2, 3), 2) | {5: 6, 6: 6, 8: 8, 9: 8, 11: 12, 12: 12}


@pytest.mark.parametrize(("sent", "request_", "reply"), GRANTED)
def test_requests(sent: tuple[int, ...], request_: LineRequest, reply: tuple[int, ...]) -> None:
    server = make()
    match request_:
        case Configure():
            request_ = replace(request_, unchanged=SETTINGS)
        case SetOutputs():
            request_ = replace(request_, unchanged=OUTPUTS)
    assert events(server, sb(*sent) + b"behind") == [request_]
    assert server.pending == request_
    assert server.data_to_send() == b""
    in_force = grant(request_)
    server.answer(in_force)
    assert server.data_to_send() == sb(*reply)
    assert server.pending is None
    assert events(server) == []
    assert events(server, b"") == [b"behind"]
    assert server.violations == 0
    if isinstance(in_force, LineSettings):
        assert server.settings == in_force
    if isinstance(in_force, Outputs):
        assert server.outputs == in_force


@pytest.mark.parametrize(("sent", "request_", "reply"), GRANTED)
def test_refusals_tell_what_is_still_in_force(
    sent: tuple[int, ...], request_: LineRequest, reply: tuple[int, ...]
) -> None:
    server = make()
    (request,) = events(server, sb(*sent))
    assert isinstance(request, type(request_))
    server.answer(request.unchanged)
    if sent[0] == 5:
        reply = (105, REFUSED_CONTROL[sent[1]])
    elif sent[0] == 7:
        reply = (107, 0)
    assert server.data_to_send() == sb(*REFUSED.get(sent[0], reply))
    assert (server.settings, server.outputs) == (SETTINGS, OUTPUTS)


# Replies of the codec: what merely asks, and what is reserved.
FLOWS = {FlowControl.NONE: 1, FlowControl.XONXOFF: 2, FlowControl.RTSCTS: 3}


def expected_reply(command: int, payload: tuple[int, ...], settings: LineSettings, outputs: Outputs) -> bytes:
    """The rules once more: what is told while the port never moves."""
    value = payload[0] if len(payload) == 1 else None
    match command:
        case 0:
            return b"" if payload else sb(100, *b"serialnet")
        case 1:
            return sb(101, *baud(settings.baudrate))
        case 2:
            return sb(102, settings.bytesize)
        case 3:
            return sb(103, "?NOEMS".index(settings.parity.value))
        case 4:
            return sb(104, {1: 1, 2: 2, 1.5: 3}[settings.stopbits.value])
        case 5:
            if value in (4, 5, 6):
                return sb(105, 5 if outputs.brk else 6)
            if value in (7, 8, 9):
                return sb(105, 8 if outputs.dtr else 9)
            if value in (10, 11, 12):
                return sb(105, 11 if outputs.rts else 12)
            if value in (13, 14, 15, 16, 18):
                return sb(105, 13 + FLOWS[settings.flow])
            return sb(105, FLOWS[settings.flow])
        case 6:
            return sb(106, 0)
        case 7:
            return sb(107, 0)
        case 10:
            return sb(110, 0 if value is None else value)
        case 11:
            return sb(111, 255 if value is None else value)
        case 12:
            return sb(112, payload[0] if payload else 0)
    return b""


@pytest.mark.parametrize(
    ("settings", "outputs"),
    [
        (SETTINGS, OUTPUTS),
        (LineSettings(), Outputs(rts=True, brk=True)),
        (LineSettings(50, 5, Parity.SPACE, StopBits.ONE_POINT_FIVE, FlowControl.RTSCTS), Outputs()),
    ],
)
@pytest.mark.parametrize("command", [*range(8), 10, 11, 12])
def test_every_command_with_every_value_is_answered_once(
    command: int, settings: LineSettings, outputs: Outputs
) -> None:
    payloads: list[tuple[int, ...]] = [(), *((value,) for value in range(256)), (1, 2), (0, 0, 0), (1,) * 8]
    payloads += [baud(0), baud(5), (255, 255, 255, 255)]
    for payload in payloads:
        server = make(settings, outputs)
        found = events(server, sb(command, *payload))
        assert len(found) <= 1
        if server.pending is not None:
            assert found == [server.pending]
            server.answer(server.pending.unchanged)
        if command == 12 and len(payload) > 1:
            assert server.data_to_send() == sb(112, payload[0])
        else:
            assert server.data_to_send() == expected_reply(command, payload, settings, outputs)


@pytest.mark.parametrize("command", range(13, 256))
def test_other_commands_are_ignored(command: int) -> None:
    server = make()
    assert events(server, sb(command) + sb(command, 1) + sb(command, 0, 0, 0, 1)) == []
    assert server.data_to_send() == b""
    assert server.violations == 3


@pytest.mark.parametrize("wire", [sb(), sb(1, 0, 0, 0, 1, option=24), sb(option=24)])
def test_subnegotiations_without_a_command_are_ignored(wire: bytes) -> None:
    server = make()
    assert events(server, wire) == []
    assert server.data_to_send() == b""
    assert server.violations == 1


commands = st.one_of(
    st.tuples(st.integers(2, 5), st.integers(0, 20)),
    st.integers(0, 2**32 - 1).map(lambda rate: (1, *baud(rate))),
    st.sampled_from([(0,), (6,), (7,), (1, 7), (3,)]),
    st.tuples(st.integers(10, 12), st.integers(0, 255)),
)


@given(st.lists(commands, max_size=20), st.data())
def test_answers_come_in_order(sent: list[tuple[int, ...]], data: st.DataObject) -> None:
    wire = b"".join(sb(*command) + b"d" for command in sent)
    server = make()
    server.receive_data(wire)
    for command in sent:
        before = (server.settings, server.outputs)
        event = server.next_event()
        if event is not None and not isinstance(event, bytes):
            assert server.next_event() is None
            server.answer(request_answer(event, data.draw(st.booleans())))
            event = server.next_event()
        assert event == b"d"
        (reply,) = events(Telnet(us=(), them=()), server.data_to_send())
        assert isinstance(reply, Subnegotiation)
        assert reply.payload[0] == 100 + command[0]
        if before != (server.settings, server.outputs):
            assert command[0] in (1, 2, 3, 4, 5)
    assert server.next_event() is None
    assert server.buffered == 0


def request_answer(request: LineRequest, granted: bool) -> InForce:
    return grant(request) if granted else request.unchanged


# Baud rates.


@pytest.mark.parametrize(
    ("asked", "actual", "told"),
    [
        (115200, 115200, 115200),
        (115200, 115384, 115200),
        (115200, 111744, 115200),
        (115200, 118657, 118657),
        (115200, 111743, 111743),
        (460800, 9600, 9600),
        (2, 2, 2),
    ],
)
def test_a_rate_that_is_near_enough_is_acknowledged_as_asked(asked: int, actual: int, told: int) -> None:
    server = make()
    events(server, sb(1, *baud(asked)))
    server.answer(replace(SETTINGS, baudrate=actual))
    assert server.data_to_send() == sb(101, *baud(told))
    assert server.settings.baudrate == actual
    events(server, sb(1, 0, 0, 0, 0))
    assert server.data_to_send() == sb(101, *baud(told))
    (request,) = events(server, sb(2, 8))
    assert request == Configure(
        replace(SETTINGS, baudrate=actual, bytesize=8), unchanged=replace(SETTINGS, baudrate=actual)
    )


# Waiting for answers.


def test_an_answer_needs_a_request() -> None:
    server = make()
    with pytest.raises(RuntimeError, match="no request"):
        server.answer(Outputs())
    events(server, sb(5, 8))
    server.answer(Outputs())
    with pytest.raises(RuntimeError, match="no request"):
        server.answer(Outputs())


def test_an_answer_to_something_else_is_refused() -> None:
    server = make()
    events(server, sb(5, 8))
    with pytest.raises(TypeError, match="no answer"):
        server.answer(LineSettings())
    assert server.pending is not None
    server.answer(Outputs(dtr=True))
    assert server.data_to_send() == sb(105, 8)


def test_nothing_beyond_a_request_is_handed_out() -> None:
    server = make()
    wire = b"before" + sb(5, 11) + b"between" + sb(0) + sb(5, 12) + b"after"
    server.receive_data(wire)
    assert server.next_event() == b"before"
    assert server.next_event() == SetOutputs(rts=True, unchanged=OUTPUTS)
    assert server.next_event() is None
    assert server.buffered == len(b"between" + sb(0) + sb(5, 12) + b"after")
    server.answer(Outputs(dtr=True, rts=True))
    assert server.next_event() == b"between"
    assert server.next_event() == SetOutputs(rts=False, unchanged=Outputs(dtr=True, rts=True))
    assert server.data_to_send() == sb(105, 11) + sb(100, *b"serialnet")
    assert server.next_event() is None
    server.answer(OUTPUTS)
    assert server.next_event() == b"after"
    assert server.next_event() is None


def test_what_waits_behind_a_request_is_bounded() -> None:
    server = make()
    server.receive_data(b"x" * 300_000)
    assert server.next_event() == b"x" * 300_000
    events(server, sb(5, 11))
    server.receive_data(b"x" * READ_AHEAD)
    with pytest.raises(BufferError):
        server.receive_data(b"x")
    assert server.buffered == READ_AHEAD
    server.answer(OUTPUTS)
    assert server.next_event() == b"x" * READ_AHEAD


# Commands of telnet.


def test_a_telnet_break_is_a_request_without_a_reply() -> None:
    server = make()
    assert events(server, IAC + BRK + b"x") == [SendBreak(0.25)]
    server.answer(None)
    assert events(server, b"") == [b"x"]
    assert server.data_to_send() == b""


def test_are_you_there_is_answered_invisibly() -> None:
    server = make()
    assert events(server, b"a" + IAC + AYT + b"b") == [b"ab"]
    assert server.data_to_send() == b"\xff\xf1"


# What is remembered.


def test_signature() -> None:
    server = make()
    assert server.client_signature is None
    events(server, sb(0, *b"\xff tool"))
    assert server.client_signature == b"\xff tool"
    assert server.data_to_send() == b""


def test_suspend_holds_back_notifications_and_no_answers() -> None:
    server = make()
    assert events(server, sb(8) + sb(5, 7)) == []
    assert server.suspended
    server.notify(InputsChanged(Inputs(), Inputs(cts=True)))
    server.notify(SettingsChanged(SETTINGS, Outputs()))
    assert server.data_to_send() == sb(105, 8)
    server.notify(InputsChanged(Inputs(cts=True), Inputs(cts=True, cd=True)))
    server.notify(InputsChanged(Inputs(cts=True, cd=True), Inputs(cd=True)))
    assert server.data_to_send() == b""
    events(server, sb(9))
    assert not server.suspended
    assert server.data_to_send() == sb(107, 128 | 8 | 1) + sb(105, 9)
    assert server.data_to_send() == b""


# Notifications.


def test_the_first_report_comes_with_the_agreement_and_tells_no_change() -> None:
    server = ComPortServer()
    server.initiate()
    server.data_to_send()
    server.notify(InputsChanged(Inputs(), Inputs(cts=True)))
    assert server.data_to_send() == b""
    events(server, WILL + b"\x2c" + DO + b"\x2c")
    assert server.data_to_send() == WILL + b"\x2c" + sb(107, 16)
    assert server.data_to_send() == b""


ALL = Inputs(cts=True, dsr=True, ri=True, cd=True)
NOTIFIED: list[tuple[int, Inputs, Inputs, int | None]] = [
    # mask, before, after, what is told
    (255, Inputs(), Inputs(cts=True), 16 | 1),
    (255, Inputs(), ALL, 0xF0 | 8 | 2 | 1),  # no bit for the beginning of a ring
    (255, ALL, Inputs(), 15),
    (255, Inputs(ri=True), Inputs(), 4),
    (255, ALL, ALL, None),
    (0, Inputs(), ALL, None),
    (0xF0, Inputs(), Inputs(cts=True), 16),
    (0xF0, Inputs(cts=True), Inputs(), 0),  # by the letter, nobody would hear of it
    (0x0F, Inputs(), Inputs(cts=True), 1),
    (0x0F, Inputs(), Inputs(ri=True), None),
    (0x04, Inputs(ri=True), Inputs(), 4),
    (0x10, Inputs(cts=True), Inputs(cts=True, dsr=True), 16),  # by the letter
    (0x10, Inputs(), Inputs(dsr=True), None),
    (0x80, Inputs(cd=True), Inputs(), 0),
]


@pytest.mark.parametrize(("mask", "before", "after", "told"), NOTIFIED)
def test_what_the_mask_lets_through(mask: int, before: Inputs, after: Inputs, told: int | None) -> None:
    server = make()
    server.notify(InputsChanged(before, before))
    server.data_to_send()
    assert events(server, sb(11, mask)) == []
    assert server.data_to_send() == sb(111, mask)
    server.notify(InputsChanged(before, after))
    assert server.data_to_send() == (b"" if told is None else sb(107, told))
    assert server.data_to_send() == b""


def test_a_pulse_between_two_sends_is_told() -> None:
    server = make()
    server.notify(InputsChanged(Inputs(), Inputs(dsr=True)))
    server.notify(InputsChanged(Inputs(dsr=True), Inputs()))
    assert server.data_to_send() == sb(107, 2)


def test_a_poll_is_answered_whatever_the_mask() -> None:
    server = make()
    serve(server, sb(11, 0))
    server.data_to_send()
    events(server, sb(7))
    server.answer(Inputs(dsr=True))
    assert server.data_to_send() == sb(107, 32)
    assert server.data_to_send() == b""


def test_line_errors_are_told_to_who_asked() -> None:
    server = make()
    server.notify(LineErrors(1, 2, 3, 4))
    assert server.data_to_send() == b""
    events(server, sb(10, 255))
    assert server.data_to_send() == sb(110, 255)
    server.notify(LineErrors(overrun=5))
    server.notify(LineErrors(breaks=1))
    assert server.data_to_send() == sb(106, 2 | 16)
    assert server.data_to_send() == b""
    events(server, sb(10, 8))
    server.data_to_send()
    server.notify(LineErrors(parity=1))
    assert server.data_to_send() == b""
    server.notify(LineErrors(parity=1, framing=1))
    assert server.data_to_send() == sb(106, 8)
    server.notify(LineErrors(framing=1))
    events(server, sb(10, 0))
    assert server.data_to_send() == sb(110, 0)


def test_other_peoples_changes_are_told_by_the_commands_that_the_client_uses() -> None:
    server = make()
    other = LineSettings(57600, 8, Parity.NONE, StopBits.ONE, FlowControl.NONE)
    server.notify(SettingsChanged(other, Outputs(rts=True)))
    assert server.data_to_send() == b""
    assert (server.settings, server.outputs) == (other, Outputs(rts=True))
    serve(server, sb(1, 0, 0, 0, 0) + sb(5, 8))
    assert server.data_to_send() == sb(101, *baud(57600)) + sb(105, 8)
    server.notify(SettingsChanged(SETTINGS, Outputs()))
    assert server.data_to_send() == sb(101, *baud(9600)) + sb(105, 9)
    server.notify(SettingsChanged(replace(SETTINGS, bytesize=5), Outputs(rts=True)))
    assert server.data_to_send() == b""


def test_a_change_of_the_clients_own_is_told_once() -> None:
    server = make()
    serve(server, sb(5, 13) + sb(5, 0) + sb(5, 3))
    assert server.data_to_send() == sb(105, 15) + sb(105, 2) + sb(105, 3)
    assert server.data_to_send() == b""


def test_a_pending_request_is_not_answered_by_somebody_elses_change() -> None:
    server = make()
    serve(server, sb(1, 0, 0, 0, 0))
    server.data_to_send()
    events(server, sb(1, *baud(115200)))
    server.notify(SettingsChanged(replace(SETTINGS, baudrate=57600), OUTPUTS))
    assert server.data_to_send() == b""
    server.answer(replace(SETTINGS, baudrate=115200))
    assert server.data_to_send() == sb(101, *baud(115200))


def test_events_without_a_word_for_them_are_not_told() -> None:
    server = make()
    server.notify(Lost("unplugged"))
    assert server.data_to_send() == b""


# Data.


def test_data_is_escaped() -> None:
    assert make().send_data(b"a\xff\r") == b"a\xff\xff\r"


def test_a_terminal_has_nuls_behind_its_crs() -> None:
    server = ComPortServer()
    server.initiate()
    assert server.send_data(b"\r.") == b"\r."
    assert events(server, b"\r\0") == [b"\r\0"]
    assert events(server, DONT + b"\0" + WONT + b"\x2c" + b"\r\0") == [b"\r\0"]
    assert server.send_data(b"\r.") == b"\r\0."
    assert events(server, WONT + b"\0" + b"\r", b"\0x\r\n") == [b"\rx\r\n"]
    assert events(server, DO + b"\x2c" + b"\r\0") == [b"\r\0"]
    assert server.send_data(b"\r.") == b"\r."


# Anything at all.


@given(chunked(), st.booleans())
def test_cuts_change_nothing(chunks: list[bytes], greet: bool) -> None:
    pieces, whole = ComPortServer(), ComPortServer()
    if greet:
        pieces.initiate()
        whole.initiate()
    assert serve(pieces, *chunks) == serve(whole, b"".join(chunks))
    assert pieces.data_to_send() == whole.data_to_send()
    assert pieces.violations == whole.violations
    assert (pieces.settings, pieces.outputs) == (whole.settings, whole.outputs)


@given(st.binary(max_size=300))
def test_nothing_that_is_received_raises(wire: bytes) -> None:
    server = make()
    serve(server, wire)
    server.data_to_send()
