"""What is to happen when things go wrong: frozen values, not hooks."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

__all__ = ["HOLD", "RECONNECT", "Gap", "GapPolicy", "Reconnect"]


class GapPolicy(Enum):
    """What a session does while its device is gone."""

    HOLD = "hold"
    """It waits: the other end stays connected, and what that sends is kept back."""

    DISCARD = "discard"
    """It goes on: what the other end sends is thrown away."""

    SIGNAL = "signal"
    """It ends: the other end is told, as by a cable that was pulled."""


@dataclass(frozen=True, slots=True)
class Gap:
    """What becomes of a session while its device is gone: unplugged, or restarting under another name.

    :param policy: see :class:`GapPolicy`
    :param timeout: seconds until a session that holds or discards ends all the same
    :raises ValueError: if ``timeout`` is negative
    """

    policy: GapPolicy = GapPolicy.HOLD
    timeout: float = 60.0

    def __post_init__(self) -> None:
        if self.timeout < 0:
            raise ValueError(f"timeout must be 0 or more, not {self.timeout}")

    @property
    def patience(self) -> float:
        """Seconds for which a session outlives its device."""
        return 0.0 if self.policy is GapPolicy.SIGNAL else self.timeout


@dataclass(frozen=True, slots=True)
class Reconnect:
    """How often what was lost is tried again: at growing intervals, and never in step with others.

    :param first: seconds until the first attempt after one that failed
    :param most: the longest interval, in seconds
    :raises ValueError: unless ``0 < first <= most``
    """

    first: float = 0.25
    most: float = 10.0

    def __post_init__(self) -> None:
        if not 0 < self.first <= self.most:
            raise ValueError(f"expected 0 < first <= most, not {self.first} and {self.most}")

    def delays(self) -> Iterator[float]:
        """The intervals: each about twice the one before, up to a quarter shorter by chance."""
        delay = self.first
        while True:
            yield delay * random.uniform(0.75, 1.0)
            delay = min(2 * delay, self.most)


HOLD = Gap()
RECONNECT = Reconnect()
