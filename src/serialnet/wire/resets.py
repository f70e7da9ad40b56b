"""Reset sequences: as data, and as the rule that lets slow ones through.

Boards that reset themselves do so by DTR and RTS. On the circuit of most ESP32 boards, two transistors pull

- EN (reset) low while RTS is on and DTR is off,
- IO0 (boot mode) low while DTR is on and RTS is off,

and with both on or both off, neither. IO0 is looked at when EN has risen, a millisecond to some ten after it
was released. So the one step that matters, from "in reset" (DTR off, RTS on) to "IO0 low" (DTR on, RTS off),
must change both lines at once. RFC 2217 has no command for that: the lines change one after the other, with a
round trip between, by way of both on, and the chip starts its application. :class:`SlowSteps` mends it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TypeAlias

from ..values.requests import SetOutputs
from ..values.settings import Outputs

__all__ = ["SEQUENCES", "SlowSteps", "Step", "Wait", "parse_sequence"]


@dataclass(frozen=True, slots=True)
class Wait:
    """A pause within a sequence, in seconds."""

    seconds: float


Step: TypeAlias = SetOutputs | Wait

# esptool's language for custom reset sequences, which its manual documents.
_STEP = re.compile(r"(?:D(?P<dtr>[01])|R(?P<rts>[01])|U(?P<both>[01],[01])|W(?P<wait>\d+\.?\d*|\.\d+))")
LONGEST_SEQUENCE = 10.0  # seconds


def parse_sequence(text: str) -> tuple[Step, ...]:
    """Read a sequence in esptool's mini-language: ``D0|R1|W0.1|D1|R0|W0.05|D0``.

    ``D`` and ``R`` set DTR and RTS (``1`` = asserted), ``U1,0`` sets both in one step, ``W`` waits that many
    seconds. A name in :data:`SEQUENCES` stands for what is there.

    :raises ValueError: saying which step was not understood
    """
    steps: list[Step] = []
    for part in SEQUENCES.get(text, text).split("|"):
        match = _STEP.fullmatch(part.strip())
        if match is None:
            raise ValueError(
                f"{part!r} in {text!r} is no step of a reset sequence: expected D0, D1, R0, R1, U<dtr>,<rts> "
                f"or W<seconds>, joined by '|', or one of the names {', '.join(SEQUENCES)}"
            )
        if match["dtr"]:
            steps.append(SetOutputs(dtr=match["dtr"] == "1"))
        elif match["rts"]:
            steps.append(SetOutputs(rts=match["rts"] == "1"))
        elif match["both"]:
            steps.append(SetOutputs(dtr=match["both"][0] == "1", rts=match["both"][2] == "1"))
        else:
            steps.append(Wait(float(match["wait"])))
    if sum(step.seconds for step in steps if isinstance(step, Wait)) > LONGEST_SEQUENCE:
        raise ValueError(f"{text!r} takes longer than {LONGEST_SEQUENCE:g} s")
    return tuple(steps)


SEQUENCES = {
    # Both lines in one step throughout; the wait at the end lets the boot loader come up.
    "esp-bootloader": "U0,0|U1,1|U0,1|W0.1|U1,0|W0.05|U0,0|W0.05",
    "esp-reset": "U0,1|W0.1|U0,0",
    # The USB-Serial-JTAG unit of ESP32-C3 and later: DTR alone asks for the boot loader, then RTS alone
    # resets; the way there is by both on, for both off would take the question back.
    "usb-jtag-bootloader": "U0,0|W0.1|U1,0|W0.1|U1,1|U0,1|W0.1|U0,0",
    "usb-jtag-reset": "U0,1|W0.2|U0,0|W0.2",
    # Arduinos: the edge to DTR on, through a capacitor, is the reset. RTS goes along: DTR off alone would
    # hold an ESP32 in reset, and a far server would hold the edge back (SlowSteps).
    "dtr-pulse": "U0,0|W0.1|U1,1|W0.05",
}
"""Sequences by name, in the mini-language."""

USB_JTAG_ENTRY = parse_sequence("U0,0|W0.1|U1,0|W0.1|U1,1|U0,1|W0.1")


class SlowSteps:
    """Lets reset sequences work whose line changes arrive one by one.

    Each change goes through as it comes, but for two, which are held back until the other line is spoken of
    and then applied together with it, in one step:

    - DTR on, while the chip is held in reset: on its own it would release the reset with IO0 high, and the
      chip would start its application. This is the third step of the Classic sequence.
    - DTR off as the first word of a session that finds both lines on: a program that opens the port with
      both off says DTR first, and between the two the chip would be in reset. Opening a port is no reset.

    No edge is lost, and none is overtaken: a held change is applied before the next change of its own line,
    before bytes that follow it, and when :attr:`hold` seconds have passed. Sans-I/O: requests and the time
    in, what is to be applied out.

    A chip that is reset by its USB-Serial-JTAG unit does not understand the Classic sequence, and a flasher
    far away cannot know that it has one before it. There, the step that completes the Classic sequence plays
    the unit's own.

    :param outputs: what is driven when the session starts
    :param usb_jtag: whether it is such a chip (USB 303A:1001)
    :param hold: seconds; more than the slowest client's step, a round trip and pyserial's 50 or 100 ms
    """

    def __init__(self, outputs: Outputs, *, usb_jtag: bool = False, hold: float = 1.0) -> None:
        self.hold = hold
        self._usb_jtag = usb_jtag
        self.deadline: float | None = None
        """When :meth:`expire` is to be called, or ``None``."""
        self.asked: Outputs = outputs
        """The lines as the asker believes them to be."""
        self._applied = outputs
        self._spoken_of_rts = False
        self._spoken_of_dtr = False

    def request(self, request: SetOutputs, now: float) -> list[Step]:
        """Take a request in; what is returned is to be played, in that order."""
        first = not (self._spoken_of_dtr or self._spoken_of_rts)
        self._spoken_of_dtr |= request.dtr is not None
        self._spoken_of_rts |= request.rts is not None
        before = self.asked
        self.asked = replace(request, unchanged=before).asked
        todo: list[Step] = []
        if request.brk is not None:
            todo.append(SetOutputs(brk=request.brk))
        if request.dtr is None and request.rts is None:
            return todo
        if self.deadline is not None:
            if request.rts is not None:
                if self._usb_jtag and self._is_in_reset and (self.asked.dtr, self.asked.rts) == (True, False):
                    todo += USB_JTAG_ENTRY
                return [*todo, *self._apply()]
            if self.asked.dtr == before.dtr:
                return todo
            todo += self._apply(before)
        if request.rts is None and self._is_half_a_step(first):
            self.deadline = now + self.hold
            return todo
        return [*todo, *self._apply()]

    def expire(self) -> list[Step]:
        """Apply what was held back: nothing followed in time, or bytes did."""
        return self._apply()

    def applied(self, change: SetOutputs, in_force: Outputs) -> None:
        """Hear what came of a change: where the port refused, the asker has to believe otherwise."""
        if change.brk is not None:
            self.asked = replace(self.asked, brk=in_force.brk)
        elif (change.dtr, change.rts) != (in_force.dtr, in_force.rts):
            self.asked = self._applied = replace(in_force, brk=self.asked.brk)

    def _is_half_a_step(self, first: bool) -> bool:
        opening = first and self._applied.rts and self._applied.dtr
        return (self._is_in_reset and self.asked.dtr) or (opening and not self.asked.dtr)

    @property
    def _is_in_reset(self) -> bool:
        return self._applied.rts and not self._applied.dtr

    def _apply(self, outputs: Outputs | None = None) -> list[Step]:
        self.deadline = None
        self._applied = outputs or self.asked
        return [SetOutputs(dtr=self._applied.dtr, rts=self._applied.rts)]
