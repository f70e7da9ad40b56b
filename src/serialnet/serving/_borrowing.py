"""How a port goes back from who has borrowed it to who had it before."""

from __future__ import annotations

import logging
from collections.abc import Callable

import anyio

from ..core.errors import LineError
from ..core.line import Line
from ..core.transport import STREAM_ERRORS, Transport
from ..values.events import LineEvent, SettingsChanged
from ..values.settings import Outputs
from ._suspendable import SuspendableLease

__all__ = ["Borrowing"]

logger: logging.Logger = logging.getLogger("serialnet.server")

# A flasher that restarts the board at its end leaves soon after that.
RESTART_IS_LAST = 3.0
# As in the reset sequences of flashers: the chip is held in reset, then looks at its strapping pins.
IN_RESET = 0.1
STRAPPING = 0.05
GIVE_BACK_WITHIN = 10.0
RELEASE_WITHIN = 1.0

RESTS = Outputs(dtr=False, rts=False)
RESETS = Outputs(dtr=False, rts=True)


class Borrowing:
    """Looks what a borrower does to the lines, and gives the port back.

    A flasher restarts the board at its end, at its own baud rate, so that everybody else misses the
    beginning of the boot log. If it does, the board is restarted once more when the settings are restored.

    :param lease: the borrower's
    :param losses: how often the port was lost
    :param restarts: whether to restart the board
    """

    def __init__(self, lease: SuspendableLease, losses: Callable[[], int], *, restarts: bool) -> None:
        self._losses = losses
        self._restarts = restarts
        self._outputs = lease.line.outputs if lease.line is not None else Outputs()
        self._in_pulse = False
        self._restarted: tuple[float, int] | None = None
        self._announce = lease.on_change
        lease.on_change = self._hear

    def _hear(self, event: LineEvent) -> None:
        """Look for a pulse on RTS alone."""
        self._announce(event)
        if not isinstance(event, SettingsChanged) or event.outputs == self._outputs:
            return
        before, self._outputs = self._outputs, event.outputs
        if self._in_pulse and self._outputs == RESTS:
            self._restarted = anyio.current_time(), self._losses()
        else:
            self._restarted = None
        self._in_pulse = before == RESTS and self._outputs == RESETS

    @property
    def _ended_with_restart(self) -> bool:
        """Whether a restart was the last that it did to the board, and the board did not go away by that."""
        if self._restarted is None:
            return False
        when, losses = self._restarted
        return anyio.current_time() - when < RESTART_IS_LAST and losses == self._losses()

    async def give_back(self, port: Transport, lease: SuspendableLease) -> None:
        """Restore the settings and lines of a suspended lease of the port."""
        if port.line is None:
            return
        try:
            with anyio.fail_after(GIVE_BACK_WITHIN):
                if self._restarts and self._ended_with_restart:
                    await _restart(port, port.line, lease)
                else:
                    await lease.restore_settings()
                await lease.restore_outputs()
        except (LineError, TimeoutError, *STREAM_ERRORS) as error:
            logger.warning("the port could not be restored: %s", error)


async def _restart(port: Transport, line: Line, lease: SuspendableLease) -> None:
    """Restore the settings while the chip is in reset."""
    await line.set_outputs(dtr=False, rts=True)
    try:
        with anyio.move_on_after(IN_RESET):
            buffer = bytearray(65536)
            while True:  # what came at the borrower's settings is not for who had it before
                await port.receive_into(buffer)
        await lease.restore_settings()
    finally:
        with anyio.move_on_after(RELEASE_WITHIN, shield=True):
            await line.set_outputs(dtr=False, rts=False)
    await anyio.sleep(STRAPPING)
