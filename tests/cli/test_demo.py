"""The demo, which is the first thing that a newcomer runs."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.timeout(180)
def test_the_demo_flashes_verifies_and_boots() -> None:
    demo = subprocess.run(
        [sys.executable, "-m", "serialnet", "demo"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert demo.returncode == 0, demo.stderr
    assert demo.stderr == ""
    steps = ("Hash of data verified", "Verified: ", "The board restarts", "through the network", "serve")
    positions = [demo.stdout.index(step) for step in steps]
    assert positions == sorted(positions)


def test_without_esptool_it_says_what_to_install() -> None:
    script = """
import sys
from importlib.machinery import PathFinder

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name == "esptool":
            return None
        return super().find_spec(name, path, target)

sys.meta_path = [Without if finder is PathFinder else finder for finder in sys.meta_path]
from serialnet.cli import main
sys.exit(main(["demo"]))
"""
    demo = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert demo.returncode == 1
    assert "pip install esptool" in demo.stderr
    assert "Traceback" not in demo.stderr
