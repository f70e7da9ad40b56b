"""Line events for lines that do not report of themselves: look at them from time to time."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

import anyio
import anyio.lowlevel
from typing_extensions import override

from ..values.events import InputsChanged, LineErrors, LineEvent, Lost
from ..values.settings import Inputs

__all__ = ["Look", "poll_line"]

#: Seconds between two looks.
INTERVAL = 0.02

Look: TypeAlias = Callable[[], Awaitable[tuple[Inputs, LineErrors]]]
"""Reads the modem status lines and the errors counted so far.

Raises ``BrokenResourceError`` when the device has gone.
"""


@asynccontextmanager
async def poll_line(look: Look, interval: float = INTERVAL) -> AsyncIterator[AsyncIterator[LineEvent]]:
    """Watch a line, but only while somebody waits for its events; no task runs meanwhile.

    What changed and changed back between two looks is not seen.
    """
    watch = _Watch(look, interval)
    try:
        yield watch
    finally:
        watch.over = True


class _Watch(AsyncIterator[LineEvent]):
    """Not a generator: a cancelled wait for the next event must not end the watch."""

    def __init__(self, look: Look, interval: float) -> None:
        self._look = look
        self._interval = interval
        self._seen: tuple[Inputs, LineErrors] | None = None
        self._next_look = anyio.current_time()
        self._events: deque[LineEvent] = deque()
        self.over = False

    @override
    async def __anext__(self) -> LineEvent:
        await anyio.lowlevel.checkpoint()
        while not self._events:
            if self.over:
                raise StopAsyncIteration
            await anyio.sleep_until(self._next_look)
            self._next_look = anyio.current_time() + self._interval
            try:
                self._compare(*await self._look())
            except anyio.BrokenResourceError as error:
                self._events.append(Lost(str(error)))
                self.over = True
        return self._events.popleft()

    def _compare(self, inputs: Inputs, errors: LineErrors) -> None:
        before, self._seen = self._seen, (inputs, errors)
        if before is None:
            self._events.append(InputsChanged(inputs, inputs))
            return
        if inputs != before[0]:
            self._events.append(InputsChanged(before[0], inputs))
        new = LineErrors(
            errors.overrun - before[1].overrun,
            errors.parity - before[1].parity,
            errors.framing - before[1].framing,
            errors.breaks - before[1].breaks,
        )
        if new != LineErrors():
            self._events.append(new)
