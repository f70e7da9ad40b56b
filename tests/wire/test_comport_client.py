"""The RFC 2217 client: what it asks, and which answer belongs to what."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serialnet.values.events import InputsChanged, LineErrors, SettingsChanged
from serialnet.values.settings import FlowControl, Inputs, LineSettings, Outputs, Parity, Purge, StopBits
from serialnet.wire.comport import Answered, ComPortClient, LineState, Policy

from .wire_tools import AYT, DO, DONT, IAC, WILL, WONT, chunked, events, sb

SETTINGS = LineSettings(9600, 7, Parity.EVEN, StopBits.TWO, FlowControl.RTSCTS)
SET_ALL = [sb(1, 0, 0, 0x25, 0x80), sb(2, 7), sb(3, 3), sb(4, 2), sb(5, 3)]
ACK_ALL = [sb(101, 0, 0, 0x25, 0x80), sb(102, 7), sb(103, 3), sb(104, 2), sb(105, 3)]


def configured() -> ComPortClient:
    """A client which knows that SETTINGS are in force."""
    client = ComPortClient()
    client.configure(SETTINGS)
    assert client.data_to_send() == b"".join(SET_ALL)
    assert len(events(client, *ACK_ALL)) == 5
    return client


def baud(rate: int) -> tuple[int, ...]:
    return tuple(rate.to_bytes(4, "big"))


# Negotiation.


def test_rfc2217_is_offered_before_all_else() -> None:
    client = ComPortClient()
    client.initiate()
    assert client.data_to_send() == b"".join(
        (WILL + b"\x2c", WILL + b"\0", DO + b"\0", WILL + b"\3", DO + b"\3")
    )


@pytest.mark.parametrize(
    ("heard", "said", "agreed"),
    [
        (b"", b"", None),
        (DO + b"\x2c", b"", True),
        (DONT + b"\x2c", b"", False),
        (WILL + b"\x2c", DO + b"\x2c", True),  # the wrong way round
        (DONT + b"\x2c" + WILL + b"\x2c", DO + b"\x2c", True),
        (DO + b"\x2c" + DONT + b"\x2c", WONT + b"\x2c", False),
        (DO + b"\0" + WILL + b"\3", b"", None),
        (WILL + b"\1" + DO + b"\1", DO + b"\1" + WONT + b"\1", None),
        (IAC + AYT, b"", None),
    ],
)
def test_agreement(heard: bytes, said: bytes, agreed: bool | None) -> None:
    client = ComPortClient()
    client.initiate()
    client.data_to_send()
    assert events(client, heard) == []
    assert client.agreed is agreed
    assert client.data_to_send() == said


# Settings.


def test_settings_are_asked_for_and_their_answers_told_apart() -> None:
    client = ComPortClient()
    asks = client.configure(SETTINGS)
    assert client.data_to_send() == b"".join(SET_ALL)
    assert [ask.policy for ask in asks] == [Policy.REQUIRE] * 4 + [Policy.WARN]
    assert client.settings == LineSettings()
    assert events(client, *ACK_ALL) == [Answered(ask, granted=True) for ask in asks]
    assert client.settings == SETTINGS


def test_only_what_differs_is_asked_for() -> None:
    client = configured()
    assert client.configure(SETTINGS) == []
    assert client.data_to_send() == b""
    assert len(client.configure(replace(SETTINGS, bytesize=8))) == 1
    assert client.data_to_send() == sb(2, 8)
    # What is in force is open as long as the answer is.
    assert len(client.configure(SETTINGS)) == 1
    assert client.data_to_send() == sb(2, 7)


def test_all_is_asked_for_if_it_must_be() -> None:
    client = configured()
    assert len(client.configure(SETTINGS, force=True)) == 5
    assert client.data_to_send() == b"".join(SET_ALL)


def test_a_refusal_leaves_what_was_in_force() -> None:
    client = configured()
    (ask,) = client.configure(replace(SETTINGS, bytesize=5))
    assert events(client, sb(102, 7)) == [Answered(ask, granted=False)]
    assert client.settings == SETTINGS


@pytest.mark.parametrize(("actual", "granted"), [(115200, True), (115384, True), (9600, False)])
def test_a_rate_that_is_near_enough_is_granted_and_not_asked_for_again(actual: int, granted: bool) -> None:
    client = configured()
    wanted = replace(SETTINGS, baudrate=115200)
    (ask,) = client.configure(wanted)
    assert events(client, sb(101, *baud(actual))) == [Answered(ask, granted)]
    assert client.settings.baudrate == actual
    assert (client.configure(wanted) == []) is granted
    client = configured()
    client.configure(wanted)
    events(client, sb(101, *baud(115384)), sb(101, *baud(9600)))
    assert len(client.configure(wanted)) == 1


def test_old_servers_append_zeros_to_the_rate() -> None:
    client = ComPortClient()
    (ask, *_) = client.configure(SETTINGS)
    assert events(client, sb(101, *baud(9600), 0, 0, 0, 0)) == [Answered(ask, granted=True)]
    assert client.settings.baudrate == 9600


@pytest.mark.parametrize("payload", [(), (15,), (0, 0, 9), (0,) * 9, (0, 0, 0x25, 0x80, 0, 0, 0, 1)])
def test_other_lengths_of_a_rate_are_no_answer(payload: tuple[int, ...]) -> None:
    client = ComPortClient()
    client.configure(SETTINGS)
    assert events(client, sb(101, *payload)) == []
    assert client.violations == 1


def test_a_query_changes_nothing_and_learns_all() -> None:
    client = ComPortClient()
    asks = client.query_settings() + client.query_outputs()
    queries = [(1, 0, 0, 0, 0), (2, 0), (3, 0), (4, 0), (5, 0), (5, 7), (5, 10), (5, 4)]
    assert client.data_to_send() == b"".join(sb(*query) for query in queries)
    answers = [*ACK_ALL, sb(105, 8), sb(105, 12), sb(105, 6)]
    assert events(client, *answers) == [Answered(ask, granted=True) for ask in asks]
    assert (client.settings, client.outputs) == (SETTINGS, Outputs(dtr=True))


@pytest.mark.parametrize("value", [0, 4, 7, 9, 255])
def test_an_undefined_value_answers_and_teaches_nothing(value: int) -> None:
    client = configured()
    (ask,) = client.configure(replace(SETTINGS, parity=Parity.ODD))
    assert events(client, sb(103, 0)) == [Answered(ask, granted=False)]
    assert client.settings == SETTINGS
    assert events(client, sb(104, value)) == []
    assert client.settings == SETTINGS


# Outputs.


def test_outputs_go_side_by_side() -> None:
    client = ComPortClient()
    asks = client.set_outputs(dtr=True, rts=False, brk=True)
    assert client.data_to_send() == sb(5, 8) + sb(5, 12) + sb(5, 5)
    assert [ask.policy for ask in asks] == [Policy.WARN] * 3
    assert events(client, sb(105, 8) + sb(105, 12) + sb(105, 5)) == [Answered(ask, True) for ask in asks]
    assert client.outputs == Outputs(dtr=True, rts=False, brk=True)
    client.set_outputs(dtr=True)
    assert client.data_to_send() == sb(5, 8)


def test_answers_are_told_apart_by_what_they_are_about() -> None:
    client = ComPortClient()
    (brk,) = client.set_outputs(brk=True)
    (flow, *_) = (ask for ask in client.configure(LineSettings()) if ask.policy is Policy.WARN)
    (dtr,) = client.set_outputs(dtr=False)
    assert events(client, sb(105, 9)) == [Answered(dtr, granted=True)]
    assert events(client, sb(105, 14)) == []
    assert events(client, sb(105, 1)) == [Answered(flow, granted=True)]
    assert events(client, sb(105, 6)) == [Answered(brk, granted=False)]


def test_flow_control_of_another_kind_is_a_refusal() -> None:
    client = ComPortClient()
    flow = client.configure(LineSettings())[-1]
    assert events(client, sb(105, 17)) == [Answered(flow, granted=False)]


def test_a_server_whose_answers_to_control_are_wrong() -> None:
    client = ComPortClient(answers_to_control=False)
    assert len(client.configure(SETTINGS)) == 4
    assert client.settings.flow is FlowControl.RTSCTS
    assert client.set_outputs(dtr=True, rts=True) == []
    assert client.data_to_send() == b"".join(SET_ALL) + sb(5, 8) + sb(5, 11)
    assert client.outputs == Outputs(dtr=True, rts=True)
    assert events(client, sb(105, 9) + sb(105, 1)) == []
    assert client.outputs == Outputs(dtr=True, rts=True)


# Answers that come late, or not at all.


def test_a_late_answer_is_dropped() -> None:
    client = configured()
    (old,) = client.configure(replace(SETTINGS, bytesize=8))
    client.abandon(old)
    (new,) = client.configure(replace(SETTINGS, bytesize=5))
    assert events(client, sb(102, 8)) == []
    assert client.settings.bytesize == 8
    assert events(client, sb(102, 5)) == [Answered(new, granted=True)]


def test_a_late_refusal_is_not_taken_for_the_next_answer() -> None:
    client = configured()
    (old,) = client.configure(replace(SETTINGS, bytesize=8))
    client.abandon(old)
    (new,) = client.configure(replace(SETTINGS, bytesize=5))
    assert events(client, sb(102, 7)) == []
    assert events(client, sb(102, 5)) == [Answered(new, granted=True)]


def test_a_missing_answer_does_not_shift_those_that_come() -> None:
    client = ComPortClient()
    (missing,) = client.set_outputs(dtr=True)
    client.abandon(missing)
    (off,) = client.set_outputs(dtr=False)
    assert events(client, sb(105, 9)) == [Answered(off, granted=True)]
    (on,) = client.set_outputs(dtr=True)
    assert events(client, sb(105, 8)) == [Answered(on, granted=True)]


def test_answers_that_never_come_take_bounded_memory() -> None:
    client = ComPortClient()
    for _ in range(1000):
        for ask in client.get_inputs():
            client.abandon(ask)
    assert sum(map(len, client._asks.values())) <= 65


# The other requests.


@pytest.mark.parametrize("what", [Purge.RECEIVED, Purge.UNSENT, Purge.BOTH])
def test_purge(what: Purge) -> None:
    client = ComPortClient()
    (ask,) = client.purge(what)
    assert client.data_to_send() == sb(12, what.value)
    assert ask.policy is Policy.WARN
    assert events(client, sb(112, what.value)) == [Answered(ask, granted=True)]


def test_there_must_be_something_to_purge() -> None:
    with pytest.raises(ValueError, match="nothing"):
        ComPortClient().purge(Purge(0))


def test_inputs_are_polled() -> None:
    client = ComPortClient()
    assert client.inputs is None
    (ask,) = client.get_inputs()
    assert client.data_to_send() == sb(7, 0)
    assert ask.policy is Policy.IGNORE
    state = Inputs(cts=True, cd=True)
    assert events(client, sb(107, 16 | 128)) == [Answered(ask, granted=True), InputsChanged(state, state)]
    assert client.inputs == state


def test_the_signature_is_asked_for() -> None:
    client = ComPortClient()
    (ask,) = client.ask_signature()
    assert client.data_to_send() == sb(0)
    assert events(client, sb(100, *b"\xffser2net")) == [Answered(ask, granted=True)]
    assert client.server_signature == b"\xffser2net"
    assert events(client, sb(100)) == []
    assert client.data_to_send() == sb(0, *b"serialnet")


def test_the_server_is_suspended_and_resumed() -> None:
    client = ComPortClient()
    client.suspend()
    client.resume()
    assert client.data_to_send() == sb(8) + sb(9)


@pytest.mark.parametrize("offset", [0, 100])
def test_the_server_suspends_us(offset: int) -> None:
    client = ComPortClient()
    assert events(client, sb(8 + offset)) == []
    assert client.suspended
    assert events(client, sb(9 + offset)) == []
    assert not client.suspended


# What comes unasked.


def test_changes_by_others_are_events() -> None:
    client = configured()
    assert events(client, sb(102, 8)) == [SettingsChanged(replace(SETTINGS, bytesize=8), Outputs())]
    assert events(client, sb(102, 8)) == []
    changed = SettingsChanged(replace(SETTINGS, bytesize=8), Outputs(rts=True))
    assert events(client, sb(105, 11)) == [changed]
    assert events(client, sb(105, 20) + sb(105, 16) + sb(112, 3)) == []


def test_inputs_are_events_when_they_change() -> None:
    client = ComPortClient()
    first, then = Inputs(), Inputs(ri=True, dsr=True)
    assert events(client, sb(107, 0)) == [InputsChanged(first, first)]
    assert events(client, sb(107, 0x62)) == [InputsChanged(first, then)]
    assert events(client, sb(107, 0x60)) == []


def test_line_errors_are_told_if_asked_for_and_nothing_else() -> None:
    client = ComPortClient()
    assert events(client, sb(106, 255)) == []
    (ask,) = client.watch_errors()
    assert client.data_to_send() == sb(10, 0x1E)
    assert events(client, sb(110, 0x1E)) == [Answered(ask, granted=True)]
    assert events(client, *[sb(106, 0x61)] * 5) == []
    assert events(client, sb(106, 0xFF)) == [LineErrors(1, 1, 1, 1)]
    client.watch_errors(LineState.BREAK)
    assert events(client, sb(110, 16) + sb(106, 0xFE))[1:] == [LineErrors(breaks=1)]


def test_some_servers_answer_a_mask_with_a_notification() -> None:
    client = ComPortClient()
    (ask,) = client.watch_errors()
    assert events(client, sb(106, 0)) == [Answered(ask, granted=True)]


def test_idle_bits_cannot_be_watched() -> None:
    with pytest.raises(ValueError, match="0x60"):
        ComPortClient().watch_errors(LineState(0x60))


# Anything at all.


def busy() -> ComPortClient:
    client = configured()
    client.initiate()
    client.query_settings() + client.query_outputs()
    client.set_outputs(dtr=True, rts=True)
    client.purge(Purge.BOTH)
    client.get_inputs()
    client.watch_errors()
    client.ask_signature()
    client.data_to_send()
    return client


@given(chunked())
def test_cuts_change_nothing(chunks: list[bytes]) -> None:
    pieces, whole = busy(), busy()
    assert list(map(repr, events(pieces, *chunks))) == list(map(repr, events(whole, b"".join(chunks))))
    assert pieces.data_to_send() == whole.data_to_send()
    assert pieces.violations == whole.violations
    assert (pieces.settings, pieces.outputs) == (whole.settings, whole.outputs)


@given(st.binary(max_size=300))
def test_nothing_that_is_received_raises(wire: bytes) -> None:
    events(busy(), wire)


@pytest.mark.parametrize("command", [*range(13), *range(100, 113), 113, 255])
def test_every_command_with_every_value_is_survived(command: int) -> None:
    client = busy()
    for value in range(256):
        payloads = [(), (value,), (value, value), baud(value), (0,) * 7 + (value,)]
        found = events(client, b"".join(sb(command, *payload) for payload in payloads))
        assert len(found) <= 2 * len(payloads)
