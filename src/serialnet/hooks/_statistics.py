"""What passed through a session, in the log."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import asdict

import anyio

from ..bridge import Bridge, BridgeEnd, BridgeStats, Direction, Forward, Hook
from ..core.transport import TransportAttribute
from ..values.events import LineErrors, LineEvent

__all__ = ["Statistics"]

logger: logging.Logger = logging.getLogger("serialnet.hooks")


class Statistics(Hook):
    """Logs what passed through a session, at its end and, if asked, every so often.

    It also has the line watched, so that the errors, the inputs and the losses of the port count in sessions
    whose client does not ask for that. The bytes stay on the fast path. The numbers are those of the bridge,
    at its end in :attr:`serialnet.BridgeEnd.stats`.

    It keeps state: give a bridge the class itself, or a function that makes one.

    :param every: seconds between two reports
    :raises ValueError: unless they are above 0
    """

    def __init__(self, every: float | None = None) -> None:
        if every is not None and not every > 0:
            raise ValueError(f"expected more than 0 seconds, not {every:g}")
        self._every = every
        self._bridge: Bridge | None = None

    @property
    def stats(self) -> BridgeStats | None:
        """The numbers, once there is a session."""
        return None if self._bridge is None else self._bridge.stats

    async def opened(self, bridge: Bridge) -> None:
        """Begin."""
        self._bridge = bridge
        self._wait()

    async def event(self, event: LineEvent) -> None:
        """Have the line watched: the bridge counts."""

    async def timeout(self, forward: Forward) -> None:
        """Report."""
        self._report()
        self._wait()

    async def closed(self, end: BridgeEnd) -> None:
        """Report."""
        self._report()

    def _wait(self) -> None:
        if self._every is not None:
            self.deadline: float | None = anyio.current_time() + self._every

    def _report(self) -> None:
        if self._bridge is not None:
            user = self._bridge.user
            name = user.extra(TransportAttribute.peer, None) or user.extra(TransportAttribute.url, "a client")
            logger.info("%s: %s", name, "; ".join(_told(self._bridge.stats, self._bridge.to_port)))


def _told(stats: BridgeStats, to_port: Direction) -> Iterator[str]:
    there, back = (stats.bytes_a_to_b, stats.rate_a_to_b), (stats.bytes_b_to_a, stats.rate_b_to_a)
    if to_port is Direction.B_TO_A:
        there, back = back, there
    yield f"{stats.duration:.1f} s"
    for (number, rate), where in ((there, "to the port"), (back, "from it")):
        yield f"{number} bytes {where} ({rate:.0f}/s)"
    yield f"{stats.line_changes} line changes"
    if stats.line_errors != LineErrors():
        yield f"errors: {', '.join(f'{n} {name}' for name, n in asdict(stats.line_errors).items() if n)}"
    if stats.losses:
        yield f"the port was lost {stats.losses} times"
