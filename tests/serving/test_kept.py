"""A port that outlives its cable."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import islice

import anyio
import pytest
from anyio.lowlevel import checkpoint

from serialnet import (
    Inputs,
    InputsChanged,
    LineSettings,
    LineTimeoutError,
    Lost,
    OpenError,
    Outputs,
    Purge,
    Restored,
    SettingsChanged,
    Transport,
)
from serialnet.serving import kept
from serialnet.serving.kept import Kept
from serialnet.serving.policies import Gap, GapPolicy, Reconnect
from serialnet.wire import touch

from ..fake_ends import FakePort, cancelled_everywhere

SETTINGS = LineSettings(9600)
GONE = anyio.BrokenResourceError("unplugged")
SOON = Reconnect(0.001, 0.01)


class Cable:
    """A source whose device is there while it is plugged in."""

    tells = True

    def __init__(self, *, line: bool = True) -> None:
        self.ports = [FakePort(line=line)]
        self.plugged = False
        self.attempts = 0
        self.asked: list[tuple[LineSettings | None, Outputs | None]] = []
        self._changed = anyio.Event()

    @property
    def port(self) -> FakePort:
        return self.ports[-1]

    def unplug(self) -> FakePort:
        self.port.end(GONE)
        self.port.send_error = GONE
        self.port.take(1)
        for name in ("configure", "set_outputs", "get_inputs", "purge", "drain"):
            self.port.fake_line.errors[name] = GONE
        return self.port

    def plug(self) -> None:
        self.plugged = True
        self._changed.set()
        self._changed = anyio.Event()

    async def open(self, settings: LineSettings | None, outputs: Outputs | None) -> Transport:
        await checkpoint()
        self.attempts += 1
        if not self.plugged:
            raise OpenError("not there")
        self.plugged = False
        self.asked.append((settings, outputs))
        self.ports.append(FakePort(line=self.port.line is not None))
        if settings is not None and outputs is not None:
            self.port.fake_line._settings, self.port.fake_line._outputs = settings, outputs
        return self.port

    async def changed(self) -> None:
        await self._changed.wait()


@asynccontextmanager
async def keeping(cable: Cable, gap: Gap = Gap()) -> AsyncIterator[Kept]:  # noqa: B008  # a frozen value
    port = Kept(cable.port, cable, gap, SOON)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(port.run)
        yield port
        await port.aclose()
        tasks.cancel_scope.cancel()
    assert cable.port.closed


async def lost(port: Kept, cable: Cable) -> FakePort:
    """Unplug, and let the port notice it."""
    old = cable.unplug()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await port.receive()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(port.receive)
        await old.until(lambda: old.closed)
        tasks.cancel_scope.cancel()
    assert port.lost == "unplugged"
    return old


async def test_what_is_received_goes_on_after_the_gap() -> None:
    cable = Cable()
    async with keeping(cable) as port:
        cable.port.feed(b"before")
        cable.unplug()
        assert await port.receive() == b"before"
        cable.plug()
        async with anyio.create_task_group() as tasks:

            async def speak() -> None:
                await cable.port.until(lambda: len(cable.ports) == 2)
                cable.port.feed(b"after")

            tasks.start_soon(speak)
            assert await port.receive() == b"after"
        assert port.losses == 1
        assert cable.ports[0].closed


async def test_what_is_sent_waits_and_is_sent_once() -> None:
    cable = Cable()
    async with keeping(cable) as port:
        await port.send(b"before")
        cable.unplug()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(port.send, b"after")
            await cable.port.until(lambda: port.lost)
            cable.plug()
        assert [end.written for end in cable.ports] == [b"before", b"after"]


async def test_discarding() -> None:
    cable = Cable()
    async with keeping(cable, Gap(GapPolicy.DISCARD)) as port:
        cable.unplug()
        await port.send(b"lost")
        assert port.bytes_discarded == 4
        cable.plug()
        await port.restored()
        await port.send(b"more")
        assert cable.port.written == b"more"


@pytest.mark.parametrize("gap", [Gap(GapPolicy.SIGNAL), Gap(timeout=0), Gap(GapPolicy.DISCARD, 0.01)])
async def test_when_patience_is_over_it_says_so_and_can_be_used_again(gap: Gap) -> None:
    cable = Cable()
    async with keeping(cable, gap) as port:
        cable.unplug()
        for _ in range(2):
            with pytest.raises(anyio.BrokenResourceError, match="unplugged"):
                await port.receive()
        cable.plug()
        await port.restored()
        cable.port.feed(b"back")
        assert await port.receive() == b"back"


async def test_what_was_asked_for_holds_when_it_is_back() -> None:
    cable = Cable()
    async with keeping(cable) as port:
        assert port.line is not None
        await port.line.configure(SETTINGS)
        await port.line.set_outputs(dtr=True, rts=True, brk=True)
        cable.unplug()
        await lost(port, cable)
        asked: list[Outputs | LineSettings] = []

        async def ask() -> None:
            assert port.line is not None
            asked.append(await port.line.set_outputs(rts=False, brk=True))
            asked.append(await port.line.configure(LineSettings(19200)))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await cable.port.until(lambda: port.line and port.line.outputs == Outputs(dtr=True))
            cable.plug()
        in_force = [Outputs(dtr=True), LineSettings(19200)]
        assert asked == in_force
        assert [port.line.outputs, port.line.settings] == in_force
        assert [cable.port.fake_line.outputs, cable.port.fake_line.settings] == in_force


async def test_requests_are_answered_in_the_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "ANSWER_WITHIN", 0.01)
    monkeypatch.setattr(kept, "DRAIN_WITHIN", 0.01)
    cable = Cable()
    async with keeping(cable) as port:
        assert port.line is not None
        cable.unplug()
        assert await port.line.set_outputs(dtr=True) == Outputs(dtr=True)
        assert await port.line.configure(SETTINGS) == SETTINGS
        assert await port.line.get_inputs() == Inputs()
        await port.line.purge(Purge.BOTH)
        with pytest.raises(LineTimeoutError):
            await port.line.drain()
        cable.plug()
        await port.restored()
        assert cable.asked == [(SETTINGS, Outputs(dtr=True))]
        assert cable.port.log == []  # it was opened so: not one edge more


async def test_a_request_that_waited_before_the_loss_does_not_wait_as_long_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kept, "ANSWER_WITHIN", 1.0)
    cable = Cable()
    async with keeping(cable) as port:
        assert port.line is not None
        cable.port.fake_line.waits["configure"] = lambda: anyio.sleep(1.0)  # for the bytes before it
        cable.port.fake_line.errors["configure"] = GONE
        answered = anyio.Event()

        async def ask() -> None:
            assert port.line is not None
            assert await port.line.configure(SETTINGS) == SETTINGS
            answered.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await cable.port.until(lambda: port.lost)
            with anyio.fail_after(0.9):
                await answered.wait()


async def test_a_change_that_comes_while_it_is_opened_is_made_up_for() -> None:
    cable = Cable()
    async with keeping(cable) as port:
        line = port.line
        assert line is not None
        opening = cable.open

        async def slowly(settings: LineSettings | None, outputs: Outputs | None) -> Transport:
            transport = await opening(settings, outputs)
            await line.set_outputs(dtr=True)  # as another task may
            return transport

        cable.open = slowly  # type: ignore[method-assign]
        await lost(port, cable)
        kept.ANSWER_WITHIN, within = 0, kept.ANSWER_WITHIN
        try:
            cable.plug()
            await port.restored()
        finally:
            kept.ANSWER_WITHIN = within
        assert cable.port.log == [Outputs(dtr=True)]


SLOW = LineSettings(1200)


@pytest.mark.parametrize("when", ["before the loss", "in the gap", "it goes at once"])
async def test_a_board_that_was_touched_is_not_touched_again(
    when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "ANSWER_WITHIN", 0)
    cable = Cable()
    cable.port.fake_line._outputs = Outputs(True, True)
    async with keeping(cable) as port:
        assert port.line is not None
        await port.line.configure(SETTINGS)
        if when == "it goes at once":
            cable.unplug()
        await port.line.configure(SLOW)
        if when == "before the loss":
            await port.line.set_outputs(dtr=False)
        if when != "it goes at once":
            await lost(port, cable)
        if when == "in the gap":
            await port.line.set_outputs(dtr=False)
        cable.plug()
        await port.restored()
        settings, outputs = cable.asked[0]
        assert settings == port.line.settings == SETTINGS
        assert outputs == port.line.outputs == Outputs(dtr=when != "in the gap", rts=True)


async def test_one_that_works_at_1200_baud_is_found_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(touch, "WITHIN", 0)
    cable = Cable()
    async with keeping(cable) as port:
        assert port.line is not None
        await port.line.configure(SLOW)
        await anyio.sleep(0.001)
        await lost(port, cable)
        cable.plug()
        await port.restored()
        assert cable.asked == [(SLOW, Outputs())]


async def test_losses_are_events() -> None:
    cable = Cable()
    cable.port.fake_line.inputs = Inputs(cts=True)
    async with keeping(cable) as port:
        assert port.line is not None
        async with port.line.events() as events:
            assert await anext(events) == InputsChanged(Inputs(cts=True), Inputs(cts=True))
            await lost(port, cable)
            cable.port.news.tell()
            assert await anext(events) == Lost("unplugged")
            assert await anext(events) == InputsChanged(Inputs(cts=True), Inputs())
            cable.plug()
            assert isinstance(await anext(events), Restored)
            assert await anext(events) == SettingsChanged(port.line.settings, port.line.outputs)
            cable.port.fake_line.happen(InputsChanged(Inputs(), Inputs(dsr=True)))
            assert await anext(events) == InputsChanged(Inputs(), Inputs(dsr=True))
        assert [end.fake_line.watchers for end in cable.ports] == [0, 0]


async def test_it_tries_again_without_being_told() -> None:
    cable = Cable()
    async with keeping(cable) as port:
        await lost(port, cable)
        await cable.port.until(lambda: cable.attempts > 3)
        cable.plugged = True
        await port.restored()


@pytest.mark.parametrize(("short", "attempts"), [(60.0, 0), (0.0, 1)])
async def test_one_that_is_lost_soon_is_not_tried_again_at_once(
    short: float, attempts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a server that takes a connection and closes it: each would be a loss, and none an error to open."""
    monkeypatch.setattr(kept, "SHORT", short)
    cable = Cable()
    port = Kept(cable.port, cable, Gap(), Reconnect(60, 60))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(port.run)
        await anyio.sleep(0.01)
        await lost(port, cable)
        await anyio.wait_all_tasks_blocked()
        assert cable.attempts == attempts
        if not attempts:
            cable.plug()  # there is news of it
            await port.restored()
        tasks.cancel_scope.cancel()


def test_delays() -> None:
    delays = list(islice(Reconnect(0.25, 10).delays(), 9))
    for delay, longest in zip(delays, (0.25, 0.5, 1, 2, 4, 8, 10, 10, 10), strict=True):
        assert 0.75 * longest <= delay <= longest


@pytest.mark.parametrize("make", [lambda: Gap(timeout=-1), lambda: Reconnect(0), lambda: Reconnect(2, 1)])
def test_policies_that_are_none(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"must be|expected"):
        make()


async def test_closing_wakes_whoever_waits() -> None:
    cable = Cable()
    async with keeping(cable) as port:
        await lost(port, cable)

        async def fails(call: Callable[[], Awaitable[object]]) -> None:
            with pytest.raises(anyio.ClosedResourceError):
                await call()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fails, port.receive)
            tasks.start_soon(fails, port.restored)
            tasks.start_soon(fails, lambda: port.send(b"x"))
            await checkpoint()
            await port.aclose()


async def test_cancelling_it_anywhere_leaves_nothing_open() -> None:
    async def run() -> None:
        cable = Cable()
        try:
            async with keeping(cable) as port:
                cable.unplug()
                cable.plug()
                await port.send(b"x")
        finally:
            assert all(end.closed for end in cable.ports if end is not cable.port)

    assert await cancelled_everywhere(run) > 5
