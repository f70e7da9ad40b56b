"""What the tests of serving share."""

from __future__ import annotations

import pytest

from serialnet.transports import serial

from ..board_system import UsbSystem


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> UsbSystem:
    """Let the serial transport drive the modem lines of simulated devices on USB."""
    system = UsbSystem()
    monkeypatch.setattr(serial.factory, "_system", system)
    return system
