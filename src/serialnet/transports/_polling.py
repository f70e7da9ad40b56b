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

__all__ = ["Look", "Watches"]

#: Seconds between two looks.
INTERVAL = 0.02
#: Events that a slow watcher may leave waiting before they are merged.
MOST_EVENTS = 64

Look: TypeAlias = Callable[[], Awaitable[tuple[Inputs, LineErrors]]]
"""Reads the modem status lines and the errors counted so far.

Raises ``BrokenResourceError`` when the device has gone.
"""


class Watches:
    """All watches of one line. No task runs for them: it is looked at while somebody waits for an event.

    What changes and changes back between two looks is not seen.
    """

    def __init__(self, look: Look, interval: float = INTERVAL) -> None:
        self._look = look
        self._interval = interval
        self._watches: list[_Watch] = []

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[AsyncIterator[LineEvent]]:
        """Watch the line as long as the block lasts."""
        watch = _Watch(self._look, self._interval)
        self._watches.append(watch)
        try:
            yield watch
        finally:
            watch.over = True
            self._watches.remove(watch)

    def saw(self, inputs: Inputs) -> Inputs:
        """Tell what somebody read beside the watches.

        Else, of a change that is read so and gone before the next look, one would know and the other not.
        """
        for watch in self._watches:
            watch.saw(inputs)
        return inputs


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

    def saw(self, inputs: Inputs) -> None:
        """Take note of what was read in between."""
        if self._seen is not None:
            self._compare(inputs, self._seen[1])

    def _compare(self, inputs: Inputs, errors: LineErrors) -> None:
        before, self._seen = self._seen, (inputs, errors)
        if before is None:
            self._events.append(InputsChanged(inputs, inputs))
            return
        if inputs != before[0]:
            last = self._events[-1] if len(self._events) >= MOST_EVENTS else None
            if isinstance(last, InputsChanged):
                self._events[-1] = InputsChanged(last.before, inputs)
            else:
                self._events.append(InputsChanged(before[0], inputs))
        new = errors - before[1]
        if new != LineErrors():
            self._events.append(new)
