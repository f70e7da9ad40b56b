"""What an examination finds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ..distance import Distance

__all__ = ["Finding", "Verdict"]


class Verdict(Enum):
    """What a finding means."""

    OK = "ok"
    NOTE = "note"
    """Good to know; nothing needs doing."""
    PROBLEM = "problem"
    """Something needs doing."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    :param check: what was looked at: ``reachable``, ``protocol``, ``opening``, ``lines``, ``distance``,
        ``esptool``; of a device of this machine also ``device``, ``permission``, ``holders``,
        ``modemmanager``, ``brltty``, ``links``
    :param text: what was found
    :param advice: what to do about it, if anything
    :param distance: the round trip, if that was measured
    """

    check: str
    verdict: Verdict
    text: str
    advice: str = ""
    distance: Distance | None = None
