"""What a distance means to esptool, at the edges of its time limits."""

from __future__ import annotations

import re

import pytest

from serialnet import Endpoint
from serialnet.distance import Distance
from serialnet.doctor import Verdict
from serialnet.doctor._esptool import esptool_at


@pytest.mark.parametrize(
    ("median", "jitter", "verdict", "words"),
    [
        (0.001, 0.001, Verdict.OK, "within"),
        (0.06, 0.02, Verdict.OK, "about 6 s"),
        (0.09, 0.02, Verdict.PROBLEM, "does not hear"),
        (0.14, 0.0, Verdict.PROBLEM, "does not hear"),
        (0.18, 0.01, Verdict.PROBLEM, "between 150 and 200 ms only"),
        (0.21, 0.0, Verdict.PROBLEM, "200 ms to start"),
        (0.26, 0.0, Verdict.PROBLEM, "does not hear .*200 ms to start"),
        (0.6, 0.1, Verdict.PROBLEM, "200 ms to start"),
    ],
)
def test_a_distance(median: float, jitter: float, verdict: Verdict, words: str) -> None:
    finding = esptool_at(Endpoint.parse("rfc2217://lab:4000"), Distance(median, jitter))
    assert finding.verdict is verdict
    assert re.search(words, finding.text)
    assert ("serialnet run" in finding.advice) == (verdict is Verdict.PROBLEM)
