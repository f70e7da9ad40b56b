"""What a benchmark is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Benchmark:
    """Two functions that return a speed, in the same unit: more is better.

    :param floor: the least ratio of ours to theirs that the guard accepts
    :param missing: says why it cannot run here, if it cannot
    """

    name: str
    peer: str
    ours: Callable[[], float]
    theirs: Callable[[], float]
    floor: float
    missing: Callable[[], str | None] = lambda: None
