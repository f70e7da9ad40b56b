"""A bridge's two directions, its end, and the line between the ends."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from typing_extensions import Buffer, override

import serialnet
from serialnet import (
    Bridge,
    BridgeEnd,
    BridgeError,
    Configure,
    GetInputs,
    Inputs,
    InputsChanged,
    LineError,
    LineErrors,
    LineRequest,
    LineSettings,
    LineTimeoutError,
    LineUnsupportedError,
    Outputs,
    Purge,
    PurgeRequest,
    SendBreak,
    SetOutputs,
    SettingsChanged,
    Transport,
)
from serialnet.bridge import bridge as bridge_module

from ..fake_ends import Entry, FakeAsker, FakePort


@pytest.fixture(autouse=True)
def linger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge_module, "LINGER", 0.02)


class Running:
    end: BridgeEnd | None = None


@asynccontextmanager
async def running(bridge: Bridge) -> AsyncIterator[Running]:
    """Run a bridge beside the block, which must see to it that it ends."""
    result = Running()

    async def run() -> None:
        result.end = await bridge.run()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        yield result


async def test_bytes_go_both_ways() -> None:
    client, port = FakePort(line=False), FakePort()
    bridge = Bridge(client, port)
    async with running(bridge) as result:
        client.feed(b"to the port")
        port.feed(b"to the client")
        await port.until(lambda: port.written == b"to the port")
        await client.until(lambda: client.written == b"to the client")
        client.end()
    assert result.end is not None
    assert (result.end.by, result.end.reason, result.end.error) == (
        "a",
        "the client closed the connection",
        None,
    )
    assert result.end.stats is bridge.stats
    assert (bridge.stats.bytes_a_to_b, bridge.stats.bytes_b_to_a) == (11, 13)
    assert client.closed
    assert port.closed


async def test_a_port_may_stand_on_either_side() -> None:
    for flip in (False, True):
        asker, port = FakeAsker(Configure(LineSettings(9600)), b"x"), FakePort()
        asker.end()
        end = await (Bridge(port, asker) if flip else Bridge(asker, port)).run()
        assert port.story == [LineSettings(9600), b"x", "drain"]
        assert end.by == ("b" if flip else "a")
        assert end.reason == "the client closed the connection"
        assert (end.stats.bytes_a_to_b, end.stats.bytes_b_to_a) == ((0, 1) if flip else (1, 0))


async def test_much_data_arrives_in_order() -> None:
    data = bytes(range(256)) * 2000
    client, port = FakePort(line=False), FakePort(room=0)
    async with running(Bridge(client, port)):
        client.feed(data)
        client.end()
        for size in (1, 10, 1000, 70_000, len(data)):
            await anyio.lowlevel.checkpoint()
            port.take(size)
    assert port.written == data


async def test_end_of_file_is_passed_on_both_ways() -> None:
    client, port = FakePort(line=False), FakePort()
    client.can_send_eof = port.can_send_eof = True
    async with running(Bridge(client, port)) as result:
        client.feed(b"last")
        client.end()
        await port.until(lambda: port.story == [b"last", "eof"])
        with anyio.move_on_after(0.05):  # the other direction runs on for as long as it likes
            await client.until(lambda: client.closed)
        assert not client.closed
        port.feed(b"answer")
        port.end()
    assert client.story == [b"answer"]  # closing it says the rest
    assert client.closed
    assert result.end is not None
    assert (result.end.by, result.end.error) == ("a", None)


async def test_what_cannot_half_close_is_drained_and_lingered_for() -> None:
    client, port = FakePort(line=False), FakePort()
    bridge = Bridge(client, port)
    async with running(bridge) as result:
        client.feed(b"question")
        client.end()
        await port.until(lambda: port.story == [b"question", "drain"])
        assert bridge.lingering
        assert result.end is None
        port.feed(b"answer")
        await client.until(lambda: client.written == b"answer")
    assert result.end is not None
    assert result.end.by == "a"


async def test_while_the_port_drains_the_session_is_ending() -> None:
    client, port = FakePort(line=False), FakePort()
    drained = anyio.Event()
    port.fake_line.waits["drain"] = drained.wait
    bridge = Bridge(client, port)
    async with running(bridge):
        client.end()
        await port.until(lambda: bridge.lingering)
        assert not port.closed
        drained.set()


async def test_hurrying_ends_the_linger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge_module, "LINGER", 1000)
    client, port = FakePort(line=False), FakePort()
    client.end()
    bridge = Bridge(client, port)
    async with running(bridge):
        await port.until(lambda: bridge.lingering)
        bridge.hurry()


async def test_a_drain_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    client, port = FakePort(line=False), FakePort()
    port.fake_line.errors["drain"] = LineTimeoutError("stuck")
    client.end()
    assert (await Bridge(client, port).run()).error is None
    assert "left behind" in caplog.text


@pytest.mark.parametrize(
    "error",
    [
        anyio.BrokenResourceError("unplugged"),
        anyio.ClosedResourceError(),
        OSError("a plug-in's own"),
        ValueError("a plug-in's bug"),
    ],
)
@pytest.mark.parametrize("who", ["a", "b"])
@pytest.mark.parametrize("what", ["receive", "send"])
async def test_an_end_that_is_lost_is_told(error: Exception, who: str, what: str) -> None:
    client, port = FakePort(line=False), FakePort()
    broken, other = (client, port) if who == "a" else (port, client)
    if what == "receive":
        broken.end(error)
    else:
        broken.send_error = error
        other.feed(b"x")
    end = await Bridge(client, port).run()
    assert end.by == who
    assert end.error is error
    name = "the client" if who == "a" else "the port"
    assert end.reason == (f"{name} was lost: {error}" if str(error) else f"{name} was closed")
    assert str(end) == end.reason
    assert client.closed
    assert port.closed


async def test_the_last_words_of_a_client_that_stopped_listening() -> None:
    client, port = FakePort(line=False), FakePort()
    client.send_error = anyio.BrokenResourceError("gone")
    port.feed(b"x")
    async with running(Bridge(client, port)):
        await port.until(lambda: not port.incoming)
        client.feed(b"last words")
    assert port.written == b"last words"


async def test_the_other_end_is_closed_even_if_closing_one_fails(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Sticky(FakePort):
        @override
        async def aclose(self) -> None:
            await super().aclose()
            raise anyio.BrokenResourceError("sticky")

    client, port = Sticky(line=False), FakePort()
    client.end()
    assert (await Bridge(client, port).run()).by == "a"
    assert port.closed


async def test_closing_takes_no_longer_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(FakePort):
        @override
        async def aclose(self) -> None:
            try:
                await anyio.sleep_forever()
            finally:
                self.closed = True

    monkeypatch.setattr(bridge_module, "CLOSE_TIMEOUT", 0.01)
    asker, port = FakeAsker(SetOutputs(brk=True)), Slow()
    client = Slow(line=False)
    client.end()
    await Bridge(client, port).run()
    assert client.closed
    assert port.closed

    port = Slow()
    async with running(Bridge(asker, port)):
        await port.until(lambda: port.log)
        port.fake_line.waits["set_outputs"] = anyio.sleep_forever
        asker.end()
    assert asker.closed
    assert port.closed


async def test_stopping() -> None:
    client, port = FakePort(line=False), FakePort()
    bridge = Bridge(client, port)
    async with running(bridge) as result:
        client.feed(b"x")
        await port.until(lambda: port.log)
        bridge.stop("it is late")
        bridge.stop("it is later")
    assert result.end is not None
    assert (result.end.by, result.end.reason, result.end.error) == ("hook", "it is late", None)
    assert client.closed
    assert port.closed


async def test_it_runs_once() -> None:
    client, port = FakePort(line=False), FakePort()
    client.end()
    bridge = Bridge(client, port)
    await bridge.run()
    with pytest.raises(RuntimeError, match="once"):
        await bridge.run()


def test_two_askers_cannot_be_joined() -> None:
    with pytest.raises(BridgeError, match="both ends ask"):
        Bridge(FakeAsker(), FakeAsker())


async def test_two_lines_exchange_bytes_only() -> None:
    a, b = FakePort(), FakePort()
    async with running(Bridge(a, b)):
        a.feed(b"1")
        b.feed(b"2")
        await a.until(lambda: a.log and b.log)
        assert a.fake_line.watchers == b.fake_line.watchers == 0
        a.end()
    assert a.story == [b"2"]
    assert b.story == [b"1", "drain"]


# The line.

SETTINGS = LineSettings(9600)


@pytest.mark.parametrize(
    ("request_", "done", "answer"),
    [
        (Configure(SETTINGS), [SETTINGS], SETTINGS),
        (SetOutputs(dtr=True, rts=True), [Outputs(True, True)], Outputs(True, True)),
        (PurgeRequest(Purge.BOTH), [Purge.BOTH], Purge.BOTH),
        (PurgeRequest(Purge.UNSENT), [Purge.UNSENT], Purge.UNSENT),
        (GetInputs(), [], Inputs(cts=True)),
        (SendBreak(0.01), [Outputs(brk=True), Outputs()], None),
    ],
)
async def test_requests_are_carried_out_where_they_stand(
    request_: LineRequest, done: list[Entry], answer: object
) -> None:
    asker, port = FakeAsker(b"before", request_, b"after"), FakePort()
    port.fake_line.inputs = Inputs(cts=True)
    asker.end()
    end = await Bridge(asker, port).run()
    # Without anything done between, the bytes join.
    assert port.story == ([b"before", *done, b"after", "drain"] if done else [b"beforeafter", "drain"])
    assert asker.answers == [answer]
    assert (end.stats.requests, end.stats.refused) == (1, 0)


REFUSED: list[tuple[LineRequest, object]] = [
    (Configure(SETTINGS, unchanged=LineSettings(300)), LineSettings(300)),
    (SetOutputs(dtr=True, unchanged=Outputs(rts=True)), Outputs(rts=True)),
    (PurgeRequest(Purge.BOTH), Purge(0)),
    (GetInputs(unchanged=Inputs(ri=True)), Inputs(ri=True)),
    (SendBreak(0.01), None),
]


@pytest.mark.parametrize(("request_", "unchanged"), REFUSED)
async def test_requests_are_refused_without_a_line(request_: LineRequest, unchanged: object) -> None:
    asker, port = FakeAsker(b"before", request_, b"after"), FakePort(line=False)
    asker.end()
    end = await Bridge(asker, port).run()
    assert port.story == [b"beforeafter"]
    assert asker.answers == [unchanged]
    assert (end.stats.requests, end.stats.refused) == (1, 1)
    assert not asker.events


@pytest.mark.parametrize("request_", [request for request, _ in REFUSED])
@pytest.mark.parametrize(
    "error", [LineError("no"), LineTimeoutError("no"), LineUnsupportedError("no"), OSError("no")]
)
async def test_requests_that_fail_are_answered_with_what_is_in_force(
    request_: LineRequest, error: Exception
) -> None:
    asker, port = FakeAsker(request_, b"after"), FakePort()
    await port.fake_line.configure(LineSettings(4800))
    await port.fake_line.set_outputs(dtr=True)
    port.log.clear()
    for name in ("configure", "set_outputs", "purge", "get_inputs"):
        port.fake_line.errors[name] = error
    asker.end()
    end = await Bridge(asker, port).run()
    in_force: dict[type, object] = {Configure: LineSettings(4800), SetOutputs: Outputs(dtr=True)}
    assert asker.answers == [in_force.get(type(request_), request_.unchanged)]
    assert end.stats.refused == 1
    assert port.written == b"after"


async def test_a_purge_also_drops_what_waits_in_the_pump() -> None:
    asker, port = FakeAsker(), FakePort()
    asker.room = 3
    async with running(Bridge(asker, port)):
        port.feed(b"abcdef")
        await asker.until(lambda: asker.received == b"abc")
        asker.add(PurgeRequest(Purge.UNSENT))
        await asker.until(lambda: len(asker.answers) == 1)
        asker.add(PurgeRequest(Purge.RECEIVED))
        await asker.until(lambda: len(asker.answers) == 2)
        asker.room = 100
        asker.news.tell()
        port.feed(b"new")
        await asker.until(lambda: len(asker.received) >= 6)
        asker.end()
    assert asker.received == b"abcnew"


async def test_a_break_is_ended_with_the_session() -> None:
    asker, port = FakeAsker(SetOutputs(brk=True)), FakePort()
    asker.end()
    await Bridge(asker, port).run()
    assert port.story == [Outputs(brk=True), "drain", Outputs()]


async def test_a_session_begins_with_what_is_in_force_and_hears_the_line() -> None:
    asker, port = FakeAsker(), FakePort()
    await port.fake_line.configure(SETTINGS)
    await port.fake_line.set_outputs(dtr=True)
    changed = InputsChanged(Inputs(), Inputs(cd=True))
    bridge = Bridge(asker, port)
    async with running(bridge):
        await asker.until(lambda: len(asker.events) == 2)
        port.fake_line.happen(changed)
        port.fake_line.happen(LineErrors(framing=1))
        await asker.until(lambda: len(asker.events) == 4)
        assert port.fake_line.watchers == 1
        asker.end()
    assert asker.events[0] == SettingsChanged(SETTINGS, Outputs(dtr=True))
    assert asker.events[1:] == [InputsChanged(Inputs(), Inputs()), changed, LineErrors(framing=1)]
    assert bridge.stats.events == 3
    assert port.fake_line.watchers == 0


@pytest.mark.parametrize("error", [LineUnsupportedError("no inputs"), anyio.BrokenResourceError()])
async def test_a_line_that_cannot_be_watched_does_not_end_the_session(error: Exception) -> None:
    asker, port = FakeAsker(), FakePort()
    port.fake_line.errors["events"] = error
    async with running(Bridge(asker, port)):
        asker.add(b"x", SetOutputs(dtr=True))
        await asker.until(lambda: asker.answers == [Outputs(dtr=True)])
        asker.end()


async def test_a_request_that_is_being_carried_out_does_not_hold_up_the_other_direction() -> None:
    asker, port = FakeAsker(Configure(SETTINGS)), FakePort()
    granted = anyio.Event()
    port.fake_line.waits["configure"] = granted.wait
    async with running(Bridge(asker, port)):
        port.feed(b"output")
        await asker.until(lambda: asker.received == b"output")
        assert not asker.answers
        granted.set()
        await asker.until(lambda: asker.answers)
        asker.end()


async def test_over_a_loop() -> None:
    ours, theirs = FakePort(line=False), await serialnet.connect("loop:")
    async with running(Bridge(ours, theirs)):
        ours.feed(b"echo")
        await ours.until(lambda: ours.written == b"echo")
        ours.end()
    with pytest.raises(anyio.ClosedResourceError):
        await theirs.receive()


async def test_a_client_that_ends_while_it_wants_nothing_sent_is_the_one_that_ended() -> None:
    """A send that raises EndOfStream is no end of file of the other end."""

    class Deaf(FakePort):
        can_send_eof = False

        @override
        async def send_some(self, data: Buffer) -> int:
            raise anyio.EndOfStream

    client: Transport = Deaf(line=False)
    port = FakePort()
    port.feed(b"x")
    assert (await Bridge(client, port).run()).by == "a"
