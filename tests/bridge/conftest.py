"""Bridges end at once in tests."""

from __future__ import annotations

import pytest

from serialnet.bridge import bridge


@pytest.fixture(autouse=True)
def linger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "LINGER", 0.02)
