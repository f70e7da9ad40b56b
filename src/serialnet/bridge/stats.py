"""What passed through a bridge, and how it ended."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, fields
from typing import Literal, TypeAlias

from ..values.events import InputsChanged, LineErrors, LineEvent, Lost
from .copy.passage import Passage

__all__ = ["NO_ERRORS", "BridgeEnd", "BridgeStats", "Count", "Side"]

NO_ERRORS = LineErrors()

Side: TypeAlias = Literal["a", "b", "hook"]


@dataclass(slots=True)
class Count:
    """Counts the bytes that come from an end.

    :param counted: those of passages that are over, or that came without one
    :param passage: counts for itself while it is there
    """

    counted: int = 0
    passage: Passage | None = None

    @property
    def bytes(self) -> int:
        """All of them so far."""
        return self.counted + (0 if self.passage is None else self.passage.received)


@dataclass(slots=True)
class BridgeStats:
    """What passed through a bridge so far.

    The inputs, the errors and the losses of the port are known while the line is watched: if an end asks for
    line changes, or a hook hears events (:class:`serialnet.hooks.Statistics` does).
    """

    requests: int = 0
    refused: int = 0
    events: int = 0
    line_changes: int = 0
    """How often the settings, the outputs or the inputs changed."""
    line_errors: LineErrors = NO_ERRORS
    losses: int = 0
    """How often the port was lost."""
    _a_to_b: Count = field(default_factory=Count, repr=False)
    _b_to_a: Count = field(default_factory=Count, repr=False)
    _began: float | None = field(default=None, repr=False, compare=False)
    _ended: float | None = field(default=None, repr=False, compare=False)

    def __repr__(self) -> str:
        names = ("bytes_a_to_b", "bytes_b_to_a", *(each.name for each in fields(self) if each.repr))
        return f"BridgeStats({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"

    @property
    def bytes_a_to_b(self) -> int:
        """Bytes that came from ``a``."""
        return self._a_to_b.bytes

    @property
    def bytes_b_to_a(self) -> int:
        """Bytes that came from ``b``."""
        return self._b_to_a.bytes

    @property
    def duration(self) -> float:
        """Seconds that the session has taken so far."""
        if self._began is None:
            return 0.0
        return (time.monotonic() if self._ended is None else self._ended) - self._began

    @property
    def rate_a_to_b(self) -> float:
        """Bytes per second, over all the session."""
        return self.bytes_a_to_b / (self.duration or 1.0)

    @property
    def rate_b_to_a(self) -> float:
        """Bytes per second, over all the session."""
        return self.bytes_b_to_a / (self.duration or 1.0)

    def _count(self, event: LineEvent) -> None:
        self.events += 1
        match event:
            case InputsChanged(before, after):
                self.line_changes += before != after
            case LineErrors():
                self.line_errors += event
            case Lost():
                self.losses += 1


@dataclass(frozen=True, slots=True)
class BridgeEnd:
    """How a session ended.

    :param by: the end that ended it, or ``"hook"``
    :param reason: in words
    :param error: what was raised, if it did not end of its own accord
    """

    by: Side
    reason: str
    error: Exception | None = None
    stats: BridgeStats = field(default_factory=BridgeStats)

    def __str__(self) -> str:
        return self.reason
