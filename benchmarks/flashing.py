"""What stock esptool takes on a simulated ESP32 that itself needs no time for anything."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from serialnet.pyserial import environment

from .candidates import Candidate
from .workloads import Figures, Scale

__all__ = ["DEVICE", "OURS", "STOCK", "flashing"]

ESPTOOL = (sys.executable, "-m", "esptool", "--connect-attempts", "1", "--port")
# The same board, as a device: a PTY with modem lines.
DEVICE = Candidate("esptool on the device", ESPTOOL, "esptool")
OURS = Candidate("esptool by serialnet run", ESPTOOL, "esptool")
STOCK = Candidate("esptool, pyserial's rfc2217://", ESPTOOL, "esptool")

IMAGE = bytes([0xE9, 1, 2, 0x20]) + bytes(20) + random.Random(0).randbytes((256 << 10) - 24)
COMMANDS = {"flash-id": ("flash-id",), "write-flash 256 KiB": ("write-flash", "0x1000", "image.bin")}
SHIM = Path(__file__).parents[1] / "tests" / "shim" / "modem_lines.c"

SERVED = """
import anyio, serialnet
async def main():
    async with serialnet.serve("sim://esp32", "rfc2217://127.0.0.1:0") as server:
        print(server.urls[0], flush=True)
        await server.wait()
anyio.run(main)
"""
HOSTED = """
import anyio
from serialnet.chips import Board
from serialnet.testing.pty import host_board
async def main():
    async with host_board(Board()) as port:
        environment = (f"{name}={value}" for name, value in port.environment.items())
        print(port.path, *environment, sep="\\t", flush=True)
        await anyio.sleep_forever()
anyio.run(main)
"""


def flashing(candidate: Candidate, scale: Scale) -> Figures:
    """Seconds that each command takes, from start to end."""
    with tempfile.TemporaryDirectory() as directory, _board(candidate, directory) as (port, variables):
        Path(directory, "image.bin").write_bytes(IMAGE)
        figures = {}
        for name, command in COMMANDS.items():
            start = time.perf_counter()
            done = subprocess.run(
                [*candidate.command, port, *command],
                cwd=directory,
                env=variables,
                check=False,
                capture_output=True,
                text=True,
                timeout=300,
            )
            figures[name] = time.perf_counter() - start
            if done.returncode != 0:
                raise RuntimeError(f"{name}: {(done.stdout + done.stderr).strip().splitlines()[-1]}")
        return figures


@contextmanager
def _board(candidate: Candidate, directory: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    """A board in a process of its own: its port, and the environment that its user needs."""
    program = HOSTED if candidate is DEVICE else SERVED
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": directory},  # it leaves files behind, being killed
    ) as process:
        assert process.stdout is not None
        try:
            port, *assignments = process.stdout.readline().strip().split("\t")
            if candidate is DEVICE:
                shim = Path(directory, "shim.so")
                subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", shim, SHIM, "-ldl"], check=True)
                given = dict(assignment.split("=", 1) for assignment in assignments)
                yield port, os.environ | given | {"LD_PRELOAD": str(shim)}
            else:
                yield port, environment() if candidate is OURS else os.environ
        finally:
            process.kill()
