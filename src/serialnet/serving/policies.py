"""What is to happen when things go wrong: frozen values, not hooks."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ..values.reconnect import SHORT, Reconnect

__all__ = ["HOLD", "RECONNECT", "SHORT", "Early", "Gap", "GapPolicy", "Reconnect"]


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


class Early(Enum):
    """What becomes of what a client sends while it waits for another to be joined with."""

    LAST_LINE = "last-line"
    """The last line is kept, such as a prompt: a flasher does not start in an old boot log."""

    KEEP = "keep"
    """The first 64 KiB are kept, and the rest waits with the client."""

    DROP = "drop"
    """It is thrown away."""


HOLD = Gap()
RECONNECT = Reconnect()
