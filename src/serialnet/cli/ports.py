"""``serialnet ports``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from anyio.to_thread import run_sync

from ..port_list import PortInfo, ports
from ..port_watch import PortAdded, watch_ports

__all__ = ["add_arguments"]

EPILOG = """\
examples:
  serialnet ports
  serialnet ports --json | jq -r 'select(.vid == 0x303a) | .url'
  serialnet ports --watch
      tell what is plugged in and unplugged, until Ctrl+C
"""
HEADINGS = ("PORT", "USB", "SERIAL", "SOCKET", "HELD BY", "DESCRIPTION")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.description = "List the serial ports of this machine, and who holds them."
    parser.epilog = EPILOG
    parser.add_argument("--json", action="store_true", help="print a JSON object on a line for each port")
    parser.add_argument("--watch", action="store_true", help="go on, and tell what comes and goes")
    parser.set_defaults(run=run)


async def run(options: argparse.Namespace) -> int:
    """Print the ports, or what becomes of them."""
    if options.watch:
        async with watch_ports() as events:
            async for event in events:
                is_there = isinstance(event, PortAdded)
                if options.json:
                    _say(json.dumps({"event": "added" if is_there else "removed", **asdict(event.port)}))
                else:
                    name, usb, *_, description = _cells(event.port)
                    _say(f"{'added' if is_there else 'removed':7}  {name}  {usb}  {description}")
    found = await run_sync(ports)
    if options.json:
        for port in found:
            _say(json.dumps(asdict(port)))
    elif found:
        _print_table(found)
    else:
        _say("no serial port is plugged in")
    return 0


def _print_table(found: Sequence[PortInfo]) -> None:
    """Columns as wide as need be; those that would be empty are left out; stable names below."""
    rows = [HEADINGS, *map(_cells, found)]
    shown = [column for column in zip(*rows, strict=True) if any(column[1:])]
    widths = [max(map(len, column)) for column in shown]
    for row, port in zip(zip(*shown, strict=True), [None, *found], strict=True):
        _say("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
        for name in port.by_id if port is not None else ():
            _say(f"  {_clean(name)}")


def _cells(port: PortInfo) -> tuple[str, ...]:
    return (
        _clean(port.url),
        f"{port.vid:04x}:{port.pid:04x}" if port.vid is not None and port.pid is not None else "-",
        _clean(port.serial_number or ""),
        _clean(port.location or ""),
        _clean(", ".join(map(str, port.holders))),
        _clean(port.description),
    )


def _clean(text: str) -> str:
    """What a device says of itself, without what could play tricks on a terminal."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _say(line: str) -> None:
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    print(line.encode(encoding, "backslashreplace").decode(encoding), flush=True)
