"""Resetting boards, as verbs: ``await resets.enter_bootloader(port.line)``.

A sequence is a name in :data:`SEQUENCES` or a text in esptool's mini-language,
``D0|R1|W0.1|D1|R0|W0.05|D0``; it is played where this runs, so run it where the port is, or over a transport
whose other end recognises sequences (serialnet's server does).

Boards whose USB is their own take no sequence but a touch: ``await resets.touch(port.line)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import anyio

from .core.errors import LineError
from .core.line import Line
from .values.events import Lost
from .values.requests import SetOutputs
from .values.settings import LineSettings, Outputs
from .wire.resets import SEQUENCES, Step, Wait, parse_sequence
from .wire.touch import TOUCH_BAUDRATE

__all__ = ["SEQUENCES", "enter_bootloader", "parse_sequence", "play", "reset", "touch"]


LAST_STEP_TIMEOUT = 1.0
# Boards restart up to a quarter of a second after a touch, and a hub may tell another quarter later. DTR has
# to stay off until then.
TOUCH_HOLD = 1.0


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


async def touch(line: Line, *, settings: LineSettings | None = None, outputs: Outputs | None = None) -> bool:
    """Restart a board into its boot loader by the 1200-baud touch, as opening and closing its port does.

    Boards whose USB is their own have it: RP2040, nRF52, SAMD, Leonardo, ESP32-S2 with Arduino's firmware.
    They leave and come back as another device, so the transport is of no use then, unless something opens it
    again (:func:`serialnet.serve` does). A board that does not know the touch sees DTR and RTS off for 1 s.

    :param settings: what the line is set to afterwards; default: as it is now
    :param outputs: what DTR and RTS are afterwards; default: as they are now
    :return: whether the board was seen to leave; a network does not show that
    :raises LineError: if the line cannot be set so
    """
    settings, outputs = settings or line.settings, outputs or line.outputs
    is_gone = False
    try:
        if line.settings.baudrate != TOUCH_BAUDRATE or line.outputs.dtr:  # else it was touched already
            await line.set_outputs(dtr=True, rts=True)  # some boards want to see DTR fall
            await line.configure(replace(settings, baudrate=TOUCH_BAUDRATE))
            await line.set_outputs(dtr=False, rts=False)
        with anyio.move_on_after(TOUCH_HOLD):
            await _loss(line)
            is_gone = True
    except anyio.BrokenResourceError:
        is_gone = True
    except BaseException:
        with anyio.move_on_after(LAST_STEP_TIMEOUT, shield=True):
            await _restore(line, settings, outputs)
        raise
    await _restore(line, settings, outputs)
    return is_gone


async def _loss(line: Line) -> None:
    """Wait until the device has gone."""
    try:
        async with line.events() as events:
            async for event in events:
                if isinstance(event, Lost):
                    return
    except LineError:  # it cannot be watched
        await anyio.sleep_forever()


async def _restore(line: Line, settings: LineSettings, outputs: Outputs) -> None:
    with suppress(LineError, anyio.BrokenResourceError):  # gone, unless somebody opens it again
        await line.configure(settings)
        await line.set_outputs(dtr=outputs.dtr, rts=outputs.rts)
