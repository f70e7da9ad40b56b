"""Rounds in which all candidates take their turn, and what comes of them: ratios of medians."""

from __future__ import annotations

import statistics
import sys
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import ClassVar

from typing_extensions import override

from .candidates import Candidate
from .workloads import Figures, Scale, Workload

__all__ = ["FAILED", "Group", "Less", "More", "Ratio", "Results", "Row", "measure"]


# A round that fails is left out; whoever fails again is.
MOST_FAILURES = 2
FAILED = "failed"


@dataclass(frozen=True)
class Row(ABC):
    """One line of what is to be reached; without a floor and a goal it is measured and told.

    :param figure: what is compared
    :param ours: the candidate that has to reach it
    :param peer: whose figure is 1; ``None``: the figure counts by itself
    :param floor: what must be held
    :param goal: what we are after
    :param guard: what the guard holds
    """

    figure: str
    ours: Candidate
    peer: Candidate | None
    _: KW_ONLY
    floor: float | None = None
    goal: float | None = None
    guard: float | None = None

    #: how a bound is written
    sign: ClassVar[str]

    @abstractmethod
    def reaches(self, ratio: float, bound: float) -> bool:
        """Whether a ratio is as good as a bound, or better."""


class More(Row):
    """More is better."""

    sign = "\u2265"

    @override
    def reaches(self, ratio: float, bound: float) -> bool:
        return ratio >= bound


class Less(Row):
    """Less is better."""

    sign = "\u2264"

    @override
    def reaches(self, ratio: float, bound: float) -> bool:
        return ratio <= bound


@dataclass(frozen=True)
class Group:
    """A workload, who takes part, and what is to be reached.

    :param candidates: the first is the one whose figures are 1 in the table of all
    """

    name: str
    title: str
    workload: Workload
    candidates: Sequence[Candidate]
    rows: Sequence[Row]


@dataclass(frozen=True)
class Ratio:
    """A ratio of medians, the median of the rounds' ratios, and where the middle half of these lies."""

    value: float
    paired: float
    low: float
    high: float


@dataclass
class Results:
    """The figures of a group, a list entry for each round; and why candidates are missing."""

    figures: dict[Candidate, list[Figures]] = field(default_factory=lambda: defaultdict(list))
    missing: dict[Candidate, str] = field(default_factory=dict)
    failures: Counter[Candidate] = field(default_factory=Counter)

    def names(self) -> list[str]:
        """All that was measured, in the order in which it came."""
        return list(dict.fromkeys(name for rounds in self.figures.values() for one in rounds for name in one))

    def ratio(self, figure: str, ours: Candidate, peer: Candidate | None) -> Ratio | None:
        """Compare two candidates, if both took part."""
        mine = [one[figure] for one in self.figures.get(ours, []) if figure in one]
        if not mine:
            return None
        if peer is None:
            return Ratio(statistics.median(mine), statistics.median(mine), *_middle_half(mine))
        theirs = [one[figure] for one in self.figures.get(peer, []) if figure in one]
        if not theirs or not statistics.median(theirs):
            return None
        ratios = [one / other for one, other in zip(mine, theirs, strict=False) if other]
        value = statistics.median(mine) / statistics.median(theirs)
        return Ratio(value, statistics.median(ratios), *_middle_half(ratios))


def _middle_half(values: list[float]) -> tuple[float, float]:
    if len(values) < 4:
        return min(values), max(values)
    low, _, high = statistics.quantiles(values, method="inclusive")
    return low, high


def measure(
    group: Group, candidates: Sequence[Candidate], rounds: int, scale: Scale, results: Results
) -> None:
    """Add rounds to the results of a group; each starts with another candidate."""
    present = []
    for candidate in candidates:
        if reason := candidate.missing():
            results.missing[candidate] = reason
        else:
            present.append(candidate)
    for number in range(rounds):
        start = number % max(len(present), 1)
        for candidate in present[start:] + present[:start]:
            if candidate in results.missing:
                continue
            try:
                figures = group.workload(candidate, scale)
            except Exception as error:  # noqa: BLE001  # it costs its turn, not the run
                print(f"{group.name}: {candidate.name}: {error}", file=sys.stderr)
                results.failures[candidate] += 1
                if results.failures[candidate] == MOST_FAILURES:
                    results.missing[candidate] = FAILED
                    results.figures.pop(candidate, None)
            else:
                results.figures[candidate].append(figures)
