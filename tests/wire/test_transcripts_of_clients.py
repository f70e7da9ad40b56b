"""Real clients at our server, replayed: see ``transcripts/``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serialnet import Configure, LineSettings, Outputs, Purge, PurgeRequest, SendBreak, SetOutputs
from serialnet.values.events import SettingsChanged
from serialnet.values.requests import LineRequest
from serialnet.values.settings import FlowControl, Parity, StopBits
from serialnet.wire.comport import ComPortServer

from .record import CLIENTS
from .sessions import DATA
from .transcript import TO_CLIENT, TO_SERVER, messages, read
from .wire_tools import IAC, grant, joined, sb

Cut = Callable[[bytes], list[bytes]]
Item = bytes | LineRequest

OPENED = Outputs(dtr=True, rts=True)
NOTIFICATION = b"\xff\xfa\x2c\x6b"


@dataclass
class Outcome:
    """What a client wants in a part of a session: bytes and requests, in their order."""

    wanted: list[Item] = field(default_factory=list)
    answers: bytes = b""
    settings: LineSettings = field(default_factory=LineSettings)
    outputs: Outputs = field(default_factory=Outputs)
    violations: int = 0

    @property
    def data(self) -> bytes:
        return b"".join(item for item in self.wanted if isinstance(item, bytes))

    @property
    def requests(self) -> list[LineRequest]:
        return [item for item in self.wanted if not isinstance(item, bytes)]


def answers(wire: bytes) -> bytes:
    """What our server said but for data; and but for notifications, whose place is free."""
    return b"".join(
        message
        for message in messages(wire)
        if message[:1] == IAC and message[:2] != IAC + IAC and not message.startswith(NOTIFICATION)
    )


def data_in(wire: bytes) -> bytes:
    return b"".join(
        message.replace(IAC + IAC, IAC)
        for message in messages(wire)
        if message[:1] != IAC or message[:2] == IAC + IAC
    )


@cache
def replay(name: str) -> dict[str, Outcome]:
    """Let our server hear what it heard from a client; every request is granted, as it was."""
    return replay_cut(name, lambda wire: [wire])


def replay_cut(name: str, cut: Cut) -> dict[str, Outcome]:
    server = ComPortServer()
    server.notify(SettingsChanged(LineSettings(), OPENED))
    server.initiate()
    outcomes = {}
    for part in read(name).parts:
        outcome = Outcome()
        wanted: list[Item] = []
        said = server.data_to_send()
        for chunk in cut(part.said(TO_SERVER)):
            server.receive_data(chunk)
            wanted += events(server)
            said += server.data_to_send()
        outcome.wanted, outcome.answers = joined(wanted), answers(said)
        outcome.settings, outcome.outputs = server.settings, server.outputs
        outcome.violations = server.violations
        outcomes[part.name] = outcome
    return outcomes


def events(server: ComPortServer) -> Iterable[Item]:
    while True:
        while (event := server.next_event()) is not None:
            yield event
        if server.pending is None:
            return
        server.answer(grant(server.pending))


@pytest.mark.parametrize("name", CLIENTS)
def test_they_are_answered_as_they_were(name: str) -> None:
    assert {part: outcome.answers for part, outcome in replay(name).items()} == {
        part.name: answers(part.said(TO_CLIENT)) for part in read(name).parts
    }


@pytest.mark.parametrize("name", CLIENTS)
@given(data=st.data())
def test_cuts_change_nothing(name: str, data: st.DataObject) -> None:
    def cut(wire: bytes) -> list[bytes]:
        cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=8)))
        return [wire[a:b] for a, b in zip([0, *cuts], [*cuts, len(wire)], strict=True)]

    assert replay_cut(name, cut) == replay(name)


@pytest.mark.parametrize("name", CLIENTS)
def test_none_breaks_a_rule(name: str) -> None:
    assert [outcome.violations for outcome in replay(name).values()][-1] == 0


# What they want


def settings_in(outcome: Outcome) -> list[LineSettings]:
    """The settings that were asked for one after the other; most clients say all to change one."""
    asked = [request.settings for request in outcome.requests if isinstance(request, Configure)]
    return [to for index, to in enumerate(asked) if index == 0 or to != asked[index - 1]]


def lines_in(outcome: Outcome) -> list[tuple[bool | None, bool | None]]:
    return [(request.dtr, request.rts) for request in outcome.requests if isinstance(request, SetOutputs)]


BREAK = [SetOutputs(brk=True, unchanged=OPENED), SetOutputs(brk=False, unchanged=Outputs(True, True, True))]
DTR, NO_DTR, RTS, NO_RTS = (True, None), (False, None), (None, True), (None, False)


def test_pyserial_opens_a_port() -> None:
    opened = replay("client-pyserial")["open"]
    assert settings_in(opened) == [LineSettings()]
    assert lines_in(opened) == [DTR, RTS]
    assert opened.requests[-2:] == [PurgeRequest(Purge.RECEIVED), PurgeRequest(Purge.UNSENT)]


def test_pyserial_does_all_that_it_offers() -> None:
    parts = replay("client-pyserial")
    assert parts["settings"].settings == LineSettings(
        9600, 7, Parity.EVEN, StopBits.ONE_POINT_FIVE, FlowControl.XONXOFF
    )
    assert lines_in(parts["lines"]) == [NO_RTS, NO_DTR, DTR, RTS]
    assert parts["break"].requests == BREAK
    assert parts["purges"].requests == [PurgeRequest(Purge.RECEIVED), PurgeRequest(Purge.UNSENT)]
    assert parts["data"].settings == LineSettings()
    assert parts["data"].data == DATA


def test_gensiot_sets_what_its_keys_say() -> None:
    parts = replay("client-gensiot")
    assert parts["session"].data == DATA
    wanted = LineSettings(57600, 7, Parity.EVEN, StopBits.TWO, FlowControl.XONXOFF)
    assert parts["settings"].settings == wanted
    assert len(settings_in(parts["settings"])) == 5
    assert parts["break"].requests == [SendBreak(0.25)]


def test_ser2net_asks_first_and_passes_on_what_its_own_clients_want() -> None:
    parts = replay("client-ser2net")
    assert sb(5, 7) + sb(5, 10) + sb(5, 4) + sb(1, 0, 0, 0, 0) in read("client-ser2net").parts[0].said(
        TO_SERVER
    )
    assert parts["session"].requests == []  # answered without asking the port
    wanted = LineSettings(9600, 7, Parity.EVEN, StopBits.TWO, FlowControl.XONXOFF)
    assert wanted in settings_in(parts["settings"])
    assert parts["settings"].settings == LineSettings()
    assert lines_in(parts["lines"]) == [NO_RTS, NO_DTR, DTR, RTS]
    assert parts["break"].requests == BREAK
    assert parts["purge and data"].wanted == [PurgeRequest(Purge.BOTH), DATA]


def test_esptool_resets_in_slow_steps_and_sends_nothing_between() -> None:
    session = replay("client-esptool")["session"]
    opening = [DTR, RTS]
    into_the_boot_loader = [NO_DTR, RTS, NO_DTR, DTR, NO_RTS, DTR, NO_DTR]
    out_of_it = [RTS, NO_DTR, NO_RTS, NO_DTR]
    assert lines_in(session) == opening + into_the_boot_loader + out_of_it
    first_byte = next(index for index, item in enumerate(session.wanted) if isinstance(item, bytes))
    assert len([item for item in session.wanted[:first_byte] if isinstance(item, SetOutputs)]) == 9
    assert session.wanted[-1] == SetOutputs(dtr=False, unchanged=Outputs())
    assert session.data.startswith(b"\xc0\x00\x08\x24")  # SYNC


def test_idf_monitor_restarts_the_board() -> None:
    session = replay("client-idf-monitor")["session"]
    assert lines_in(session) == [DTR, RTS, NO_RTS, DTR, NO_DTR, RTS, NO_DTR, NO_RTS, NO_DTR]
    assert session.outputs == Outputs()
    assert session.data == b""


@pytest.mark.parametrize("name", CLIENTS)
def test_what_the_port_said_is_escaped_as_it_was(name: str) -> None:
    for part in read(name).parts:
        wire = part.said(TO_CLIENT)
        assert ComPortServer().send_data(data_in(wire)) == b"".join(
            message for message in messages(wire) if message[:1] != IAC or message[:2] == IAC + IAC
        )
