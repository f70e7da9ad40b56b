"""A device that takes nothing: what is carried out all the same, and what waits."""

from __future__ import annotations

import random
from collections.abc import Callable

import anyio
import pytest
from typing_extensions import Buffer, override

from serialnet import (
    Bridge,
    BridgeEnd,
    Configure,
    Hook,
    LineRequest,
    LineSettings,
    Outputs,
    Purge,
    PurgeRequest,
    SetOutputs,
)
from serialnet.bridge import asking, bridge
from serialnet.chips import Board, Mode
from serialnet.transports.loop import LoopTransport
from serialnet.transports.sim import SimulatedTransport

from ..fake_ends import FOREVER, FakeAsker, FakePort, cancelled_everywhere

SETTINGS = LineSettings(9600)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """What is stuck is told soon; from the call of this on, a busy machine is not taken for stuck."""
    monkeypatch.setattr(asking, "STALLED_AFTER", 0.03)
    monkeypatch.setattr(bridge, "LINGER", 0.02)
    return lambda: monkeypatch.setattr(asking, "STALLED_AFTER", 5.0)


class Session:
    """A bridge that runs beside the test."""

    end: BridgeEnd | None = None

    def __init__(self, asker: FakeAsker, port: FakePort) -> None:
        self.run_ = Bridge(asker, port).run

    async def run(self) -> None:
        self.end = await self.run_()


async def test_lines_and_purges_come_from_behind_what_is_stuck() -> None:
    asker, port = FakeAsker(b"stuck"), FakePort(room=0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Session(asker, port).run)
        asker.add(
            b" and more",
            SetOutputs(dtr=True),
            SetOutputs(rts=True, brk=True),
            b"!",
            PurgeRequest(Purge.RECEIVED),
            SetOutputs(brk=False),
        )
        await asker.until(lambda: len(asker.answers) == 4)
        assert port.log == [
            Outputs(dtr=True),
            Outputs(dtr=True, rts=True, brk=True),
            Purge.RECEIVED,
            Outputs(dtr=True, rts=True),
        ]
        assert asker.answers == [port.log[0], port.log[1], Purge.RECEIVED, port.log[3]]
        port.take()
        asker.end()
    assert port.written == b"stuck and more!"


async def test_settings_are_refused_and_what_follows_still_works(patience: Callable[[], None]) -> None:
    asker = FakeAsker(b"stuck", Configure(SETTINGS), SetOutputs(rts=True), b"more")
    port = FakePort(room=0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Session(asker, port).run)
        await asker.until(lambda: len(asker.answers) == 2)
        assert asker.answers == [LineSettings(), Outputs(rts=True)]
        patience()
        port.take()
        await port.until(lambda: port.written == b"stuckmore")
        asker.add(Configure(SETTINGS))
        await asker.until(lambda: len(asker.answers) == 3)
        assert asker.answers[2] == SETTINGS
        asker.end()
    assert port.story == [Outputs(rts=True), b"stuckmore", SETTINGS, "drain"]


async def test_settings_wait_for_a_device_that_moves_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asker, port = FakeAsker(b"stuck", SetOutputs(dtr=True)), FakePort(room=0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Session(asker, port).run)
        await asker.until(lambda: asker.answers)
        monkeypatch.setattr(asking, "STALLED_AFTER", 1.0)
        asker.add(Configure(SETTINGS), b"new")
        for _ in b"stuck":  # slower than all at once, faster than a stall, with room for a busy machine
            await anyio.sleep(0.25)
            port.take(1)
        await asker.until(lambda: len(asker.answers) == 2)
        port.take()
        asker.end()
    assert port.story == [Outputs(dtr=True), b"stuck", SETTINGS, b"new", "drain"]


async def test_a_slow_device_is_not_a_stuck_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "STALLED_AFTER", 1.0)
    data = random.Random(1).randbytes(24)
    script: list[bytes | LineRequest] = [
        data[:8],
        SetOutputs(dtr=True),
        data[8:16],
        PurgeRequest(Purge.RECEIVED),
        data[16:],
    ]
    asker, port = FakeAsker(*script), FakePort(room=0)
    asker.end()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Session(asker, port).run)
        for _ in range(12):
            await anyio.sleep(0.1)
            port.take(2)
    assert port.story == [data[:8], Outputs(dtr=True), data[8:16], Purge.RECEIVED, data[16:], "drain"]


async def test_no_more_is_read_ahead_than_is_stated(patience: Callable[[], None]) -> None:
    piece = bytes(1000)
    asker, port = FakeAsker(*[piece] * 200, SetOutputs(dtr=True)), FakePort(room=0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Session(asker, port).run)
        await asker.until(lambda: asker.handed_out >= asking.READ_AHEAD)
        with anyio.move_on_after(0.1):
            await asker.until(lambda: asker.handed_out > asking.READ_AHEAD)
        assert asker.handed_out == asking.READ_AHEAD
        patience()
        port.take(10)
        await asker.until(lambda: asker.handed_out == asking.READ_AHEAD + 10)
        assert not asker.answers
        port.take()
        await asker.until(lambda: asker.answers)
        asker.end()
    assert port.story == [bytes(200_000), Outputs(dtr=True), "drain"]


async def test_a_purge_empties_the_queue() -> None:
    asker, port = FakeAsker(b"stuck", b"more", PurgeRequest(Purge.UNSENT), b"new"), FakePort(room=2)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Session(asker, port).run)
        await asker.until(lambda: asker.answers == [Purge.UNSENT])
        port.take()
        asker.end()
    assert port.story == [b"st", Purge.UNSENT, b"new", "drain"]


async def test_a_purge_and_progress_in_the_same_instant() -> None:
    """The device takes the last piece just as all is thrown away: it is not counted twice."""

    class Moves(FakePort):
        sends = 0

        @override
        async def send_some(self, data: Buffer) -> int:
            self.sends += 1
            if self.sends > 2:
                return await super().send_some(data)
            try:
                await anyio.sleep_forever()
            except anyio.get_cancelled_exc_class():
                if self.sends == 1:  # this is how the stall begins
                    raise
            self.log.append(bytes(data))
            return memoryview(data).nbytes

    asker, port = FakeAsker(b"stuck", b"more", PurgeRequest(Purge.UNSENT), b"new"), Moves()
    session = Session(asker, port)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(session.run)
        await asker.until(lambda: port.written.endswith(b"new") or session.end)
        asker.end()
    assert port.written == b"stucknew"
    assert asker.answers == [Purge.UNSENT]
    assert session.end is not None
    assert session.end.error is None


async def test_end_of_file_while_stuck_waits_a_moment(patience: Callable[[], None]) -> None:
    asker, port = FakeAsker(b"stuck"), FakePort(room=0)
    session = Session(asker, port)
    asker.end()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(session.run)
    assert session.end is not None
    assert (session.end.by, session.end.error) == ("a", None)
    assert port.written == b""

    asker, port = FakeAsker(b"stuck", SetOutputs(dtr=True), b"more"), FakePort(room=0)
    session = Session(asker, port)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(session.run)
        await asker.until(lambda: asker.answers)
        patience()
        asker.end()
        await anyio.wait_all_tasks_blocked()
        port.take()
    assert port.story == [Outputs(dtr=True), b"stuckmore", "drain"]


@pytest.mark.parametrize("who", ["asker", "port"])
async def test_an_end_that_is_lost_while_stuck(who: str) -> None:
    error = anyio.BrokenResourceError("unplugged")
    asker, port = FakeAsker(b"stuck", SetOutputs(dtr=True)), FakePort(room=0)
    session = Session(asker, port)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(session.run)
        await asker.until(lambda: asker.answers)
        if who == "asker":
            asker.end(error)
        else:
            port.send_error = error
            port.news.tell()
    assert session.end is not None
    assert session.end.by == ("a" if who == "asker" else "b")
    assert session.end.error is error


async def test_a_port_whose_sends_cannot_be_interrupted_is_waited_for() -> None:
    port = FakePort(room=0)
    port.native_send_some = False
    asker = FakeAsker(b"slow", SetOutputs(dtr=True))
    asker.end()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Session(asker, port).run)
        await anyio.sleep(0.1)
        assert not asker.answers
        port.take()
    assert port.story == [b"slow", Outputs(dtr=True), "drain"]


async def test_a_tap_sees_each_byte_once(patience: Callable[[], None]) -> None:
    seen: list[bytes] = []

    class Tap(Hook):
        @override
        def data(self, direction: object, view: memoryview) -> memoryview | None:
            seen.append(bytes(view))
            return view[:1]

    asker, port = FakeAsker(b"stuck", b"more", SetOutputs(dtr=True)), FakePort(room=0)
    tapped = Bridge(asker, port, hooks=[Tap])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tapped.run)
        await asker.until(lambda: asker.answers)
        patience()
        port.take()
        asker.end()
    assert seen == [b"stuck", b"more"]
    assert port.written == b"sm"
    assert tapped.stats.bytes_a_to_b == 9


async def test_cancelling_it_anywhere_closes_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "STALLED_AFTER", 0.0002)
    monkeypatch.setattr(bridge, "LINGER", 0)

    async def run() -> None:
        asker = FakeAsker(
            b"stuck", SetOutputs(brk=True), b"more", PurgeRequest(Purge.UNSENT), b"n", Configure(SETTINGS)
        )
        port = FakePort(room=0)
        asker.end()
        try:
            await Bridge(asker, port).run()
        finally:
            assert asker.closed
            assert port.closed
            assert not port.fake_line.outputs.brk
            assert port.fake_line.watchers == 0

    assert await cancelled_everywhere(run) > 10


async def test_a_full_loop_is_a_stuck_device() -> None:
    port = LoopTransport()
    asker = FakeAsker(*[bytes(30_000)] * 3, SetOutputs(dtr=True), PurgeRequest(Purge.BOTH), b"new")
    asker.room = 0
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Bridge(asker, port).run)
        await asker.until(lambda: len(asker.answers) == 2)
        asker.room = FOREVER
        asker.news.tell()
        await asker.until(lambda: asker.received.endswith(b"new"))
        asker.end()


async def test_a_stuck_board_is_reset() -> None:
    board = Board("esp32")
    board.stalled = True
    port = SimulatedTransport(board)
    classic = [
        SetOutputs(dtr=False),
        SetOutputs(rts=True),
    ]
    asker = FakeAsker(b"nobody reads this", *classic)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Bridge(asker, port).run)
        await asker.until(lambda: len(asker.answers) == 2)
        await anyio.sleep(0.01)
        asker.add(SetOutputs(dtr=True, rts=False))
        await asker.until(lambda: board.boots)
        asker.end()
    assert board.boots == [Mode.DOWNLOAD]
    assert not board.stalled
