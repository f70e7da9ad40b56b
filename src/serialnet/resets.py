"""Resetting boards, as verbs: ``await resets.enter_bootloader(port.line)``.

A sequence is a name in :data:`SEQUENCES` or a text in esptool's mini-language,
``D0|R1|W0.1|D1|R0|W0.05|D0``; it is played where this runs, so run it where the port is, or over a transport
whose other end recognises sequences (serialnet's server does).
"""

from __future__ import annotations

import anyio

from .core.line import Line
from .wire.resets import SEQUENCES, Wait, parse_sequence

__all__ = ["SEQUENCES", "enter_bootloader", "parse_sequence", "play", "reset"]


async def play(line: Line, sequence: str) -> None:
    """Play a reset sequence on a line.

    :param sequence: a name in :data:`SEQUENCES`, or esptool's mini-language
    :raises ValueError: if the sequence is not understood; then nothing was played
    """
    for step in parse_sequence(sequence):
        if isinstance(step, Wait):
            await anyio.sleep(step.seconds)
        else:
            await line.set_outputs(dtr=step.dtr, rts=step.rts)


async def reset(line: Line) -> None:
    """Restart an ESP32 into its application."""
    await play(line, "esp-reset")


async def enter_bootloader(line: Line) -> None:
    """Restart an ESP32 into its serial boot loader."""
    await play(line, "esp-bootloader")
