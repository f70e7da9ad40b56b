"""``serialnet ports``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ..ports import ports

if TYPE_CHECKING:
    from argparse import _SubParsersAction

__all__ = ["add_parser"]


def add_parser(commands: _SubParsersAction[Any], common: argparse.ArgumentParser) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "ports",
        parents=[common],
        help="list the serial ports of this machine",
        description="List the serial ports of this machine.",
    )
    parser.set_defaults(run=run)


async def run(options: argparse.Namespace) -> int:
    """Print a line for each port."""
    found = ports()
    for port in found:
        usb = f"{port.vid:04x}:{port.pid:04x}" if port.vid is not None and port.pid is not None else "-"
        details = [
            f"serial {port.serial_number}" if port.serial_number else "",
            f"at {port.location}" if port.location else "",
        ]
        print("  ".join(filter(None, [port.url, usb, *details, port.description])))
    if not found:
        print("no serial port is plugged in")
    return 0
