"""The 1200-baud touch: how it is told from work at 1200 baud.

Boards whose USB is their own (RP2040, nRF52, SAMD, Leonardo, ESP32-S2 with Arduino's firmware) restart into
their boot loader when the host sets 1200 baud and drops DTR. A local port does both when a program opens it
at 1200 baud and closes it again.
"""

from __future__ import annotations

from ..values.settings import LineSettings, Outputs

__all__ = ["TOUCH_BAUDRATE", "TouchWatch"]

TOUCH_BAUDRATE = 1200
#: Seconds that a touch may take: a round trip for each step, of a client far away.
WITHIN = 5.0


class TouchWatch:
    """Remembers what was in force before a port was set to 1200 baud. Sans-I/O."""

    def __init__(self) -> None:
        self._before: tuple[LineSettings, Outputs] | None = None
        self._since = 0.0

    def configure(self, wanted: LineSettings, settings: LineSettings, outputs: Outputs, now: float) -> bool:
        """Hear what is asked for, and what is in force before.

        :return: whether it may be the beginning of a touch
        """
        if wanted.baudrate != TOUCH_BAUDRATE:
            self._before = None
            return False
        if settings.baudrate == TOUCH_BAUDRATE:  # it is said again
            return False
        self._before, self._since = (settings, outputs), now
        return True

    def before(self, at: float) -> tuple[LineSettings, Outputs] | None:
        """What was in force before, if what happened at that time makes it a touch."""
        return self._before if self._since <= at <= self._since + WITHIN else None
