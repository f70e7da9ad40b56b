"""``serialnet demo``: the main job, on a simulated board."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import anyio

from .. import resets
from ..core.opening import connect
from ..serving import serve
from .serve import client_commands

if TYPE_CHECKING:
    from argparse import _SubParsersAction

__all__ = ["add_parser"]

FIRMWARE_SIZE = 48 * 1024
APPLICATION = "blink 1.0, flashed through the network"
BOOT_TIME = 5.0


def add_parser(commands: _SubParsersAction[Any], common: argparse.ArgumentParser) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "demo",
        parents=[common],
        help="flash a simulated board through the network",
        description="Share a simulated ESP32 on the loopback interface, flash it with the real esptool and "
        "show how it boots. It takes about half a minute, most of it pyserial's waiting for the network.",
    )
    parser.set_defaults(run=run)


async def run(options: argparse.Namespace) -> int:
    """Share, flash, verify, restart."""
    if find_spec("esptool") is None:
        print(
            "serialnet: the demo flashes with esptool, which is missing: pip install esptool", file=sys.stderr
        )
        return 1
    with tempfile.TemporaryDirectory() as directory:
        firmware = anyio.Path(directory, "firmware.bin")
        await firmware.write_bytes(_firmware())
        async with serve("sim://esp32", "rfc2217://127.0.0.1:0") as server:
            (url,) = server.urls
            print(f"A simulated ESP32 is shared on {url}\n", flush=True)
            for command in (
                ["write-flash", "0x1000", str(firmware)],
                ["verify-flash", "0x1000", str(firmware)],
            ):
                print(f"$ esptool --port {url} {' '.join(command)}", flush=True)
                arguments = [
                    sys.executable,
                    "-m",
                    "esptool",
                    "--port",
                    url,
                    "--connect-attempts",
                    "1",
                    *command,
                ]
                esptool = await anyio.run_process(
                    arguments, stdin=subprocess.DEVNULL, stdout=None, stderr=None, check=False
                )
                if esptool.returncode:
                    print(f"serialnet: esptool failed with status {esptool.returncode}", file=sys.stderr)
                    return 1
                print()
            print("The board restarts:\n")
            await _show_boot(url)
    print("\nNow with a board of your own:\n")
    print("  serialnet serve /dev/ttyUSB0")
    for line in client_commands(["rfc2217://127.0.0.1:4000"]):
        print(f"  {line}")
    return 0


def _firmware() -> bytes:
    """An image which the simulated board starts, and whose name it prints."""
    header = bytes([0xE9, 1, 2, 0x20]) + bytes(20)
    name = f"serialnet-app:{APPLICATION}\0".encode()
    return (header + name).ljust(FIRMWARE_SIZE, b"\xff")


async def _show_boot(url: str) -> None:
    async with connect(url) as port:
        assert port.line is not None
        await resets.reset(port.line)
        log = b""
        with anyio.fail_after(BOOT_TIME):
            while APPLICATION.encode() not in log:
                log += await port.receive()
    print("".join(f"  {line}\n" for line in log.decode(errors="replace").splitlines()), end="")
