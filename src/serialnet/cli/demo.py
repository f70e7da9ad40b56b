"""``serialnet demo``: the main job, on a simulated board."""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
from importlib.util import find_spec

import anyio

from .. import resets
from ..chips import Board
from ..core.opening import connect
from ..serving.server import serve
from ..transports.sim import SimulatedTransport
from .serve import client_commands

__all__ = ["add_arguments"]

OFFSET = 0x1000
FIRMWARE_SIZE = 64 * 1024
APPLICATION = "blink 1.0, flashed through the network"
BOOT_TIME = 5.0

DESCRIPTION = """\
Share a simulated ESP32 on the loopback interface, flash it with the real esptool and show how it boots.
It takes about half a minute, most of it pyserial's waiting for the network.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.description = DESCRIPTION
    parser.set_defaults(run=run)


async def run(options: argparse.Namespace) -> int:
    """Share, flash, verify, restart."""
    if find_spec("esptool") is None:
        print(
            "serialnet: the demo flashes with esptool, which is missing: pip install esptool", file=sys.stderr
        )
        return 1
    firmware = _firmware()
    board = Board("esp32")
    with tempfile.TemporaryDirectory() as directory:
        image = anyio.Path(directory, "firmware.bin")
        await image.write_bytes(firmware)
        async with serve(SimulatedTransport(board), "rfc2217://127.0.0.1:0") as server:
            (url,) = server.urls
            print(f"A simulated ESP32 is shared on {url}\n")
            command = ["--port", url, "--connect-attempts", "1", "write-flash", hex(OFFSET), str(image)]
            print(f"$ esptool {' '.join(command)}", flush=True)
            esptool = await anyio.run_process(
                [sys.executable, "-m", "esptool", *command],
                stdin=subprocess.DEVNULL,
                stdout=None,
                stderr=None,
                check=False,
            )
            if esptool.returncode:
                print(f"serialnet: esptool failed with status {esptool.returncode}", file=sys.stderr)
                return 1
            if board.flash.read(OFFSET, len(firmware)) != firmware:
                print("serialnet: the board's flash is not what was written", file=sys.stderr)
                return 1
            print(f"\nVerified: the board's flash has the {len(firmware)} bytes of the image.")
            print("\nThe board restarts:\n")
            await _show_boot(url)
    print("\nNow with a board of your own:\n")
    print("  serialnet serve /dev/ttyUSB0")
    for line in client_commands(["rfc2217://127.0.0.1:4000"]):
        print(f"  {line}")
    return 0


def _firmware() -> bytes:
    """An image which the simulated board starts, whose name it prints, and which compresses badly."""
    header = bytes([0xE9, 1, 2, 0x20]) + bytes(20)
    name = f"serialnet-app:{APPLICATION}\0".encode()
    noise = random.Random(0).randbytes(FIRMWARE_SIZE)
    return (header + name + noise)[:FIRMWARE_SIZE]


async def _show_boot(url: str) -> None:
    async with connect(url) as port:
        assert port.line is not None
        await resets.reset(port.line)
        log = b""
        with anyio.fail_after(BOOT_TIME):
            while APPLICATION.encode() not in log:
                log += await port.receive()
    print("".join(f"  {line}\n" for line in log.decode(errors="replace").splitlines()), end="")
