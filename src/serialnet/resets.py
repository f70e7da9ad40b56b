"""Resetting boards, as verbs: ``await resets.enter_bootloader(port.line)``.

A sequence is a name in :data:`SEQUENCES` or a text in esptool's mini-language,
``D0|R1|W0.1|D1|R0|W0.05|D0``; it is played where this runs, so run it where the port is, or over a transport
whose other end recognises sequences (serialnet's server does).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import anyio

from .core.line import Line
from .values.requests import SetOutputs
from .wire.resets import SEQUENCES, Step, Wait, parse_sequence

__all__ = ["SEQUENCES", "enter_bootloader", "parse_sequence", "play", "reset"]


LAST_STEP_TIMEOUT = 1.0


async def play(line: Line, sequence: str) -> None:
    """Play a reset sequence on a line.

    When this fails or is cancelled, the lines go at once to where the sequence would have left them: no
    board stays in reset.

    :param sequence: a name in :data:`SEQUENCES`, or esptool's mini-language
    :raises ValueError: if the sequence is not understood; then nothing was played
    """
    steps = parse_sequence(sequence)
    try:
        for step in steps:
            if isinstance(step, Wait):
                await anyio.sleep(step.seconds)
            else:
                await line.set_outputs(dtr=step.dtr, rts=step.rts)
    except BaseException:
        with anyio.move_on_after(LAST_STEP_TIMEOUT, shield=True), suppress(Exception):
            await line.set_outputs(dtr=_last(steps, "dtr"), rts=_last(steps, "rts"))
        raise


def _last(steps: Sequence[Step], line: str) -> bool | None:
    """What a sequence sets DTR or RTS to in the end."""
    values = [getattr(step, line) for step in steps if isinstance(step, SetOutputs)]
    return next((value for value in reversed(values) if value is not None), None)


async def reset(line: Line) -> None:
    """Restart an ESP32 into its application."""
    await play(line, "esp-reset")


async def enter_bootloader(line: Line) -> None:
    """Restart an ESP32 into its serial boot loader."""
    await play(line, "esp-bootloader")
