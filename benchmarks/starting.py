"""What it takes until anything runs at all."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from .candidates import Candidate
from .workloads import Figures, Scale

__all__ = [
    "ALL",
    "DEPENDENCIES",
    "DEPENDENCIES_COMMAND",
    "MINITERM",
    "OPENING",
    "OURS",
    "OUR_COMMAND",
    "SERVING_COMMAND",
    "importing",
    "running",
]

TIMES = 5
TIMED = "import time; start = time.perf_counter(); {}; print(time.perf_counter() - start)"


def _import(name: str, statement: str) -> Candidate:
    return Candidate(name, (sys.executable, "-c", TIMED.format(statement)))


DEPENDENCIES = _import("anyio and pyserial", "import anyio, serial")
OURS = _import("serialnet", "import serialnet")
# Names are loaded when they are first asked for.
OPENING = _import("serialnet, to open a port", "from serialnet import connect")
ALL = _import("serialnet, all of it", "from serialnet import *")

DEPENDENCIES_COMMAND = Candidate("a program that imports anyio and pyserial", DEPENDENCIES.command)
OUR_COMMAND = Candidate("serialnet --help", (sys.executable, "-m", "serialnet", "--help"))
# It has all loaded that it takes to serve.
SERVING_COMMAND = Candidate("serialnet serve --help", (*OUR_COMMAND.command[:-1], "serve", "--help"))
MINITERM = Candidate("pyserial's miniterm --help", (sys.executable, "-m", "serial.tools.miniterm", "--help"))


def importing(candidate: Candidate, scale: Scale) -> Figures:
    """Seconds of an import, in a process that has done nothing before."""
    return {"import": statistics.median(float(_run(candidate)) for _ in range(TIMES))}


def running(candidate: Candidate, scale: Scale) -> Figures:
    """Seconds from start to end."""
    times = []
    for _ in range(TIMES):
        start = time.perf_counter()
        _run(candidate)
        times.append(time.perf_counter() - start)
    return {"start to end": statistics.median(times)}


def _run(candidate: Candidate) -> str:
    return subprocess.run(candidate.command, capture_output=True, text=True, timeout=60, check=True).stdout
