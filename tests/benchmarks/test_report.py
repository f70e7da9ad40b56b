from __future__ import annotations

from xml.etree import ElementTree

import pytest
from benchmarks.candidates import Candidate
from benchmarks.measuring import FAILED, Group, Less, More, Results, measure
from benchmarks.plot import svg
from benchmarks.report import markdown, verdict
from benchmarks.rows import GROUPS
from benchmarks.workloads import Figures, Scale

OURS, PEER, ABSENT = Candidate("ours", ()), Candidate("peer", ()), Candidate("absent", (), "no-such-program")


def group(*rows: More | Less, figures: dict[Candidate, list[float]]) -> tuple[Group, Results]:
    made = Group("name", "title", lambda candidate, scale: {}, (PEER, OURS, ABSENT), rows)
    results = Results(missing={ABSENT: "no-such-program is not installed"})
    for candidate, values in figures.items():
        results.figures[candidate] = [{"speed": value} for value in values]
    return made, results


def test_a_ratio_is_that_of_the_medians() -> None:
    _, results = group(figures={OURS: [30, 10, 20], PEER: [5, 10, 100]})
    ratio = results.ratio("speed", OURS, PEER)
    assert ratio is not None
    assert ratio.value == 2
    assert ratio.paired == 1
    assert (ratio.low, ratio.high) == (0.2, 6)


@pytest.mark.parametrize(
    ("value", "more", "less"),
    [(1, "**not reached**", "goal"), (2.5, "floor", "floor"), (4, "goal", "**not reached**")],
)
def test_verdicts(value: float, more: str, less: str) -> None:
    _, results = group(figures={OURS: [value], PEER: [1]})
    ratio = results.ratio("speed", OURS, PEER)
    assert ratio is not None
    assert verdict(More("speed", OURS, PEER, floor=2, goal=3), ratio) == more
    assert verdict(Less("speed", OURS, PEER, floor=3, goal=2), ratio) == less


def test_what_is_missing_is_told_and_the_rest_is_there() -> None:
    rows = (More("speed", OURS, PEER, floor=2, goal=3), More("speed", OURS, ABSENT, floor=2))
    made, results = group(*rows, figures={OURS: [4], PEER: [2]})
    text = markdown([made], {"name": results}, 1, "plot.svg")
    assert "| title | speed | ours | peer | 2 (2 to 2) | ≥ 2 | ≥ 3 | floor |" in text
    assert "| skipped: no-such-program is not installed | ≥ 2 |" in text
    assert len(list(ElementTree.fromstring(svg([made], {"name": results})))) > 4


def test_every_candidate_takes_its_turn_and_one_that_fails_costs_only_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    turns = []

    def workload(candidate: Candidate, scale: Scale) -> Figures:
        turns.append(candidate)
        if candidate is OURS:
            raise RuntimeError("it broke")
        return {"speed": 1}

    results = Results()
    made = Group("name", "title", workload, (PEER, OURS, ABSENT), ())
    measure(made, made.candidates, 3, Scale.__new__(Scale), results)
    assert turns == [PEER, OURS, OURS, PEER, PEER]
    assert results.missing == {OURS: FAILED, ABSENT: "no-such-program is not installed"}
    assert len(results.figures[PEER]) == 3
    assert "it broke" in capsys.readouterr().err


def test_no_guard_is_stricter_than_its_floor() -> None:
    for one in GROUPS:
        for row in one.rows:
            if row.guard is not None and row.floor is not None:
                assert row.reaches(row.floor, row.guard), f"{one.name}: {row.figure}"
