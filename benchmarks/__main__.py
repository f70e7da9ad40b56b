"""Run all benchmarks, several rounds in turn, and print medians of ratios."""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable

from . import codec, relay

BENCHMARKS = (*codec.BENCHMARKS, *relay.BENCHMARKS)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--rounds", type=int, default=5, help="rounds, of which the median counts (default: 5)"
    )
    parser.add_argument("--guard", action="store_true", help="fail where a floor is not held; three rounds")
    options = parser.parse_args()
    rounds = 3 if options.guard else options.rounds
    failed = False
    print(f"{'benchmark':<44} {'peer':<22} {'ratio':>8} {'spread':>15} {'floor':>7}")
    for benchmark in BENCHMARKS:
        reason = benchmark.missing()
        if reason:
            print(f"{benchmark.name:<44} {benchmark.peer:<22} skipped: {reason}")
            continue
        ratios = sorted(measure(benchmark.ours, benchmark.theirs) for _ in range(rounds))
        ratio = statistics.median(ratios)
        held = ratio >= benchmark.floor
        failed |= not held
        print(
            f"{benchmark.name:<44} {benchmark.peer:<22} {ratio:>7.2f}x {ratios[0]:>6.2f}..{ratios[-1]:.2f}x "
            f"{benchmark.floor:>6}x{'' if held else '  not held'}"
        )
    return 1 if options.guard and failed else 0


def measure(ours: Callable[[], float], theirs: Callable[[], float]) -> float:
    """How many times the speed of theirs ours has."""
    return ours() / theirs()


if __name__ == "__main__":
    sys.exit(main())
