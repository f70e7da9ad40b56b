"""On what was measured, and which versions."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .candidates import program

__all__ = ["machine", "versions"]

PROGRAMS = {"socat": "-V", "haproxy": "-v", "ser2net": "-v", "cc": "--version"}
PACKAGES = ("anyio", "trio", "uvloop", "pyserial", "esptool")


def machine() -> str:
    """Describe the machine."""
    models = re.findall(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    cpus = len(os.sched_getaffinity(0))
    return f"{cpus} CPUs, {models[0] if models else platform.machine()}, Linux {platform.release()}"


def versions() -> dict[str, str]:
    """What takes part, by name."""
    found = {"Python": platform.python_version()}
    for name in ("serialnet", *PACKAGES):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    for name, option in PROGRAMS.items():
        path = program(name)
        if path is None:
            found[name] = "not installed"
            continue
        done = subprocess.run([path, option], capture_output=True, text=True, timeout=30, check=False)
        number = re.search(r"\d+\.\d+[\w.+-]*", done.stdout + done.stderr)
        found[name] = number[0] if number else "?"
    return found
