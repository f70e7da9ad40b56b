"""How far away a line is: the round trip of what its end answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import anyio

from .core.transport import Transport

__all__ = ["Distance", "measure"]

PROBES = 9
# After so many seconds, what was measured by then has to do.
ENOUGH = 3.0


@dataclass(frozen=True, slots=True)
class Distance:
    """Round trips, as they were measured.

    :param median: seconds
    :param jitter: seconds that the farthest of them was away from the median
    """

    median: float
    jitter: float

    @classmethod
    def of(cls, times: Sequence[float]) -> Distance:
        """Sum up round trips, one at least, in seconds."""
        middle = median(times)
        return cls(middle, max(abs(time - middle) for time in times))

    def __str__(self) -> str:
        return f"{self.median * 1000:.1f} ms +- {self.jitter * 1000:.1f} ms"


async def measure(transport: Transport) -> Distance | None:
    """Measure the round trip to a transport's line, by several questions that change nothing.

    Nothing should be sent meanwhile: the questions stand behind it.

    :return: the round trip; ``None`` without a line, where nobody would answer
    :raises LineTimeoutError: if an answer does not come in the line's own time
    :raises ~anyio.BrokenResourceError: if the connection is lost
    """
    if transport.line is None:
        return None
    times: list[float] = []
    begin = anyio.current_time()
    while len(times) < PROBES and anyio.current_time() - begin < ENOUGH:
        asked = anyio.current_time()
        await transport.line.drain()
        times.append(anyio.current_time() - asked)
    return Distance.of(times)
