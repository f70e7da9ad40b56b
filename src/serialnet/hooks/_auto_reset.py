"""Reset sequences that arrive in slow steps."""

from __future__ import annotations

from collections.abc import Sequence

import anyio

from .. import resets
from ..bridge import Bridge, BridgeEnd, Forward, Hook
from ..core.transport import TransportAttribute
from ..values.requests import InForce, LineRequest, SetOutputs
from ..values.settings import Outputs
from ..wire.resets import SlowSteps, Step, Wait

__all__ = ["AutoReset"]

# Vendor and product of the unit in ESP32-C3 and later, in the boot loader and the application alike.
USB_SERIAL_JTAG = (0x303A, 0x1001)


class AutoReset(Hook):
    """Lets reset sequences work that arrive in slow steps: stock esptool's over RFC 2217, for one.

    :class:`serialnet.wire.resets.SlowSteps` says what is held back, and why. It keeps state: give a bridge
    the class itself, or a function that makes one.

    :param hold: how long half a step is held back, in seconds
    """

    def __init__(self, hold: float = 1.0) -> None:
        self._hold = hold
        self._usb_jtag = False
        self._steps: SlowSteps | None = None
        self._forward: Forward | None = None

    async def opened(self, bridge: Bridge) -> None:
        """Look what kind of chip it is."""
        self._usb_jtag = bridge.port.extra(TransportAttribute.usb, None) == USB_SERIAL_JTAG

    async def request(self, request: LineRequest, forward: Forward) -> InForce:
        """Apply a change of the lines, or hold it back; the asker is told that it was done."""
        if not isinstance(request, SetOutputs):
            return await forward(request)
        if self._steps is None:
            self._steps = SlowSteps(request.unchanged, usb_jtag=self._usb_jtag, hold=self._hold)
        self._forward = forward
        await self._play(self._steps, self._steps.request(request, anyio.current_time()), forward)
        return self._steps.asked

    async def timeout(self, forward: Forward) -> None:
        """Apply what was held back: nothing followed it."""
        await self._let_go()

    async def before_data(self, forward: Forward) -> None:
        """Apply what was held back: bytes followed it, and must not overtake it."""
        await self._let_go()

    async def closed(self, end: BridgeEnd) -> None:
        """Apply what the client asked for before it left."""
        await self._let_go()

    async def _let_go(self) -> None:
        if self._steps is not None and self._forward is not None and self._steps.deadline is not None:
            await self._play(self._steps, self._steps.expire(), self._forward)

    async def _play(self, steps: SlowSteps, sequence: Sequence[Step], forward: Forward) -> None:
        self.deadline: float | None = steps.deadline
        self.awaits_data: bool = self.deadline is not None
        try:
            for step in sequence:
                if isinstance(step, Wait):
                    await anyio.sleep(step.seconds)
                elif isinstance(in_force := await forward(step), Outputs):
                    steps.applied(step, in_force)
        except anyio.get_cancelled_exc_class():
            # No half of a sequence stays on the lines.
            if sequence and self.deadline is None:
                with anyio.move_on_after(resets.LAST_STEP_TIMEOUT, shield=True):
                    await forward(SetOutputs(dtr=steps.asked.dtr, rts=steps.asked.rts))
            raise
