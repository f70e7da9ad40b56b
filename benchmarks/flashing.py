"""Flashing through the object with pyserial's interface, and its speed: ``python -m benchmarks.flashing``.

esptool is the real one, on a simulated ESP32 that needs no time for anything. It is measured against:

- esptool on the board's own port: the same board as a device, a PTY with modem lines (needs ``cc``)
- esptool with pyserial's own ``rfc2217://`` client, on the same server
- for reading and single bytes: pyserial on a local PTY
"""

from __future__ import annotations

import argparse
import os
import pty
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import serial

from serialnet.pyserial import Serial, environment

IMAGE = bytes([0xE9, 1, 2, 0x20]) + bytes(20) + random.Random(0).randbytes((256 << 10) - 24)
COMMANDS = {"flash-id": ("flash-id",), "write-flash 256 KiB": ("write-flash", "0x1000", "image.bin")}
SHIM = Path(__file__).parents[1] / "tests" / "shim" / "modem_lines.c"
TOTAL = 32 << 20
ROUND_TRIPS = 2000

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
ECHO = """
import os, sys
while data := os.read(int(sys.argv[1]), 65536):
    os.write(int(sys.argv[1]), data)
"""
FLOOD = """
import os, sys
descriptor, left = int(sys.argv[1]), int(sys.argv[2])
while left:
    left -= os.write(descriptor, bytes(min(left, 65536)))
os.read(descriptor, 1)
"""


@contextmanager
def running(program: str, *arguments: str, descriptors: tuple[int, ...] = ()) -> Iterator[str]:
    """A program in a process of its own; the first line that it prints, if it prints any."""
    command = [sys.executable, "-c", program, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, pass_fds=descriptors)
    assert process.stdout is not None
    try:
        yield "" if descriptors else process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


# esptool


def esptool(port: str, command: tuple[str, ...], directory: str, variables: dict[str, str]) -> float:
    """Seconds that a command takes."""
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "esptool", "--port", port, "--connect-attempts", "1", *command],
        cwd=directory,
        env=variables,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return time.perf_counter() - start


def flashing(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as directory, running(SERVED) as url, running(HOSTED) as hosted:
        Path(directory, "image.bin").write_bytes(IMAGE)
        shim = Path(directory, "shim.so")
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", shim, SHIM, "-ldl"], check=True)
        device, *assignments = hosted.split("\t")
        direct = os.environ | dict(assignment.split("=", 1) for assignment in assignments)
        direct["LD_PRELOAD"] = str(shim)
        for name, command in COMMANDS.items():
            times: dict[str, list[float]] = {"ours": [], "device": [], "stock": []}
            for _ in range(rounds):
                times["ours"].append(esptool(url, command, directory, environment()))
                times["device"].append(esptool(device, command, directory, direct))
            times["stock"].append(esptool(url, command, directory, dict(os.environ)))
            ours, on_device, stock = (statistics.median(times[key]) for key in ("ours", "device", "stock"))
            report(f"{name}, through our object", f"{ours:.2f} s")
            report("  against esptool on the device", f"{ours / on_device:.2f}x its {on_device:.2f} s")
            report("  against stock rfc2217://", f"{stock / ours:.1f} times faster than its {stock:.1f} s")


# The object itself


def over_pty(kind: Callable[[str], Any], program: str, measure: Callable[[Any], float], *more: str) -> float:
    master, slave = pty.openpty()
    try:
        tty.setraw(slave)
        with kind(os.ttyname(slave)) as port, running(program, str(master), *more, descriptors=(master,)):
            return measure(port)
    finally:
        os.close(master)
        os.close(slave)


def over_tcp(program: str, measure: Callable[[Any], float], *more: str) -> float:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = Serial(f"tcp://127.0.0.1:{server.getsockname()[1]}")
        connection, _ = server.accept()
        with port, connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setblocking(True)
            with running(program, str(connection.fileno()), *more, descriptors=(connection.fileno(),)):
                return measure(port)


def receive(port: Any) -> float:
    """Bytes per second, from the first on."""
    port.timeout = 30
    left = TOTAL - len(port.read(1))
    start = time.perf_counter()
    while left:
        left -= len(port.read(min(left, 65536)))
    return TOTAL / (time.perf_counter() - start)


def round_trip(port: Any) -> float:
    """Seconds for a byte to come back."""
    port.timeout = 30
    times = []
    for _ in range(ROUND_TRIPS):
        start = time.perf_counter()
        port.write(b"x")
        port.read(1)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def object_itself(rounds: int) -> None:
    measured: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, value in (
            ("receive, pyserial", over_pty(serial.Serial, FLOOD, receive, str(TOTAL))),
            ("receive, pty", over_pty(Serial, FLOOD, receive, str(TOTAL))),
            ("receive, tcp", over_tcp(FLOOD, receive, str(TOTAL))),
            ("trip, pyserial", over_pty(serial.Serial, ECHO, round_trip)),
            ("trip, pty", over_pty(Serial, ECHO, round_trip)),
            ("trip, tcp", over_tcp(ECHO, round_trip)),
        ):
            measured.setdefault(name, []).append(value)
    median = {name: statistics.median(values) for name, values in measured.items()}
    for way in ("pty", "tcp"):
        speed, trip = median[f"receive, {way}"], median[f"trip, {way}"]
        report(
            f"object over {way}, receiving",
            f"{speed / 1e6:.0f} MB/s, {speed / median['receive, pyserial']:.2f}x pyserial on a local PTY",
        )
        report(
            f"object over {way}, round trip of a byte",
            f"{trip * 1e6:.0f} us, {trip / median['trip, pyserial']:.2f}x pyserial on a local PTY",
        )


def report(name: str, value: str) -> None:
    print(f"{name:<44} {value}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.flashing", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="of which the median counts (default: 3)")
    options = parser.parse_args()
    object_itself(options.rounds)
    if shutil.which("cc") is None:
        print("flashing: skipped, cc is not installed")
        return 0
    flashing(options.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
