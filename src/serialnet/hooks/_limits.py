"""Sessions that end by themselves: when nothing passes, or after a time."""

from __future__ import annotations

import anyio

from ..bridge import Bridge, Forward, Hook

__all__ = ["IdleTimeout", "SessionLimit"]

# Nothing tells when a byte passes: the counters are looked at so often within the time.
LOOKS = 4


class IdleTimeout(Hook):
    """Ends a session in which neither a byte nor a request has passed for some time.

    The session ends a quarter of the time late at most: the counters are looked at, and the bytes left to the
    fast path. It keeps state: give a bridge a function that makes one, ``lambda: IdleTimeout(600)``.

    :param seconds: the time
    :raises ValueError: unless it is above 0
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = _checked(seconds)
        self._bridge: Bridge | None = None
        self._seen = 0
        self._since = 0.0

    async def opened(self, bridge: Bridge) -> None:
        """Begin to count."""
        self._bridge, self._since = bridge, anyio.current_time()
        self._wait()

    async def timeout(self, forward: Forward) -> None:
        """See whether anything has passed."""
        assert self._bridge is not None
        stats, now = self._bridge.stats, anyio.current_time()
        seen = stats.bytes_a_to_b + stats.bytes_b_to_a + stats.requests
        if seen != self._seen:
            self._seen, self._since = seen, now
        if now - self._since >= self._seconds:
            self._bridge.stop(f"nothing has passed for {self._seconds:g} s")
        else:
            self._wait()

    def _wait(self) -> None:
        next_look = anyio.current_time() + self._seconds / LOOKS
        self.deadline: float | None = min(self._since + self._seconds, next_look)


class SessionLimit(Hook):
    """Ends a session after some time, whatever passes.

    It keeps state: give a bridge a function that makes one, ``lambda: SessionLimit(3600)``.

    :param seconds: the time
    :raises ValueError: unless it is above 0
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = _checked(seconds)
        self._bridge: Bridge | None = None

    async def opened(self, bridge: Bridge) -> None:
        """Set the time."""
        self._bridge = bridge
        self.deadline: float | None = anyio.current_time() + self._seconds

    async def timeout(self, forward: Forward) -> None:
        """End the session."""
        assert self._bridge is not None
        self._bridge.stop(f"it has lasted {self._seconds:g} s, as long as it may")


def _checked(seconds: float) -> float:
    if not seconds > 0:
        raise ValueError(f"expected more than 0 seconds, not {seconds:g}")
    return seconds
