"""The tables, in Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from .machine import machine, versions
from .measuring import Group, Ratio, Results, Row

__all__ = ["NOT_REACHED", "figure", "markdown", "verdict"]

NOT_REACHED = "**not reached**"


def markdown(groups: Sequence[Group], results: Mapping[str, Results], rounds: int, plot: str) -> str:
    """Write all that was measured."""
    return "\n".join(_lines(groups, results, rounds, plot)) + "\n"


def _lines(groups: Sequence[Group], results: Mapping[str, Results], rounds: int, plot: str) -> Iterator[str]:
    yield f"{machine()}; {', '.join(f'{name} {version}' for name, version in versions().items())}."
    yield f"Medians of {rounds} rounds; in brackets the middle half of the rounds' ratios."
    yield ""
    yield f"![Each row's ratio, its floor and its goal]({plot})"
    yield ""
    yield "### What is to be reached"
    yield ""
    yield "| work | figure | ours | against | ratio | floor | goal | reached |"
    yield "|---|---|---|---|---|---|---|---|"
    for group in groups:
        for row in group.rows:
            yield _row(group, row, results[group.name])
    yield ""
    yield "### All candidates"
    yield ""
    yield "Each figure is a ratio to that of the first line."
    for group in groups:
        yield ""
        yield f"#### {group.title}"
        yield ""
        yield from _table(group, results[group.name])


def _row(group: Group, row: Row, results: Results) -> str:
    ratio = results.ratio(row.figure, row.ours, row.peer)
    peer = "" if row.peer is None else row.peer.name
    cells = [group.title, row.figure, row.ours.name, peer]
    if ratio is None:
        cells += [f"skipped: {_why(row, results)}", _bound(row, row.floor), _bound(row, row.goal), ""]
    else:
        cells += [figure(ratio), _bound(row, row.floor), _bound(row, row.goal), verdict(row, ratio)]
    return f"| {' | '.join(cells)} |"


def _why(row: Row, results: Results) -> str:
    for candidate in (row.ours, row.peer):
        if candidate is not None and candidate in results.missing:
            return results.missing[candidate].replace("|", "/")
    return "not measured"


def figure(ratio: Ratio) -> str:
    """A ratio with its spread."""
    return f"{_number(ratio.value)} ({_number(ratio.low)} to {_number(ratio.high)})"


def verdict(row: Row, ratio: Ratio) -> str:
    """What a row has reached."""
    if row.goal is not None and row.reaches(ratio.value, row.goal):
        return "goal"
    if row.floor is not None:
        return "floor" if row.reaches(ratio.value, row.floor) else NOT_REACHED
    return "" if row.goal is None else NOT_REACHED


def _bound(row: Row, bound: float | None) -> str:
    return "" if bound is None else f"{row.sign} {bound:g}"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _table(group: Group, results: Results) -> Iterator[str]:
    names = results.names()
    yield f"| candidate | {' | '.join(names)} |"
    yield f"|---|{'---|' * len(names)}"
    first = next((one for one in group.candidates if one in results.figures), None)
    for candidate in group.candidates:
        if candidate in results.missing:
            reason = results.missing[candidate].replace("|", "/")
            yield f"| {candidate.name} | {reason} |{' |' * (len(names) - 1)}"
            continue
        ratios = [results.ratio(name, candidate, first) for name in names]
        cells = ["" if ratio is None else figure(ratio) for ratio in ratios]
        yield f"| {candidate.name} | {' | '.join(cells)} |"
