"""From DTR and RTS to a reset: which way the chip boots, and when.

Both kinds have the same face: ``set_outputs`` takes the lines at a time, ``held`` tells whether the chip is
kept in reset, at ``deadline`` (seconds on the caller's clock, or ``None``) it boots, and ``download`` tells
how.
"""

import math

from ..values.settings import Outputs

__all__ = ["TransistorReset", "UsbJtagReset"]

EN_PULL_UP = 10_000.0
EN_THRESHOLD = 0.75


class TransistorReset:
    """The two-transistor circuit of Espressif's development boards (see the schematics of ESP32-DevKitC).

    EN is low while RTS is asserted and DTR is not, IO0 while DTR is asserted and RTS is not; in the other two
    states both are released. EN falls at once but rises through a resistor (10 kOhm) that charges a
    capacitor. The chip starts, and samples IO0, when EN reaches 0.75 of the supply voltage.

    :param capacitor: in farads
    """

    def __init__(self, capacitor: float) -> None:
        self.rise: float = EN_PULL_UP * capacitor * -math.log(1 - EN_THRESHOLD)
        self.held: bool = False
        self.download: bool = False
        self.deadline: float | None = None

    def set_outputs(self, outputs: Outputs, now: float) -> None:
        """Apply the state of both lines in one step."""
        was_held = self.held
        self.held = outputs.rts and not outputs.dtr
        self.download = outputs.dtr and not outputs.rts
        if self.held:
            self.deadline = None
        elif was_held:
            self.deadline = now + self.rise


class UsbJtagReset:
    """The reset logic of the USB Serial/JTAG controller (ESP32-C3 Technical Reference Manual, that chapter).

    RTS and DTR both clear: the download flag is cleared; only DTR: it is set; only RTS: the chip is reset,
    into the loader if the flag is set; both: no action.
    """

    held = False

    def __init__(self) -> None:
        self.download: bool = False
        self.deadline: float | None = None
        self._lines = (False, False)

    def set_outputs(self, outputs: Outputs, now: float) -> None:
        """Apply the state of both lines in one step."""
        before, self._lines = self._lines, (outputs.rts, outputs.dtr)
        match self._lines:
            case (False, dtr):
                self.download = dtr
            case (True, False) if before != self._lines:
                self.deadline = now
