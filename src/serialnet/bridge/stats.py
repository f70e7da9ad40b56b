"""What passed through a bridge, and how it ended."""

from __future__ import annotations

import time
from copy import copy
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeAlias

from typing_extensions import override

from ..values.events import InputsChanged, LineErrors, LineEvent, Lost
from .copy.passage import Passage

__all__ = ["NO_ERRORS", "BridgeEnd", "BridgeStats", "Count", "LiveStats", "Side"]

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

    bytes_a_to_b: int = 0
    """Bytes that came from ``a``."""
    bytes_b_to_a: int = 0
    """Bytes that came from ``b``."""
    requests: int = 0
    refused: int = 0
    events: int = 0
    line_changes: int = 0
    """How often the settings, the outputs or the inputs changed."""
    line_errors: LineErrors = NO_ERRORS
    losses: int = 0
    """How often the port was lost."""
    _began: float | None = field(default=None, repr=False, compare=False)
    _ended: float | None = field(default=None, repr=False, compare=False)

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


class LiveStats(BridgeStats):
    """The figures of a bridge, which counts its bytes elsewhere; a copy is of the moment."""

    __slots__ = ("a_to_b", "b_to_a")

    def __init__(self, **values: Any) -> None:
        self.a_to_b: Count = Count()
        self.b_to_a: Count = Count()
        super().__init__(**values)

    @property
    @override
    def bytes_a_to_b(self) -> int:
        return self.a_to_b.bytes

    @bytes_a_to_b.setter
    def bytes_a_to_b(self, value: int) -> None:
        self.a_to_b.counted = value

    @property
    @override
    def bytes_b_to_a(self) -> int:
        return self.b_to_a.bytes

    @bytes_b_to_a.setter
    def bytes_b_to_a(self, value: int) -> None:
        self.b_to_a.counted = value

    @override
    def __reduce__(self) -> tuple[type[BridgeStats], tuple[object, ...]]:
        return BridgeStats, tuple(getattr(self, each.name) for each in fields(self))

    @override
    def __eq__(self, other: object) -> bool:
        return copy(self) == (copy(other) if isinstance(other, LiveStats) else other)

    @override
    def __repr__(self) -> str:
        return repr(copy(self))


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
