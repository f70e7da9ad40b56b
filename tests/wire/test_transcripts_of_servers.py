"""Our client at real servers, replayed: see ``transcripts/``. What each of them does differently is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serialnet import Inputs, InputsChanged, LineSettings, Outputs
from serialnet.values.settings import FlowControl, Parity, StopBits
from serialnet.wire.comport import Answered, ComPortClient
from serialnet.wire.comport.codes import BAUDRATE, BREAK, DTR, RTS, STOPSIZE, ComPort, Topic

from .sessions import DATA, RECORDED
from .transcript import DIRECTORY, TO_CLIENT, TO_SERVER, Transcript, read

Cut = Callable[[bytes], list[bytes]]


@dataclass
class Outcome:
    """What came of a step: what the client knows at its end, and what it was told in it."""

    settings: LineSettings = field(default_factory=LineSettings)
    outputs: Outputs = field(default_factory=Outputs)
    tells_outputs: bool = False
    inputs: Inputs | None = None
    agreed: bool | None = None
    signature: bytes | None = None
    data: bytes = b""
    granted: list[Topic | ComPort] = field(default_factory=list)
    refused: list[Topic | ComPort] = field(default_factory=list)
    unanswered: list[Topic | ComPort] = field(default_factory=list)
    changes: list[InputsChanged] = field(default_factory=list)
    violations: int = 0


@cache
def replay(name: str) -> dict[str, Outcome]:
    """Let our client do again what it did, and hear what it heard."""
    return replay_cut(name, lambda wire: [wire])


def replay_cut(name: str, cut: Cut) -> dict[str, Outcome]:
    transcript, steps = transcript_of(name), RECORDED[name].steps
    assert [part.name for part in transcript.parts] == [step.name for step in steps]
    client = ComPortClient()
    outcomes = {}
    for step, part in zip(steps, transcript.parts, strict=True):
        outcome, before = Outcome(), client.violations
        asks = step.ask(client)
        sent = client.data_to_send() + step.raw
        for chunk in cut(part.said(TO_CLIENT)):
            client.receive_data(chunk)
            while (event := client.next_event()) is not None:
                match event:
                    case bytes():
                        outcome.data += event
                    case Answered(ask, granted):
                        asks.remove(ask)
                        (outcome.granted if granted else outcome.refused).append(ask.about)
                    case InputsChanged():
                        outcome.changes.append(event)
            sent += client.data_to_send()
        assert sent == part.said(TO_SERVER), f"record {name} again, if the client is to say something else"
        for ask in asks:
            outcome.unanswered.append(ask.about)
            client.abandon(ask)
        outcome.settings, outcome.outputs, outcome.inputs = client.settings, client.outputs, client.inputs
        outcome.tells_outputs = client.tells_outputs
        outcome.agreed, outcome.signature = client.agreed, client.server_signature
        outcome.violations = client.violations - before
        outcomes[step.name] = outcome
    return outcomes


@cache
def transcript_of(name: str) -> Transcript:
    return read(name)


@pytest.mark.parametrize("name", RECORDED)
@given(data=st.data())
def test_cuts_change_nothing(name: str, data: st.DataObject) -> None:
    def cut(wire: bytes) -> list[bytes]:
        cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=8)))
        return [wire[a:b] for a, b in zip([0, *cuts], [*cuts, len(wire)], strict=True)]

    assert replay_cut(name, cut) == replay(name)


@pytest.mark.parametrize("path", sorted(DIRECTORY.iterdir()), ids=lambda path: path.stem)
def test_a_transcript_is_written_as_it_was_read(path: Path) -> None:
    assert path.read_text() == str(read(path.stem))


# What all have in common


@pytest.mark.parametrize("server", ["ser2net", "sredird", "pyserial", "gensio", "esptool"])
def test_they_agree_and_set_what_is_asked_for(server: str) -> None:
    steps = replay(f"{server}-usual")
    assert steps["greeting"].agreed
    assert steps["settings"].settings == LineSettings(
        57600, 7, Parity.EVEN, StopBits.TWO, FlowControl.XONXOFF
    )
    for step in ("settings", "115200 8N1"):
        assert len(steps[step].granted) == 5
    assert steps["115200 8N1"].settings == LineSettings()
    assert sum(step.violations for step in steps.values()) == 0


@pytest.mark.parametrize("server", ["ser2net", "sredird", "pyserial", "gensio"])
def test_bytes_pass_as_they_are(server: str) -> None:
    assert replay(f"{server}-usual")["data"].data == DATA


@pytest.mark.parametrize("server", ["ser2net", "sredird", "pyserial", "esptool"])
def test_changes_of_the_inputs_are_told(server: str) -> None:
    steps = replay(f"{server}-usual")
    assert steps["CTS and DSR go on"].inputs == Inputs(cts=True, dsr=True)
    assert len(steps["CTS and DSR go on"].changes) == 1
    assert steps["CTS and DSR go off"].inputs == Inputs()
    assert len(steps["CTS and DSR go off"].changes) == 1


# ser2net, and gensiot, which has the same library


KIN = pytest.mark.parametrize("server", ["ser2net", "gensio"])


@KIN
def test_ser2net_does_not_answer_one_and_a_half_stop_bits(server: str) -> None:
    assert replay(f"{server}-usual")["1.5 stop bits"].unanswered == [STOPSIZE]


@KIN
def test_ser2net_says_that_a_break_goes_on_for_ever(server: str) -> None:
    steps = replay(f"{server}-usual")
    assert steps["outputs?"].outputs == Outputs(True, True, brk=True)  # there was none
    assert steps["no BREAK"].refused == [BREAK]
    assert steps["outputs then?"].outputs == Outputs(brk=True)


@KIN
def test_ser2net_takes_suspend_for_a_flow_control_and_goes_on(server: str) -> None:
    steps = replay(f"{server}-usual")
    assert steps["data while suspended"].data == b"held"
    assert steps["resume"].settings == LineSettings()


def test_ser2net_tells_the_state_in_place_of_acknowledging_the_mask_of_line_errors() -> None:
    assert replay("ser2net-usual")["line errors"].granted == [ComPort.SET_LINESTATE_MASK]


def test_ser2net_does_not_answer_polls() -> None:
    assert replay("ser2net-usual")["inputs?"].unanswered == [ComPort.NOTIFY_MODEMSTATE]


def test_ser2net_repeats_itself_in_the_negotiation() -> None:
    # DO SUPPRESS-GO-AHEAD comes twice, WILL ECHO with DONT ECHO: nothing is said twice to that.
    (greeting, *_) = transcript_of("ser2net-usual").parts
    assert greeting.said(TO_CLIENT).count(b"\xff\xfd\3") == 2
    assert replay("ser2net-usual")["greeting"].agreed


def test_ser2net_answers_a_signature_by_its_own() -> None:
    assert replay("ser2net-odd")["a signature"].signature == b"ser2net"


def test_ser2net_says_nothing_about_lines_that_its_port_has_not() -> None:
    steps = replay("ser2net-no-lines")
    # Questions come back as they are, which is an answer that tells nothing.
    assert steps["outputs?"].unanswered == []
    assert not steps["outputs?"].tells_outputs
    assert steps["DTR"].unanswered == [DTR]
    assert steps["DTR"].outputs.dtr is False
    assert steps["data"].data == DATA


def test_ser2net_once_told_a_rate_in_one_byte_tells_them_so_ever_after() -> None:
    steps = replay("ser2net-cisco")
    assert steps["115200 8N1"].unanswered == [BAUDRATE]
    assert steps["115200 8N1"].violations == 1
    assert steps["data"].data == DATA


def test_gensiot_tells_no_inputs_and_answers_neither_masks_nor_purges() -> None:
    steps = replay("gensio-usual")
    assert steps["CTS and DSR go on"].inputs is None
    assert steps["line errors"].unanswered == [ComPort.SET_LINESTATE_MASK]
    assert steps["purges"].unanswered == [ComPort.PURGE_DATA] * 3


def test_gensiot_crashes_when_asked_who_it_is() -> None:
    steps = replay("gensio-usual")
    assert steps["signature"].unanswered == [ComPort.SIGNATURE]
    assert len(steps["settings at the end"].unanswered) == 5


# sredird


def test_sredird_appends_zeros_to_the_rate() -> None:
    assert b"\x65\0\1\xc2\0\0\0\0\0\xff\xf0" in transcript_of("sredird-odd").parts[1].said(TO_CLIENT)
    assert BAUDRATE in replay("sredird-odd")["115200 8N1"].granted


def test_sredird_falls_to_9600_at_a_rate_that_it_does_not_know() -> None:
    odd = replay("sredird-usual")["an odd rate"]
    assert odd.refused == [BAUDRATE]
    assert odd.settings == LineSettings(9600)


def test_sredird_refuses_one_and_a_half_stop_bits() -> None:
    stop = replay("sredird-usual")["1.5 stop bits"]
    assert stop.refused == [STOPSIZE]
    assert stop.settings.stopbits is StopBits.ONE


def test_sredird_answers_dtr_and_rts_by_the_flow_control() -> None:
    steps = replay("sredird-usual")
    assert steps["DTR"].unanswered == [DTR, RTS]
    assert steps["neither"].unanswered == [RTS, DTR]
    assert steps["neither"].settings == LineSettings()
    # Asked, it tells them: with that, the questions before it are settled.
    assert steps["outputs then?"].outputs == Outputs()


def test_sredird_holds_data_when_told_to() -> None:
    steps = replay("sredird-usual")
    assert (steps["data while suspended"].data, steps["resume"].data) == (b"", b"held")


def test_sredird_tells_the_path_of_its_device() -> None:
    signature = replay("sredird-usual")["signature"].signature
    assert signature is not None
    assert signature.startswith(b"SRedird 2.2.1 /dev/")


def test_sredird_eats_a_byte_behind_a_nop() -> None:
    assert replay("sredird-odd")["a NOP"].data == b"YZ"


def test_sredird_eats_a_byte_behind_a_poll_without_a_value() -> None:
    assert replay("sredird-odd")["data behind it"].data == b"ello"
    # That is why the client's has one.
    usual = replay("sredird-usual")
    assert usual["inputs?"].unanswered == [ComPort.NOTIFY_MODEMSTATE]
    assert usual["CTS and DSR go on"].data == b""
    assert len(usual["purges"].granted) == 3


def test_sredird_sends_the_end_of_a_mask_of_255_to_the_device() -> None:
    assert replay("sredird-odd")["a mask of 255"].data == b"\xf0"


def test_sredird_sends_commands_to_the_device_after_a_rate_in_one_byte() -> None:
    steps = replay("sredird-cisco")
    assert steps["115200 8N1"].refused == [BAUDRATE]
    assert len(steps["115200 8N1"].unanswered) == 4
    assert steps["115200 8N1"].data  # they come back, as noise at the wrong rate


# pyserial's PortManager, and Espressif's server, which has it within


@pytest.mark.parametrize("server", ["pyserial", "esptool"])
def test_pyserial_answers_no_questions_about_outputs_nor_masks_nor_who_it_is(server: str) -> None:
    steps = replay(f"{server}-usual")
    assert steps["outputs?"].unanswered == [DTR, RTS, BREAK]
    assert steps["line errors"].unanswered == [ComPort.SET_LINESTATE_MASK]
    assert steps["signature"].unanswered == [ComPort.SIGNATURE]
    assert steps["signature"].signature is None
    assert steps["settings at the end"].settings == LineSettings()


@pytest.mark.parametrize("server", ["pyserial", "esptool"])
def test_pyserial_answers_polls(server: str) -> None:
    assert replay(f"{server}-usual")["inputs?"].granted == [ComPort.NOTIFY_MODEMSTATE]


def test_pyserial_offers_rfc2217_the_wrong_way_round() -> None:
    (greeting, *_) = transcript_of("pyserial-usual").parts
    assert b"\xff\xfb\x2c" in greeting.said(TO_CLIENT)
    assert b"\xff\xfd\x2c" in greeting.said(TO_SERVER)


def test_pyserial_goes_on_though_suspended() -> None:
    assert replay("pyserial-usual")["data while suspended"].data == b"held"


def test_pyserial_says_nothing_to_what_it_does_not_know() -> None:
    parts = {part.name: part.said(TO_CLIENT) for part in transcript_of("pyserial-odd").parts}
    for name in (
        "a signature",
        "inbound flow control?",
        "an unknown control",
        "a mask of 0",
        "purges of nothing",
    ):
        assert parts[name] == b""
    assert replay("pyserial-odd")["data"].data == DATA


@pytest.mark.parametrize("name", ["pyserial-cisco", "pyserial-parity-9"])
def test_pyserial_dies_of_values_out_of_range(name: str) -> None:
    steps = replay(name)
    assert len(steps["115200 8N1"].unanswered) == 5
    assert steps["data"].data == b""


def test_espressifs_server_resets_the_board_and_does_not_answer_dtr_and_rts() -> None:
    steps = replay("esptool-usual")
    assert steps["greeting"].data  # what the board says, at the wrong rate: it was restarted
    assert steps["DTR"].unanswered == [DTR, RTS]
    assert steps["neither"].unanswered == [RTS, DTR]
    assert b"waiting for download" in steps["DTR"].data


# What the client makes of answers that it has not asked for


@pytest.mark.parametrize("server", ["ser2net", "sredird", "pyserial"])
def test_odd_answers_change_nothing(server: str) -> None:
    steps = replay(f"{server}-odd")
    assert all(step.settings == LineSettings() for step in steps.values())
    assert all(step.outputs == Outputs() for step in steps.values())
    assert len(steps["115200 8N1 again"].granted) == 5
