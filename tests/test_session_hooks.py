"""Ready-made hooks that end sessions, or tell what passed: the bytes stay on the fast path."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

import anyio
import pytest

import serialnet
from serialnet import (
    Bridge,
    BridgeEnd,
    ClientLeft,
    Configure,
    Hook,
    Inputs,
    InputsChanged,
    LineErrors,
    LineSettings,
    Lost,
    Server,
    SessionEnded,
    SetOutputs,
    hooks,
)
from serialnet.bridge import bridge as bridge_module
from serialnet.bridge.copy import thread

from .bridge.core_ends import tcp
from .fake_ends import FakeAsker, FakePort


@pytest.fixture(autouse=True)
def linger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge_module, "LINGER", 0.02)


async def run(bridge: Bridge) -> BridgeEnd:
    with anyio.fail_after(5):
        return await bridge.run()


@pytest.mark.parametrize(
    ("hook", "reason"),
    [
        (hooks.IdleTimeout(0.02), "nothing has passed for 0.02 s"),
        (hooks.SessionLimit(0.02), "it has lasted 0.02 s, as long as it may"),
    ],
)
@pytest.mark.parametrize("asks", [False, True])
async def test_a_session_ends(hook: Hook, reason: str, asks: bool) -> None:
    client, port = FakeAsker() if asks else FakePort(line=False), FakePort()
    end = await run(Bridge(client, port, hooks=[hook]))
    assert (end.by, end.reason, end.error) == ("hook", reason, None)
    assert client.closed
    assert port.closed


class Clock:
    """Lets a hook's time pass, in place of the event loop's."""

    def __init__(self, hook: Hook, bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
        self.hook, self.bridge, self.now = hook, bridge, 1000.0
        monkeypatch.setattr(anyio, "current_time", lambda: self.now)

    async def next_deadline(self) -> float:
        assert self.hook.deadline is not None
        self.now, self.hook.deadline = self.hook.deadline, None
        await self.hook.timeout(self.bridge._middleware.forward())
        return self.now - 1000


def a_byte_there(stats: serialnet.BridgeStats) -> None:
    stats.bytes_a_to_b += 1


def a_byte_back(stats: serialnet.BridgeStats) -> None:
    stats.bytes_b_to_a += 1


def a_request(stats: serialnet.BridgeStats) -> None:
    stats.requests += 1


@pytest.mark.parametrize("passes", [a_byte_there, a_byte_back, a_request])
async def test_whatever_passes_starts_the_idle_time_anew(
    passes: Callable[[serialnet.BridgeStats], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    bridge = Bridge(FakePort(line=False), FakePort())
    clock = Clock(hooks.IdleTimeout(8), bridge, monkeypatch)
    await clock.hook.opened(bridge)
    assert [await clock.next_deadline() for _ in range(3)] == [2, 4, 6]
    passes(bridge.stats)
    assert [await clock.next_deadline() for _ in range(4)] == [8, 10, 12, 14]
    assert bridge._end is None
    assert await clock.next_deadline() == 16
    assert bridge._end is not None


@pytest.mark.parametrize("hook", [hooks.IdleTimeout, hooks.SessionLimit, hooks.Statistics])
@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_times_that_are_none(hook: type[hooks.IdleTimeout], seconds: float) -> None:
    with pytest.raises(ValueError, match="expected more than 0 seconds"):
        hook(seconds)


async def test_the_bytes_stay_with_the_poller_and_are_counted_as_they_pass() -> None:
    statistics = hooks.Statistics(1000)
    given = [hooks.IdleTimeout(1000), hooks.SessionLimit(1000), statistics]
    async with tcp() as (client, far_client), tcp() as (port, far_port):
        bridge = Bridge(client, port, hooks=given)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bridge.run)
            with anyio.fail_after(5):
                for number in range(1, 4):
                    await far_client.send(b"x" * 1000)
                    received = 0
                    while received < 1000:
                        received += len(await far_port.receive())
                    assert bridge.stats.bytes_a_to_b == 1000 * number
                    passage = bridge._to_port.passage
                    assert passage is not None
                    assert passage._poller is thread._poller
            assert statistics.stats is bridge.stats
            assert bridge.stats.duration > 0
            assert bridge.stats.rate_a_to_b > 0
            tasks.cancel_scope.cancel()


async def test_what_is_counted() -> None:
    asker, port = FakeAsker(), FakePort()
    bridge = Bridge(asker, port)
    asker.add(b"12345", Configure(LineSettings(9600)), Configure(LineSettings(9600)))
    asker.add(SetOutputs(dtr=True), SetOutputs(dtr=True))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, bridge)
        await asker.until(lambda: len(asker.answers) == 4)
        assert bridge.stats.line_changes == 2
        for event in (
            InputsChanged(Inputs(), Inputs(cts=True)),
            LineErrors(parity=2),
            LineErrors(parity=1, breaks=1),
            Lost("unplugged"),
        ):
            port.fake_line.happen(event)
        await asker.until(lambda: len(asker.events) == 6)
        asker.end()
    stats = bridge.stats
    assert (stats.requests, stats.line_changes, stats.losses) == (4, 3, 1)
    assert stats.line_errors == LineErrors(parity=3, breaks=1)
    assert stats.duration > 0
    assert stats.rate_a_to_b == pytest.approx(5 / stats.duration)
    assert stats.rate_b_to_a == 0


def test_before_a_session_there_is_no_rate() -> None:
    stats = serialnet.BridgeStats()
    assert (stats.duration, stats.rate_a_to_b, stats.rate_b_to_a) == (0, 0, 0)
    assert repr(stats).startswith("BridgeStats(bytes_a_to_b=0, bytes_b_to_a=0, requests=0, ")


@pytest.mark.parametrize("swapped", [False, True])
async def test_statistics_are_told_at_the_end(swapped: bool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "serialnet.hooks")
    client, port = FakePort(line=False), FakePort()
    client.feed(b"123")
    port.feed(b"12")
    port.fake_line.happen(LineErrors(framing=2, overrun=1))
    port.fake_line.happen(Lost("unplugged"))
    ends = (port, client) if swapped else (client, port)
    bridge = Bridge(*ends, hooks=[hooks.Statistics])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, bridge)
        await port.until(lambda: bridge.stats.losses and port.written and client.written)
        client.end()
    (told,) = [record.getMessage() for record in caplog.records]
    assert re.fullmatch(
        r"a client: \d\.\d s; 3 bytes to the port \(\d+/s\); 2 bytes from it \(\d+/s\); 0 line changes; "
        r"errors: 1 overrun, 2 framing; the port was lost 1 times",
        told,
    )


async def test_statistics_are_told_every_so_often(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "serialnet.hooks")
    client, port = FakePort(line=False), FakePort()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, Bridge(client, port, hooks=[partial(hooks.Statistics, 0.01)]))
        await port.until(lambda: len(caplog.records) > 2)
        client.end()


async def test_a_server_adds_up() -> None:
    port = FakePort()
    port.fake_line.inputs = Inputs(cts=True)
    async with serialnet.serve(port, "rfc2217://127.0.0.1:0") as server, server.events() as events:
        async with serialnet.connect(server.urls[0]) as client:
            assert client.line is not None
            await client.line.configure(LineSettings(9600))
            port.fake_line.happen(LineErrors(parity=1))
            await port.until(lambda: not port.fake_line.queued)
        left = await next_end(events)
        assert left.stats.duration > 0
        assert server.stats.line_changes == left.stats.line_changes == 1
        assert server.stats.line_errors == LineErrors(parity=1)


async def test_a_link_adds_up() -> None:
    async with (
        serialnet.link("listen:rfc2217://127.0.0.1:0", "loop:") as link,
        link.events() as events,
    ):
        async with serialnet.connect(link.urls[0]) as client:
            assert client.line is not None
            await client.line.set_outputs(rts=True)
            assert link.stats.line_changes > 0  # sessions that run count, too
        while not isinstance(await anext(events), SessionEnded):
            pass
        assert link.stats.line_changes > 0
        assert link.stats.line_errors == LineErrors()


async def next_end(events: object) -> BridgeEnd:
    async for event in events:  # type: ignore[attr-defined]
        if isinstance(event, ClientLeft):
            return event.end
    raise AssertionError


async def test_a_client_that_is_idle_makes_room_for_the_next(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "serialnet.server")
    async with (
        serialnet.serve("loop:", "tcp://127.0.0.1:0", hooks=[partial(hooks.IdleTimeout, 0.2)]) as server,
        serialnet.connect(server.urls[0]) as idle,
    ):
        await idle.send(b"x")
        assert await idle.receive() == b"x"
        with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)), anyio.fail_after(10):
            await idle.receive()
        await works(server)
    assert "no longer uses the port: nothing has passed for 0.2 s" in caplog.text


async def works(server: Server) -> None:
    async with serialnet.connect(server.urls[0]) as client:
        await client.send(b"y")
        assert await client.receive() == b"y"
