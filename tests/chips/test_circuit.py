"""From DTR and RTS to a boot mode: sequences as flashers play them, at the times at which they arrive."""

import pytest

from serialnet.chips import Board, Mode
from serialnet.values.settings import Outputs

APPLICATION, DOWNLOAD = Mode.APPLICATION, Mode.DOWNLOAD

CLEAR, DTR, RTS, BOTH = Outputs(), Outputs(dtr=True), Outputs(rts=True), Outputs(dtr=True, rts=True)
MS = 1e-3

Steps = list[tuple[float, Outputs]]

HARD_RESET: Steps = [(0, RTS), (100, CLEAR)]
IN_ONE_STEP: Steps = [(0, RTS), (100, DTR), (150, CLEAR)]


def through_both(gap: float) -> Steps:
    """DTR is raised while RTS still is, and RTS dropped ``gap`` ms later: EN is released meanwhile."""
    return [(0, RTS), (100, BOTH), (100 + gap, DTR), (150 + gap, CLEAR)]


def boots_after(board: Board, steps: Steps) -> list[Mode]:
    for at, outputs in steps:
        board.set_outputs(outputs, at * MS)
    board.advance(10)
    return board.boots


@pytest.mark.parametrize("chip", ["esp32", "esp32s2", "esp32c3"])
@pytest.mark.parametrize(
    ("capacitor", "steps", "boots"),
    [
        (1e-6, HARD_RESET, [APPLICATION]),
        (1e-7, HARD_RESET, [APPLICATION]),
        (1e-6, IN_ONE_STEP, [DOWNLOAD]),
        (1e-7, IN_ONE_STEP, [DOWNLOAD]),
        # A port that changes one line after the other, quickly or as slowly as a network does.
        (1e-6, through_both(0.5), [DOWNLOAD]),
        (1e-7, through_both(0.5), [DOWNLOAD]),
        (1e-6, through_both(13.8), [DOWNLOAD]),
        (1e-6, through_both(13.9), [APPLICATION]),
        (1e-7, through_both(1.3), [DOWNLOAD]),
        (1e-7, through_both(1.4), [APPLICATION]),
        (1e-6, through_both(36), [APPLICATION]),
        (1e-7, through_both(36), [APPLICATION]),
        (1e-6, through_both(150), [APPLICATION]),
        (1e-7, through_both(150), [APPLICATION]),
        # What counts is IO0 at the instant when EN has risen.
        (1e-6, [(0, RTS), (100, DTR), (110, CLEAR)], [APPLICATION]),
        (1e-6, [(0, RTS), (100, CLEAR), (110, DTR)], [DOWNLOAD]),
        # Pulled low again before it has risen, EN starts anew.
        (1e-6, [(0, RTS), (100, CLEAR), (110, RTS), (111, CLEAR), (120, DTR)], [DOWNLOAD]),
        (1e-6, [(0, RTS), (100, CLEAR), (110, RTS)], []),
        # No reset: DTR alone, both together.
        (1e-6, [(0, DTR), (100, CLEAR), (200, BOTH), (300, CLEAR)], []),
        (1e-6, [(0, BOTH), (100, DTR), (200, BOTH)], []),
        (1e-6, [*IN_ONE_STEP, (500, RTS), (600, CLEAR)], [DOWNLOAD, APPLICATION]),
    ],
)
def test_two_transistors(chip: str, capacitor: float, steps: Steps, boots: list[Mode]) -> None:
    assert boots_after(Board(chip, capacitor=capacitor), steps) == boots


def test_times_of_a_reset() -> None:
    board = Board()
    assert board.mode is APPLICATION
    assert board.deadline is None
    board.set_outputs(RTS, 5.0)
    assert board.mode is Mode.RESET
    assert board.deadline is None
    board.set_outputs(DTR, 5.1)
    assert board.mode is Mode.RESET
    due = board.deadline
    assert due == pytest.approx(5.1 + 13.86 * MS, abs=0.01 * MS)
    assert due is not None
    board.advance(due - 1e-6)
    assert board.boots == []
    board.advance(due)
    assert (board.boots, board.deadline) == ([DOWNLOAD], None)


@pytest.mark.parametrize(
    ("steps", "boots"),
    [
        (HARD_RESET, [APPLICATION]),
        # As flashers reset this logic: the flag is set, then RTS alone comes by way of both.
        ([(0, CLEAR), (100, DTR), (200, BOTH), (200, RTS), (200, RTS), (300, CLEAR)], [DOWNLOAD]),
        ([(0, DTR), (100, CLEAR), (200, BOTH), (300, RTS), (400, CLEAR)], [APPLICATION]),
        ([(0, DTR), (100, BOTH), (200, CLEAR)], []),
        ([(0, RTS), (1, BOTH), (2, RTS)], [APPLICATION, APPLICATION]),
        ([(0, DTR), (1, RTS), (2, BOTH), (3, RTS), (4, CLEAR), (5, RTS)], [DOWNLOAD, DOWNLOAD, APPLICATION]),
    ],
)
def test_usb_serial_jtag(steps: Steps, boots: list[Mode]) -> None:
    assert boots_after(Board("esp32c3", usb_jtag=True), steps) == boots
