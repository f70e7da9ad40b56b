"""Ready-made hooks, to be given to a bridge or a server.

>>> import serialnet
>>> from serialnet.hooks import OnConnect
>>> serving = serialnet.serve("/dev/ttyUSB0", "tcp://127.0.0.1:4001", hooks=[OnConnect("dtr-pulse")])
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import anyio

from . import resets
from .bridge import Bridge, BridgeEnd, Direction, Forward, Hook
from .core.errors import LineError
from .core.line import Line
from .core.transport import TransportAttribute
from .values.requests import InForce, LineRequest, PurgeRequest, SetOutputs
from .values.settings import Outputs, Purge
from .wire.patience import Patience
from .wire.resets import SlowSteps, Step, Wait

__all__ = ["AutoReset", "FlashAssist", "OnConnect", "OnDisconnect", "OnFirstData"]

logger: logging.Logger = logging.getLogger("serialnet.hooks")

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


class FlashAssist(Hook):
    """Lets esptool, and tools of its kind, flash over any distance; it stands at the end near the tool.

    :class:`serialnet.wire.patience.Patience` says how. Give a bridge the class itself.
    """

    def __init__(self) -> None:
        self._patience = Patience()
        self._sent = False  # anything that a purge could still find unsent
        self._bridge: Bridge | None = None

    async def opened(self, bridge: Bridge) -> None:
        """Learn which end is the chip's."""
        self._bridge = bridge

    async def request(self, request: LineRequest, forward: Forward) -> InForce:
        """See how long the far end takes, and forget all when DTR or RTS may reset the chip."""
        if isinstance(request, PurgeRequest) and Purge.UNSENT in request.what:
            if request.what is Purge.UNSENT and not self._sent:
                # On a PTY, what a tool sends is thrown away by its next purge while this one is on its way.
                return request.what
            self._sent = False
        begin = anyio.current_time()
        in_force = await forward(request)
        # Other requests may be answered on the way, and purges come before each SYNC.
        if isinstance(request, PurgeRequest) and self._bridge is not None and self._bridge.line is not None:
            self._patience.measured(anyio.current_time() - begin)
        if isinstance(request, SetOutputs):
            self._patience.forget()
        self.deadline = self._patience.deadline
        return in_force

    def data(self, direction: Direction, view: memoryview) -> None:
        """Look at the bytes."""
        if self._bridge is None:
            return
        if direction is self._bridge.to_port:
            self._sent = True
            self._patience.sent(view, anyio.current_time())
        else:
            self._patience.received(view)
        self.deadline = self._patience.deadline

    async def timeout(self, forward: Forward) -> None:
        """Keep the tool waiting."""
        if self._bridge is not None and (data := self._patience.expire(anyio.current_time())):
            self._bridge.inject(data)
        self.deadline = self._patience.deadline


class _Play(Hook):
    def __init__(self, sequence: str) -> None:
        resets.parse_sequence(sequence)
        self.sequence = sequence
        self._line: Line | None = None

    async def opened(self, bridge: Bridge) -> None:
        """Remember the line."""
        self._line = bridge.line

    async def _play(self) -> None:
        if self._line is None:
            logger.warning("cannot play %s: the port has no lines", self.sequence)
            return
        try:
            await resets.play(self._line, self.sequence)
        except (LineError, anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            logger.warning("cannot play %s: %s", self.sequence, error)


class OnConnect(_Play):
    """Plays a reset sequence on the port when a client comes, before its first byte passes.

    :param sequence: a name in :data:`serialnet.resets.SEQUENCES` (``dtr-pulse``, ``esp-bootloader``,
        ``esp-reset`` ...) or a sequence in esptool's mini-language
    :raises ValueError: if it is neither
    """

    async def opened(self, bridge: Bridge) -> None:
        """Play the sequence."""
        await super().opened(bridge)
        await self._play()


class OnFirstData(_Play):
    """Plays a reset sequence on the port when a client's first bytes come, before they pass.

    :param sequence: a name in :data:`serialnet.resets.SEQUENCES` (``dtr-pulse``, ``esp-bootloader``,
        ``esp-reset`` ...) or a sequence in esptool's mini-language
    :raises ValueError: if it is neither
    """

    async def opened(self, bridge: Bridge) -> None:
        """Wait for the first bytes."""
        await super().opened(bridge)
        self.awaits_data: bool = True

    async def before_data(self, forward: Forward) -> None:
        """Play the sequence."""
        await self._play()


class OnDisconnect(_Play):
    """Plays a reset sequence on the port when the client has gone.

    :param sequence: a name in :data:`serialnet.resets.SEQUENCES` (``dtr-pulse``, ``esp-bootloader``,
        ``esp-reset`` ...) or a sequence in esptool's mini-language
    :raises ValueError: if it is neither
    """

    async def closed(self, end: BridgeEnd) -> None:
        """Play the sequence."""
        await self._play()
