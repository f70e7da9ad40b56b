"""How often what was lost is tried again."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["SHORT", "Reconnect"]

# What is lost within so many seconds is not tried again at once.
SHORT = 5.0


@dataclass(frozen=True, slots=True)
class Reconnect:
    """How often what was lost is tried again: at growing intervals, and never in step with others.

    The first attempt comes at once, unless it was lost within 5 s.

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
