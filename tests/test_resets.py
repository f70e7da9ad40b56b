"""Reset sequences: the mini-language, and playing them."""

from __future__ import annotations

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

import serialnet
from serialnet import LineError, LineSettings, Lost, Outputs, SetOutputs, resets
from serialnet.chips import Board, Mode
from serialnet.transports.sim import SimulatedTransport
from serialnet.wire.resets import LONGEST_SEQUENCE, SEQUENCES, Step, Wait, parse_sequence

from .fake_ends import FakePort


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("D0", (SetOutputs(dtr=False),)),
        ("D1|R0", (SetOutputs(dtr=True), SetOutputs(rts=False))),
        ("U1,0", (SetOutputs(dtr=True, rts=False),)),
        (" D1 | W0.1 |R1", (SetOutputs(dtr=True), Wait(0.1), SetOutputs(rts=True))),
        ("W1|W.5|W2.", (Wait(1), Wait(0.5), Wait(2))),
        ("W10", (Wait(10),)),
    ],
)
def test_parsing(text: str, steps: tuple[Step, ...]) -> None:
    assert parse_sequence(text) == steps


@pytest.mark.parametrize(
    "text", ["", "|", "D", "D2", "d1", "D1,R0", "U1", "U1,2", "W", "W-1", "Wx", "W1e9", "D1||R0", "dtr"]
)
def test_what_cannot_be_parsed(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no step of a reset sequence: expected D0.*esp-bootloader"):
        parse_sequence(text)


@pytest.mark.parametrize("text", ["W11", "W5|D1|W5.1", "W" + "9" * 400])
def test_what_takes_too_long(text: str) -> None:
    with pytest.raises(ValueError, match="takes longer than 10 s"):
        parse_sequence(text)


@given(st.text(alphabet="DRUW01,.| 9", max_size=30))
def test_nothing_but_a_value_error_comes_out(text: str) -> None:
    try:
        steps = parse_sequence(text)
    except ValueError:
        return
    assert sum(step.seconds for step in steps if isinstance(step, Wait)) <= LONGEST_SEQUENCE


async def test_playing() -> None:
    port = FakePort()
    await resets.play(port.fake_line, "D1|R1|W0.001|U0,0")
    assert port.log == [Outputs(dtr=True), Outputs(True, True), Outputs()]


async def test_a_sequence_that_is_not_understood_is_not_begun() -> None:
    port = FakePort()
    with pytest.raises(ValueError, match="no step"):
        await resets.play(port.fake_line, "D1|R2")
    assert port.log == []


async def test_a_line_that_refuses() -> None:
    port = FakePort()
    port.fake_line.errors["set_outputs"] = LineError("no")
    with pytest.raises(LineError):
        await resets.reset(port.fake_line)


BOARDS = [
    ("esp32", 1e-6, False),
    ("esp32", 1e-7, False),
    ("esp32s2", 1e-6, False),
    ("esp32c3", 1e-6, False),
    ("esp32c3", 1e-6, True),
]


async def boots(board: Board, *names: str) -> list[Mode]:
    port = SimulatedTransport(board)
    async with anyio.create_task_group() as tasks:

        async def read() -> None:
            while True:
                await port.receive()

        tasks.start_soon(read)
        for name in names:
            await resets.play(port.line, name)
            await anyio.sleep(0.02)
        tasks.cancel_scope.cancel()
    assert port.line.outputs == Outputs()
    return board.boots


@pytest.mark.parametrize(("chip", "capacitor", "usb_jtag"), BOARDS)
async def test_the_ready_made_ones(chip: str, capacitor: float, usb_jtag: bool) -> None:
    board = Board(chip, capacitor=capacitor, usb_jtag=usb_jtag)
    kind = "usb-jtag" if usb_jtag else "esp"
    assert await boots(board, f"{kind}-bootloader", f"{kind}-reset") == [Mode.DOWNLOAD, Mode.APPLICATION]


async def test_as_verbs() -> None:
    async with serialnet.connect("sim://esp32") as port:
        assert isinstance(port, SimulatedTransport)
        await resets.enter_bootloader(port.line)
        assert port.advance().boots == [Mode.DOWNLOAD]
        await resets.reset(port.line)
        await anyio.sleep(0.02)
        assert port.advance().boots == [Mode.DOWNLOAD, Mode.APPLICATION]


def test_all_are_named_in_the_language() -> None:
    assert all(parse_sequence(name) == parse_sequence(text) for name, text in SEQUENCES.items())


async def test_a_cancelled_sequence_leaves_no_board_in_reset() -> None:
    line = FakePort().line
    assert line is not None
    with anyio.move_on_after(0.01):
        await resets.play(line, "U0,1|W5|U0,0")
    assert (line.outputs.dtr, line.outputs.rts) == (False, False)


# The 1200-baud touch

TOUCH = [Outputs(True, True), LineSettings(1200), Outputs()]
RESTORED = [LineSettings(9600), Outputs(rts=True)]


def at_9600_baud() -> FakePort:
    port = FakePort()
    port.fake_line._settings, port.fake_line._outputs = LineSettings(9600), Outputs(rts=True)
    return port


async def test_a_touch_that_a_board_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resets, "TOUCH_HOLD", 0.01)
    port = at_9600_baud()
    assert await resets.touch(port.fake_line) is False
    assert port.log == [*TOUCH, *RESTORED]


async def test_a_touch_that_a_board_obeys() -> None:
    port = at_9600_baud()
    port.fake_line.queued.append(Lost("restarted"))
    assert await resets.touch(port.fake_line) is True
    assert port.log == [*TOUCH, *RESTORED]  # whatever opens it again knows by that what it is to have


async def test_a_board_that_goes_at_once() -> None:
    port = at_9600_baud()
    port.fake_line.errors["configure"] = anyio.BrokenResourceError("gone")
    assert await resets.touch(port.fake_line) is True


async def test_a_line_that_cannot_be_watched_is_touched_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resets, "TOUCH_HOLD", 0.01)
    port = at_9600_baud()
    port.fake_line.errors["events"] = LineError("no inputs")
    assert await resets.touch(port.fake_line) is False
    assert port.log == [*TOUCH, *RESTORED]


async def test_a_line_that_cannot_be_set_to_1200_baud() -> None:
    port = at_9600_baud()
    port.fake_line.errors["configure"] = LineError("no")
    with pytest.raises(LineError):
        await resets.touch(port.fake_line)


async def test_a_cancelled_touch_leaves_the_line_as_it_was() -> None:
    port = at_9600_baud()
    with anyio.move_on_after(0.01):
        await resets.touch(port.fake_line)
    assert port.log == [*TOUCH, *RESTORED]
