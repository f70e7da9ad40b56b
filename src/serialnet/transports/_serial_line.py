"""The line of a POSIX serial port: its settings, modem lines, BREAK and queues."""

from __future__ import annotations

import logging
import termios
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from functools import partial
from typing import TypeVar

import anyio
from anyio.to_thread import run_sync
from typing_extensions import override

from ..core.errors import LineError, LineTimeoutError, LineUnsupportedError
from ..core.line import Line
from ..values.events import LineErrors, LineEvent
from ..values.settings import Inputs, LineSettings, Outputs, Purge
from ._failures import GONE, UNSUPPORTED, gone
from ._polling import Watches
from ._termios import Tty, inputs_of

__all__ = ["SerialLine"]

logger = logging.getLogger("serialnet.serial")

T = TypeVar("T")

#: Seconds without progress after which a drain fails.
PATIENCE = 1.0
#: Seconds between two looks at the unsent bytes.
SHORTEST_NAP = 0.001
LONGEST_NAP = 0.05


class SerialLine(Line):
    """The line of an open tty.

    What may wait for a USB transfer (most drivers' modem lines, BREAK and settings: about 1 ms each, 5 s on
    a device that hangs) is done in a worker thread, one call at a time and in the order of the callers.
    What only reads the driver's memory is done at once.
    """

    def __init__(self, tty: Tty, settings: LineSettings, outputs: Outputs) -> None:
        self._tty = tty
        self._settings = settings
        self._outputs = outputs
        self._watches = Watches(self._look)
        self._closed = False
        self._warned = False
        self._order = anyio.CapacityLimiter(1)  # first come, first served
        # The limiter is left early by a task that asyncio cancels from outside anyio; its thread goes on.
        self._busy = threading.Lock()
        self._configuring = anyio.Lock()

    @property
    @override
    def settings(self) -> LineSettings:
        return self._settings

    @property
    @override
    def outputs(self) -> Outputs:
        return self._outputs

    @override
    async def configure(self, settings: LineSettings) -> LineSettings:
        async with self._configuring:
            self._check_open()
            if settings != self._settings:
                await self._drain(self._unless_closed)
                await self._call(partial(self._configure, settings))
            return self._settings

    @override
    async def set_outputs(
        self, *, dtr: bool | None = None, rts: bool | None = None, brk: bool | None = None
    ) -> Outputs:
        """Drive DTR, RTS and BREAK; DTR and RTS in one TIOCMSET.

        A tty without modem control (a PTY) accepts DTR and RTS without any effect.
        """
        return await self._call(partial(self._set_outputs, dtr, rts, brk))

    @override
    async def get_inputs(self) -> Inputs:
        return self._watches.saw(inputs_of(await self._call(self._tty.modem_bits)))

    @override
    async def purge(self, what: Purge) -> None:
        if what:
            await self._call(partial(self._tty.flush, what))

    @override
    async def drain(self) -> None:
        self._check_open()
        await self._drain(self._unless_closed)

    @override
    def events(self) -> AbstractAsyncContextManager[AsyncIterator[LineEvent]]:
        """Watch the line, polled every 20 ms while somebody waits for an event."""
        return self._watches.watch()

    async def aclose(self) -> None:
        """Release BREAK, let unsent bytes leave while they do, discard what is stuck, and close.

        When cancelled, it discards them at once.
        """
        self._closed = True
        try:
            if self._outputs.brk:  # nothing else is sent before that
                with anyio.CancelScope(shield=True):
                    await self._in_thread(partial(self._mapped, partial(self._tty.set_break, False)))
            await self._drain(self._mapped)
        except (LineError, anyio.BrokenResourceError) as error:
            logger.debug("closing with bytes unsent: %s", error)
        finally:
            with anyio.CancelScope(shield=True):
                await self._in_thread(self._close)

    async def _drain(self, guard: Callable[[Callable[[], int]], int]) -> None:
        """Poll: tcdrain(3) and TCSADRAIN can wait for ever, in a thread that nothing can stop."""
        lowest: int | None = None
        deadline = 0.0
        while (unsent := guard(self._tty.unsent)) or not await self._in_thread(
            partial(guard, self._tty.transmitter_is_empty)
        ):
            now = anyio.current_time()
            if lowest is None or unsent < lowest:
                lowest, deadline = unsent, now + PATIENCE
            elif now >= deadline:
                raise LineTimeoutError(f"the port has sent nothing for {PATIENCE:g} s ({unsent} bytes wait)")
            expected = unsent * self._settings.bits_per_character / self._settings.baudrate
            await anyio.sleep(min(max(expected, SHORTEST_NAP), LONGEST_NAP))

    async def _look(self) -> tuple[Inputs, LineErrors]:
        bits = await self._call(self._tty.modem_bits)
        return inputs_of(bits), self._unless_closed(self._tty.counters) or LineErrors()

    # In the worker thread. What changed is noted here, where nothing can come between, not by the task.

    def _configure(self, settings: LineSettings) -> None:
        self._settings = self._tty.configure(settings)

    def _set_outputs(self, dtr: bool | None, rts: bool | None, brk: bool | None) -> Outputs:
        if brk is not None and brk != self._outputs.brk:  # first, because it is what may be refused
            try:
                self._tty.set_break(brk)
            except OSError as error:
                if error.errno in UNSUPPORTED:
                    raise LineUnsupportedError("this device cannot send a BREAK") from error
                raise
            self._outputs = replace(self._outputs, brk=brk)
        if dtr is not None or rts is not None:
            self._set_modem_lines(dtr, rts)
        return self._outputs

    def _set_modem_lines(self, dtr: bool | None, rts: bool | None) -> None:
        bits = self._tty.modem_bits()
        if bits is not None:
            for asked, bit in ((dtr, termios.TIOCM_DTR), (rts, termios.TIOCM_RTS)):
                if asked is not None:
                    bits = bits | bit if asked else bits & ~bit
            self._tty.set_modem_bits(bits)
            dtr, rts = bool(bits & termios.TIOCM_DTR), bool(bits & termios.TIOCM_RTS)
        elif not self._warned:
            self._warned = True
            logger.warning("this tty has no modem lines: DTR and RTS have no effect")
        old = self._outputs
        self._outputs = Outputs(old.dtr if dtr is None else dtr, old.rts if rts is None else rts, old.brk)

    def _close(self) -> None:
        try:
            if self._tty.unsent():
                self._tty.flush(Purge.UNSENT)  # or close(2) would wait for them, 30 s and more
        except OSError:
            pass  # the device has gone: there is nothing to tidy
        finally:
            self._tty.close()

    # How the worker thread is reached.

    async def _call(self, function: Callable[[], T]) -> T:
        self._check_open()
        return await self._in_thread(partial(self._unless_closed, function))

    async def _in_thread(self, function: Callable[[], T]) -> T:
        def alone() -> T:
            with self._busy:
                return function()

        return await run_sync(alone, limiter=self._order)

    def _unless_closed(self, function: Callable[[], T]) -> T:
        self._check_open()  # it may have come while this call waited for its turn
        return self._mapped(function)

    @staticmethod
    def _mapped(function: Callable[[], T]) -> T:
        try:
            return function()
        except OSError as error:
            if error.errno in GONE:
                raise gone(error) from error
            raise LineError(f"the port refused: {error.strerror}") from error

    def _check_open(self) -> None:
        if self._closed:
            raise anyio.ClosedResourceError
