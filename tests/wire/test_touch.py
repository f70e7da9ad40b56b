"""The 1200-baud touch, told from work at 1200 baud."""

from __future__ import annotations

import pytest

from serialnet import LineSettings, Outputs
from serialnet.wire.touch import TouchWatch

FAST, SLOW = LineSettings(9600), LineSettings(1200)
BOTH = Outputs(True, True)


def test_what_was_before_is_remembered_for_a_while() -> None:
    watch = TouchWatch()
    assert watch.before(0) is None
    assert watch.configure(SLOW, FAST, BOTH, 10.0)
    assert watch.before(9.9) is None
    assert watch.before(10.0) == watch.before(15.0) == (FAST, BOTH)
    assert watch.before(15.1) is None


def test_saying_it_again_is_nothing_new() -> None:
    watch = TouchWatch()
    watch.configure(SLOW, FAST, BOTH, 10.0)
    assert not watch.configure(SLOW, SLOW, Outputs(), 14.0)
    assert watch.before(14.0) == (FAST, BOTH)
    assert watch.before(16.0) is None


@pytest.mark.parametrize("settings", [FAST, SLOW])
def test_another_rate_is_the_end_of_it(settings: LineSettings) -> None:
    watch = TouchWatch()
    watch.configure(SLOW, FAST, BOTH, 10.0)
    assert not watch.configure(FAST, settings, BOTH, 11.0)
    assert watch.before(11.0) is None


def test_a_port_that_is_at_1200_baud_is_not_touched() -> None:
    watch = TouchWatch()
    assert not watch.configure(SLOW, SLOW, BOTH, 10.0)
    assert watch.before(10.0) is None
