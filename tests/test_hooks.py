"""The ready-made hooks, and the rule by which slow reset sequences get through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serialnet import (
    Bridge,
    Configure,
    Hook,
    LineError,
    LineSettings,
    Outputs,
    Purge,
    PurgeRequest,
    SetOutputs,
    hooks,
    resets,
)
from serialnet.bridge import asking, bridge
from serialnet.chips import Board, Mode
from serialnet.wire import patience, slip
from serialnet.wire.patience import EMPTY_FRAME, SYNC
from serialnet.wire.resets import SlowSteps, Step, Wait

from .fake_ends import FakeAsker, FakePort

# What a client does: a value of SET-CONTROL, or a pause in seconds.
Action: TypeAlias = int | float

VALUES = {
    8: SetOutputs(dtr=True),
    9: SetOutputs(dtr=False),
    11: SetOutputs(rts=True),
    12: SetOutputs(rts=False),
}


class Port:
    """A board behind the rule; time is what the test says."""

    def __init__(self, board: Board, outputs: Outputs, steps: SlowSteps | None) -> None:
        self.board = board
        self.now = 100.0
        self.believed = outputs
        self.steps = steps
        self.edges: list[tuple[bool, bool]] = []
        board.set_outputs(outputs, self.now - 10)
        board.advance(self.now)
        board.boots.clear()

    def client(self, actions: Sequence[Action], step: float) -> None:
        """Do what a client does; each command takes it ``step`` seconds."""
        for action in actions:
            if isinstance(action, float):
                self.wait(action)
                continue
            request = replace(VALUES[action], unchanged=self.believed)
            self.believed = request.asked
            if self.steps is None:
                self.play([VALUES[action]])
            else:
                self.play(self.steps.request(request, self.now))
                assert self.steps.asked == self.believed  # it is answered as if it were done
            self.wait(step)

    def play(self, todo: Sequence[Step]) -> None:
        for step in todo:
            if isinstance(step, Wait):
                self.now += step.seconds
                continue
            asked = replace(step, unchanged=self.outputs).asked
            self.board.set_outputs(asked, self.now)
            self.edges.append((asked.dtr, asked.rts))
            if self.steps is not None:
                self.steps.applied(step, asked)

    def wait(self, seconds: float) -> None:
        until = self.now + seconds
        if self.steps is not None and (at := self.steps.deadline) is not None and at <= until:
            self.now = at
            self.play(self.steps.expire())
            assert self.steps.deadline is None
        self.now = max(self.now, until)
        self.board.advance(self.now)

    @property
    def outputs(self) -> Outputs:
        return self.board._outputs


def behind_the_rule(outputs: Outputs, board: Board | None = None) -> Port:
    return Port(board or Board(), outputs, SlowSteps(outputs))


STATES = [Outputs(dtr, rts) for dtr in (False, True) for rts in (False, True)]
OPENED = [Outputs(), Outputs(True, True)]
STEPS = [0.0, 0.001, 0.05, 0.1]

CLASSIC: list[Action] = [9, 11, 9, 0.1, 8, 12, 8, 0.05, 9]
CLASSIC_LONG: list[Action] = [9, 11, 9, 0.1, 8, 12, 8, 0.55, 9]
HARD_RESET: list[Action] = [11, 9, 0.1, 12, 9]
TIGHT: list[Action] = [9, 12, 8, 11, 9, 11, 0.1, 8, 12, 0.05, 9, 12]
USB_JTAG: list[Action] = [12, 9, 9, 0.1, 8, 12, 8, 0.1, 11, 8, 9, 11, 9, 0.1, 9, 12, 9]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("capacitor", [1e-6, 1e-7])
@pytest.mark.parametrize("sequence", [CLASSIC, CLASSIC_LONG, TIGHT])
@pytest.mark.parametrize("outputs", STATES)
def test_a_slow_sequence_enters_the_boot_loader(
    sequence: list[Action], step: float, capacitor: float, outputs: Outputs
) -> None:
    port = behind_the_rule(outputs, Board(capacitor=capacitor))
    port.client(sequence, step)
    port.wait(1.0)
    assert port.board.mode is Mode.DOWNLOAD
    assert port.board.boots[-1] is Mode.DOWNLOAD
    if outputs in OPENED:
        assert port.board.boots == [Mode.DOWNLOAD]
    assert port.outputs == port.believed == Outputs()


@pytest.mark.parametrize("step", [0.05, 0.1])
def test_without_the_rule_it_does_not(step: float) -> None:
    port = Port(Board(), Outputs(), None)
    port.client(CLASSIC, step)
    port.wait(1.0)
    assert port.board.mode is Mode.APPLICATION


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("outputs", STATES)
def test_a_hard_reset_starts_the_application(step: float, outputs: Outputs) -> None:
    port = behind_the_rule(outputs)
    port.client(HARD_RESET, step)
    port.wait(1.0)
    assert port.board.boots == [Mode.APPLICATION]
    assert port.outputs == Outputs()


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("outputs", OPENED)
def test_one_session_that_flashes(step: float, outputs: Outputs) -> None:
    port = behind_the_rule(outputs)
    port.client([8, 11, *CLASSIC, 1.0, *HARD_RESET], step)
    port.wait(1.0)
    assert port.board.boots == [Mode.DOWNLOAD, Mode.APPLICATION]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("outputs", OPENED)
def test_the_sequence_for_usb_jtag(step: float, outputs: Outputs) -> None:
    port = behind_the_rule(outputs, Board("esp32c3", usb_jtag=True))
    port.client(USB_JTAG, step)
    port.wait(1.0)
    assert port.board.boots == [Mode.DOWNLOAD]
    assert port.outputs == Outputs()


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("outputs", OPENED)
def test_the_classic_sequence_on_usb_jtag(step: float, outputs: Outputs) -> None:
    board = Board("esp32c3", usb_jtag=True)
    port = Port(board, outputs, SlowSteps(outputs, usb_jtag=True))
    port.client(CLASSIC, step)
    port.wait(1.0)
    assert board.mode is Mode.DOWNLOAD
    assert port.outputs == Outputs()


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    ("opening", "outputs"),
    [
        *[(opening, outputs) for opening in ([8, 11], [9, 12], [8, 12], [12, 9]) for outputs in OPENED],
        # Not where both are off: RTS on alone is a reset, and nothing tells it from one.
        ([11, 8], Outputs(True, True)),
    ],
)
@pytest.mark.parametrize("usb_jtag", [False, True])
def test_opening_a_port_is_no_reset(
    opening: list[Action], step: float, outputs: Outputs, usb_jtag: bool
) -> None:
    chip = Board("esp32c3", usb_jtag=True) if usb_jtag else Board()
    port = behind_the_rule(outputs, chip)
    port.client(opening, step)
    port.wait(1.0)
    assert port.board.boots == []
    assert port.outputs == port.believed


def test_a_pulse_of_dtr_is_passed_on() -> None:
    port = behind_the_rule(Outputs(True, True))
    port.client([8, 11, 1.0], 0.05)
    port.edges.clear()
    port.client([9, 0.1, 8, 1.0], 0.0)
    # The edge to on is late, but is not lost.
    assert port.edges == [(False, True), (True, True)]


def test_a_pulse_of_dtr_with_rts_off_is_not_touched() -> None:
    port = behind_the_rule(Outputs(True, False))
    port.client([9, 0.1, 8], 0.0)
    assert port.edges == [(False, False), (True, False)]


actions = st.lists(st.sampled_from([8, 9, 11, 12]) | st.sampled_from([0.0, 0.05, 0.1, 1.0]), max_size=30)


@given(actions, st.sampled_from(STATES), st.sampled_from([0.0, 0.05, 0.1]))
def test_what_was_asked_for_is_what_comes_of_it(actions: list[Action], outputs: Outputs, step: float) -> None:
    port = behind_the_rule(outputs)
    port.client(actions, step)
    port.wait(1.0)
    assert (port.outputs.dtr, port.outputs.rts) == (port.believed.dtr, port.believed.rts)
    assert port.steps is not None
    assert port.steps.deadline is None
    # Both lines go through all the values that were asked for.
    for line, values in ((1, {11: True, 12: False}), (0, {8: True, 9: False})):
        wanted = [(outputs.dtr, outputs.rts)[line]]
        wanted += [values[action] for action in actions if action in values]  # type: ignore[index]
        seen = [(outputs.dtr, outputs.rts)[line], *(edge[line] for edge in port.edges)]
        assert _changes(seen) == _changes(wanted)


@given(actions, st.sampled_from(STATES))
def test_rts_never_waits(actions: list[Action], outputs: Outputs) -> None:
    port = behind_the_rule(outputs)
    for action in actions:
        port.client([action], 0.0)
        if action in (11, 12):
            assert (port.outputs.dtr, port.outputs.rts) == (port.believed.dtr, port.believed.rts)


def _changes(values: Sequence[bool]) -> list[bool]:
    return [value for index, value in enumerate(values) if index == 0 or value != values[index - 1]]


def test_break_passes_at_once_and_alone() -> None:
    steps = SlowSteps(Outputs(rts=True))
    assert steps.request(SetOutputs(dtr=True), 0) == []
    assert steps.request(SetOutputs(brk=True), 0.1) == [SetOutputs(brk=True)]
    assert steps.deadline is not None
    assert steps.asked == Outputs(True, True, True)
    assert steps.expire() == [SetOutputs(dtr=True, rts=True)]


def test_both_lines_in_one_request_are_one_step() -> None:
    steps = SlowSteps(Outputs(rts=True))
    assert steps.request(SetOutputs(dtr=True, rts=False), 0) == [SetOutputs(dtr=True, rts=False)]
    assert steps.deadline is None


def test_a_port_that_refuses_is_believed() -> None:
    steps = SlowSteps(Outputs())
    (change,) = steps.request(SetOutputs(rts=True), 0)
    assert isinstance(change, SetOutputs)
    steps.applied(change, Outputs())
    assert steps.asked == Outputs()
    # It is not in reset, so nothing is held back.
    assert steps.request(SetOutputs(dtr=True), 0) == [SetOutputs(dtr=True, rts=False)]


# The hook around it.

HALF_A_STEP = SetOutputs(rts=True), SetOutputs(dtr=True, unchanged=Outputs(rts=True))


@pytest.fixture(autouse=True)
def linger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "LINGER", 0.02)


async def bridged(asker: FakeAsker, port: FakePort, *given: Hook) -> None:
    with anyio.fail_after(5):
        await Bridge(asker, port, hooks=given).run()


async def test_auto_reset_answers_at_once_and_applies_together() -> None:
    asker, port = FakeAsker(*HALF_A_STEP), FakePort()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bridged, asker, port, hooks.AutoReset(hold=1000))
        await asker.until(lambda: len(asker.answers) == 2)
        assert asker.answers == [Outputs(rts=True), Outputs(True, True)]
        assert port.log == [Outputs(rts=True)]
        asker.add(PurgeRequest(Purge.BOTH), Configure(LineSettings(9600)))
        asker.add(SetOutputs(rts=False, unchanged=Outputs(True, True)), b"data")
        asker.end()
    assert port.story == [
        Outputs(rts=True),
        Purge.BOTH,
        LineSettings(9600),
        Outputs(dtr=True),
        b"data",
        "drain",
    ]


async def test_no_data_overtakes_half_a_step() -> None:
    asker, port = FakeAsker(SetOutputs(rts=True), b"before", *HALF_A_STEP, b"behind", b"it"), FakePort()
    asker.add(SetOutputs(dtr=False, unchanged=Outputs(True, True)), *HALF_A_STEP[1:], b"again")
    asker.end()
    await bridged(asker, port, hooks.AutoReset(hold=1000))
    assert port.story == [
        Outputs(rts=True),
        b"before",
        Outputs(rts=True),
        Outputs(True, True),
        b"behindit",
        Outputs(rts=True),
        Outputs(True, True),
        b"again",
        "drain",
    ]


async def test_nor_does_it_when_the_port_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "STALLED_AFTER", 0.02)
    asker, port = FakeAsker(b"stuck", *HALF_A_STEP), FakePort(room=0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bridged, asker, port, hooks.AutoReset(hold=1000))
        await asker.until(lambda: len(asker.answers) == 2)
        assert port.log == [Outputs(rts=True)]
        asker.add(b" behind")
        await port.until(lambda: port.log == [Outputs(rts=True), Outputs(True, True)])
        port.take()
        asker.end()
    assert port.written == b"stuck behind"


async def test_auto_reset_holds_nothing_for_longer_than_it_says() -> None:
    asker, port = FakeAsker(*HALF_A_STEP), FakePort()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bridged, asker, port, hooks.AutoReset(hold=0.01))
        await port.until(lambda: port.log == [Outputs(rts=True), Outputs(True, True)])
        asker.end()


async def test_auto_reset_applies_what_is_held_when_the_client_leaves() -> None:
    asker, port = FakeAsker(*HALF_A_STEP), FakePort()
    asker.end()
    await bridged(asker, port, hooks.AutoReset(hold=1000))
    assert port.story == [Outputs(rts=True), "drain", Outputs(True, True)]


async def test_auto_reset_tells_of_a_refusal() -> None:
    asker, port = FakeAsker(SetOutputs(rts=True, unchanged=Outputs())), FakePort()
    port.fake_line.errors["set_outputs"] = LineError("no")
    asker.end()
    await bridged(asker, port, hooks.AutoReset())
    assert asker.answers == [Outputs()]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (hooks.OnConnect, [Outputs(dtr=True), Outputs(), b"xy", "drain"]),
        (hooks.OnFirstData, [Outputs(dtr=True), Outputs(), b"xy", "drain"]),
        (hooks.OnDisconnect, [b"xy", "drain", Outputs(dtr=True), Outputs()]),
    ],
)
@pytest.mark.parametrize("asks", [False, True])
async def test_sequences_are_played_when_they_should_be(
    kind: type[hooks.OnConnect], expected: list[object], asks: bool
) -> None:
    port = FakePort()
    client = FakeAsker(b"x", b"y") if asks else FakePort(line=False)
    if isinstance(client, FakePort):
        client.feed(b"xy")
    client.end()
    with anyio.fail_after(5):
        await Bridge(client, port, hooks=[kind("D1|W0.001|D0")]).run()
    assert port.story == expected


async def test_nothing_is_played_at_first_data_if_none_comes() -> None:
    asker, port = FakeAsker(Configure(LineSettings(9600))), FakePort()
    asker.end()
    await bridged(asker, port, hooks.OnFirstData("D1"))
    assert port.story == [LineSettings(9600), "drain"]


@pytest.mark.parametrize("kind", [hooks.OnConnect, hooks.OnFirstData, hooks.OnDisconnect])
async def test_sequences_that_cannot_be_played(
    kind: type[hooks.OnConnect], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ValueError, match="no step of a reset sequence"):
        kind("esp-bootlaoder")
    asker, port = FakeAsker(b"x"), FakePort(line=False)
    asker.end()
    await bridged(asker, port, kind("D1"))
    assert "cannot play D1: the port has no lines" in caplog.text
    assert port.written == b"x"
    asker, port = FakeAsker(b"x"), FakePort()
    port.fake_line.errors["set_outputs"] = LineError("not this device")
    asker.end()
    await bridged(asker, port, kind("D1"))
    assert "cannot play D1: not this device" in caplog.text
    assert port.written == b"x"


# The 1200-baud touch

SLOW = LineSettings(1200)


@pytest.fixture
def no_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resets, "TOUCH_HOLD", 0.01)


@pytest.mark.usefixtures("no_hold")
async def test_setting_1200_baud_and_leaving_is_a_touch() -> None:
    port = FakePort()
    port.fake_line._outputs = Outputs(True, True)
    asker = FakeAsker(Configure(SLOW), Configure(SLOW, unchanged=SLOW))
    asker.end()
    await bridged(asker, port, hooks.Touch())
    after = [LineSettings(), Outputs(True, True)]
    assert port.story == [SLOW, SLOW, "drain", Outputs(True, True), SLOW, Outputs(), *after]


@pytest.mark.usefixtures("no_hold")
async def test_dropping_dtr_is_one_by_itself() -> None:
    port = FakePort()
    port.fake_line._outputs = Outputs(True, True)
    asker = FakeAsker(Configure(SLOW), SetOutputs(dtr=False, unchanged=Outputs(True, True)))
    asker.end()
    await bridged(asker, port, hooks.Touch())
    assert port.story == [SLOW, Outputs(rts=True), "drain", LineSettings(), Outputs(True, True)]


@pytest.mark.parametrize(
    "script",
    [
        (Configure(SLOW), b"a question"),
        (Configure(SLOW, unchanged=SLOW),),
        (Configure(SLOW), Configure(LineSettings(9600), unchanged=SLOW)),
        (b"at another rate",),
    ],
)
async def test_work_is_no_touch(script: Sequence[bytes | Configure]) -> None:
    port, asker = FakePort(), FakeAsker(*script)
    asker.end()
    await bridged(asker, port, hooks.Touch())
    assert port.story[-1] == "drain"


async def test_a_port_that_stays_at_its_rate_is_not_touched() -> None:
    port, asker = FakePort(), FakeAsker(Configure(SLOW))
    port.fake_line.errors["configure"] = LineError("no")
    asker.end()
    await bridged(asker, port, hooks.Touch())
    assert port.story == ["drain"]


async def test_a_port_that_ends_the_session_itself_is_not_touched() -> None:
    port, asker = FakePort(), FakeAsker(Configure(SLOW))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bridged, asker, port, hooks.Touch())
        await asker.until(lambda: asker.answers)
        port.end(anyio.BrokenResourceError("unplugged"))
    assert port.log == [SLOW]


# Flashers, kept waiting


async def test_a_flasher_is_kept_waiting_until_the_chip_answers() -> None:
    asker, port = FakeAsker(), FakePort(line=False)
    asker.add(slip.encode(SYNC))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Bridge(asker, port, hooks=[hooks.FlashAssist]).run)
        with anyio.fail_after(10):
            await asker.until(lambda: asker.received == 2 * EMPTY_FRAME)
            port.feed(b"\xc0\x01\x08 the answer\xc0")
            await asker.until(lambda: asker.received.endswith(b"answer\xc0"))
            answered = bytes(asker.received)
            with anyio.move_on_after(3 * patience.INTERVAL):
                await asker.until(lambda: asker.received != answered)
        assert asker.received == answered
        assert port.written == slip.encode(SYNC)
        tasks.cancel_scope.cancel()


async def test_a_reset_or_a_board_near_by_ends_the_wait() -> None:
    asker, port = FakeAsker(), FakePort()
    asker.add(PurgeRequest(Purge.RECEIVED), slip.encode(SYNC))  # is answered at once
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Bridge(asker, port, hooks=[hooks.FlashAssist]).run)
        with anyio.move_on_after(3 * patience.INTERVAL):
            await asker.until(lambda: asker.received)
        assert asker.received == b""
        tasks.cancel_scope.cancel()
    asker, port = FakeAsker(), FakePort()
    asker.add(slip.encode(SYNC), SetOutputs(dtr=True, unchanged=Outputs()))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Bridge(asker, port, hooks=[hooks.FlashAssist]).run)
        with anyio.move_on_after(3 * patience.INTERVAL):
            await asker.until(lambda: asker.received)
        assert asker.received == b""
        tasks.cancel_scope.cancel()


async def test_a_purge_of_a_sync_does_not_go_the_whole_way() -> None:
    asker, port = FakeAsker(), FakePort()
    sync = slip.encode(SYNC)
    asker.add(sync, PurgeRequest(Purge.UNSENT), sync, PurgeRequest(Purge.UNSENT), b"\xc0\x00")
    asker.add(PurgeRequest(Purge.UNSENT))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Bridge(asker, port, hooks=[hooks.FlashAssist]).run)
        with anyio.fail_after(5):
            await asker.until(lambda: len(asker.answers) == 3)
        assert asker.answers == 3 * [Purge.UNSENT]
        assert port.story == [2 * sync + b"\xc0\x00", Purge.UNSENT]
        tasks.cancel_scope.cancel()


async def test_a_purge_with_nothing_to_purge_does_not_go_the_whole_way() -> None:
    asker, port = FakeAsker(), FakePort()
    asker.add(PurgeRequest(Purge.UNSENT), PurgeRequest(Purge.RECEIVED | Purge.UNSENT), b"x")
    asker.add(PurgeRequest(Purge.UNSENT), PurgeRequest(Purge.UNSENT))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Bridge(asker, port, hooks=[hooks.FlashAssist]).run)
        with anyio.fail_after(5):
            await asker.until(lambda: len(asker.answers) == 4)
        assert asker.answers[0] == asker.answers[3] == Purge.UNSENT
        assert port.story == [Purge.RECEIVED | Purge.UNSENT, b"x", Purge.UNSENT]
        tasks.cancel_scope.cancel()
