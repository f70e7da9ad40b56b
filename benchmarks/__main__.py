"""Measure all candidates in turn, and tell the ratios; or guard them."""

from __future__ import annotations

import argparse
import logging
import os
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from .candidates import Candidate
from .generator import compiled
from .measuring import FAILED, Group, Results, Row, measure
from .plot import svg
from .report import figure, markdown, verdict
from .rows import GROUPS
from .workloads import Scale

RESULTS = Path(__file__).with_name("results")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only",
        action="append",
        choices=[group.name for group in GROUPS],
        metavar="NAME",
        help=f"only this; repeatable; one of: {', '.join(group.name for group in GROUPS)}",
    )
    parser.add_argument(
        "--rounds", type=int, help="rounds, of which the median counts (default: 9; guard: 3)"
    )
    parser.add_argument(
        "--guard", action="store_true", help="short rounds; fail where a bound is not held, write nothing"
    )
    parser.add_argument(
        "--output", type=Path, default=RESULTS, metavar="DIRECTORY", help="where the results go (%(default)s)"
    )
    options = parser.parse_args()
    if options.rounds is not None and options.rounds < 1:
        parser.error("--rounds: expected one at least")
    if sys.platform != "linux":
        parser.error("the benchmarks need Linux: they pin processes and read what these used from /proc")
    logging.getLogger("serialnet").setLevel(logging.ERROR)  # a PTY has no modem lines: that is known
    groups = [group for group in GROUPS if not options.only or group.name in options.only]
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # what is installed is compiled once, not at each start
    # A bridge takes two descriptors, and every relay inherits what may be had.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with compiled() as load:
        if options.guard:
            return guard(groups, options.rounds or 3, Scale(load, seconds=0.2, trips=1000, bridges=200))
        publish(
            groups, options.rounds or 9, Scale(load, seconds=1.0, trips=10000, bridges=1000), options.output
        )
    return 0


def publish(groups: Sequence[Group], rounds: int, scale: Scale, output: Path) -> None:
    """Measure everything, and write it down."""
    results = {group.name: Results() for group in groups}
    for group in groups:
        began = time.monotonic()
        measure(group, group.candidates, rounds, scale, results[group.name])
        for row in group.rows:
            _tell(group, row, results[group.name])
        print(f"{group.name}: took {time.monotonic() - began:.0f} s", file=sys.stderr)
    output.mkdir(parents=True, exist_ok=True)
    (output / "results.md").write_text(markdown(groups, results, rounds, "results.svg"))
    (output / "results.svg").write_text(svg(groups, results))
    print(f"written to {output}")


def guard(groups: Sequence[Group], rounds: int, scale: Scale) -> int:
    """Hold the bounds; a group of which one fails has a second chance, with more rounds."""
    failed = False
    for group in groups:
        began = time.monotonic()
        rows = [row for row in group.rows if row.guard is not None]
        candidates = _taking_part(group, rows)
        results = Results()
        if rows:
            measure(group, candidates, rounds, scale, results)
        if not all(_held(row, results) for row in rows):
            measure(group, candidates, 2 * rounds, scale, results)
        for row in rows:
            held = _held(row, results)
            failed |= not held
            _tell(group, row, results, "" if held else f"NOT HELD: {row.sign} {row.guard:g}")
        if rows:
            print(f"{group.name}: took {time.monotonic() - began:.0f} s", file=sys.stderr)
    return 1 if failed else 0


def _taking_part(group: Group, rows: Sequence[Row]) -> list[Candidate]:
    return [one for one in group.candidates if any(one in (row.ours, row.peer) for row in rows)]


def _held(row: Row, results: Results) -> bool:
    """Whether the guard's bound is held; what we lack is a failure, what a peer lacks is not."""
    assert row.guard is not None
    ratio = results.ratio(row.figure, row.ours, row.peer)
    if ratio is None:
        return results.missing.get(row.ours) != FAILED
    # What is really slower is so by either count; one of them alone is a round that somebody disturbed.
    return row.reaches(ratio.value, row.guard) or row.reaches(ratio.paired, row.guard)


def _tell(group: Group, row: Row, results: Results, remark: str | None = None) -> None:
    ratio = results.ratio(row.figure, row.ours, row.peer)
    against = "" if row.peer is None else f" / {row.peer.name}"
    said = "skipped" if ratio is None else figure(ratio)
    if remark is None:
        remark = "" if ratio is None else verdict(row, ratio)
    print(
        f"{group.name:<16} {row.figure + ': ' + row.ours.name + against:<72} {said:<26} {remark}", flush=True
    )


if __name__ == "__main__":
    sys.exit(main())
