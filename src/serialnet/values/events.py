"""What a line tells of its own accord."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from .settings import Inputs, LineSettings, Outputs

__all__ = ["InputsChanged", "LineErrors", "LineEvent", "Lost", "Restored", "SettingsChanged"]


@dataclass(frozen=True, slots=True)
class InputsChanged:
    """A modem status line changed.

    ``before`` equals ``after`` in the report that opens a watch: it tells the state, not a change.
    """

    before: Inputs
    after: Inputs


@dataclass(frozen=True, slots=True)
class LineErrors:
    """How many errors and breaks the receiver counted since the report before."""

    overrun: int = 0
    parity: int = 0
    framing: int = 0
    breaks: int = 0

    def __add__(self, other: LineErrors) -> LineErrors:
        return LineErrors(
            self.overrun + other.overrun,
            self.parity + other.parity,
            self.framing + other.framing,
            self.breaks + other.breaks,
        )

    def __sub__(self, other: LineErrors) -> LineErrors:
        return LineErrors(
            self.overrun - other.overrun,
            self.parity - other.parity,
            self.framing - other.framing,
            self.breaks - other.breaks,
        )


@dataclass(frozen=True, slots=True)
class SettingsChanged:
    """What somebody else put in force; at the start of a session, what it finds in force."""

    settings: LineSettings
    outputs: Outputs


@dataclass(frozen=True, slots=True)
class Lost:
    """The device behind the line has gone."""

    reason: str


@dataclass(frozen=True, slots=True)
class Restored:
    """The device is back, perhaps under another name."""

    name: str


LineEvent: TypeAlias = InputsChanged | LineErrors | SettingsChanged | Lost | Restored
