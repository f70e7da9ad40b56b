"""Client against server, cut anywhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from hypothesis import given
from hypothesis import strategies as st

from serialnet.values.events import InputsChanged, LineErrors, SettingsChanged
from serialnet.values.requests import LineRequest
from serialnet.values.settings import FlowControl, Inputs, LineSettings, Outputs, Parity, Purge, StopBits
from serialnet.wire.comport import Answered, Ask, ClientEvent, ComPortClient, ComPortServer

from .wire_tools import grant, joined


class Wire:
    """Both ends, and what they have handed out."""

    def __init__(self, cut: Callable[[int], int]) -> None:
        self.client, self.server = ComPortClient(), ComPortServer()
        self._cut = cut
        self.heard: list[bytes | ClientEvent] = []
        self.served: list[bytes | LineRequest] = []
        self.server.notify(SettingsChanged(LineSettings(), Outputs()))
        self.server.initiate()
        self.client.initiate()

    def run(self, to_server: bytes = b"", to_client: bytes = b"") -> None:
        to_server = self.client.data_to_send() + to_server
        to_client = self.server.data_to_send() + to_client
        while to_server or to_client:
            cut = self._cut(len(to_server))
            self.server.receive_data(to_server[:cut])
            self._serve()
            to_client += self.server.data_to_send()
            to_server = to_server[cut:]
            cut = self._cut(len(to_client))
            self.client.receive_data(to_client[:cut])
            while (event := self.client.next_event()) is not None:
                self.heard.append(event)
            to_client = to_client[cut:]
            to_server += self.client.data_to_send()

    def _serve(self) -> None:
        while True:
            while (event := self.server.next_event()) is not None:
                self.served.append(event)
            if self.server.pending is None:
                return
            self.server.answer(grant(self.server.pending))

    def take_answers(self) -> list[Answered]:
        answers = [event for event in self.heard if isinstance(event, Answered)]
        self.heard = [event for event in self.heard if not isinstance(event, Answered)]
        return answers


settings = st.builds(
    LineSettings,
    st.integers(1, 2**32 - 1),
    st.integers(5, 8),
    st.sampled_from(Parity),
    st.sampled_from(StopBits),
    st.sampled_from(FlowControl),
)
maybe = st.none() | st.booleans()
Action: TypeAlias = Callable[[ComPortClient], list[Ask]]


def configure(to: LineSettings, force: bool) -> Action:
    return lambda client: client.configure(to, force=force)


def set_outputs(dtr: bool | None, rts: bool | None, brk: bool | None) -> Action:
    return lambda client: client.set_outputs(dtr=dtr, rts=rts, brk=brk)


def purge(what: Purge) -> Action:
    return lambda client: client.purge(what)


actions: st.SearchStrategy[Action] = st.one_of(
    st.builds(configure, settings, st.booleans()),
    st.builds(set_outputs, maybe, maybe, maybe),
    st.builds(purge, st.sampled_from([Purge.RECEIVED, Purge.UNSENT, Purge.BOTH])),
    st.just(ComPortClient.query_settings),
    st.just(ComPortClient.query_outputs),
    st.just(ComPortClient.get_inputs),
    st.just(ComPortClient.watch_errors),
    st.just(ComPortClient.ask_signature),
)


@given(st.lists(st.tuples(actions, st.booleans(), st.binary(max_size=5)), max_size=10), st.data())
def test_all_that_is_asked_is_answered_in_order(
    steps: list[tuple[Action, bool, bytes]], data: st.DataObject
) -> None:
    wire = Wire(lambda length: data.draw(st.integers(min(length, 1), length)))
    wire.run()
    assert wire.client.agreed
    assert wire.server.agreed
    sent = b""
    asks: list[Ask] = []
    queued = b""
    for action, together, payload in steps:
        asks += action(wire.client)
        queued += wire.client.data_to_send() + wire.client.send_data(payload)
        sent += payload
        if not together:
            wire.run(to_server=queued)
            queued = b""
    wire.run(to_server=queued)
    answers = wire.take_answers()
    assert all(answer.granted for answer in answers)
    assert sorted(map(id, (answer.ask for answer in answers))) == sorted(map(id, asks))
    assert b"".join(event for event in wire.served if isinstance(event, bytes)) == sent
    assert wire.client.violations == wire.server.violations == 0


@given(settings, st.booleans(), st.booleans(), st.booleans())
def test_both_ends_know_the_same(to: LineSettings, dtr: bool, rts: bool, brk: bool) -> None:
    wire = Wire(lambda length: length)
    wire.run()
    wire.client.configure(to)
    wire.client.set_outputs(dtr=dtr, rts=rts, brk=brk)
    wire.run()
    assert wire.client.settings == wire.server.settings == to
    assert wire.client.outputs == wire.server.outputs == Outputs(dtr, rts, brk)


def test_events_go_the_other_way() -> None:
    wire = Wire(lambda length: length)
    wire.run()
    first = InputsChanged(Inputs(), Inputs())
    assert wire.heard == [first]
    wire.client.query_settings() + wire.client.query_outputs()
    wire.client.watch_errors()
    wire.run()
    wire.take_answers()
    ringing = InputsChanged(Inputs(), Inputs(ri=True))
    others = SettingsChanged(replace(LineSettings(), baudrate=9600), Outputs())
    for event in (ringing, others, LineErrors(overrun=7, breaks=1)):
        wire.server.notify(event)
        wire.run()
    assert wire.heard == [first, ringing, others, LineErrors(overrun=1, breaks=1)]


@given(st.binary(), st.binary(), st.data())
def test_data_goes_both_ways(up: bytes, down: bytes, data: st.DataObject) -> None:
    wire = Wire(lambda length: data.draw(st.integers(min(length, 1), length)))
    wire.run(wire.client.send_data(up), wire.server.send_data(down))
    assert joined(event for event in wire.served) == ([up] if up else [])
    assert joined(event for event in wire.heard if isinstance(event, bytes)) == ([down] if down else [])


def test_the_client_stops_the_server() -> None:
    wire = Wire(lambda length: length)
    wire.run()
    wire.client.suspend()
    wire.run()
    assert wire.server.suspended
    wire.client.resume()
    wire.run()
    assert not wire.server.suspended
