"""Which serial ports this machine has, and who holds them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from serial.tools.list_ports import comports
from serial.tools.list_ports_common import ListPortInfo

__all__ = [
    "PortHolder",
    "PortInfo",
    "PortSource",
    "find_port",
    "holders_of",
    "list_ports",
    "ports",
    "source_in_use",
    "system_ports",
    "use_source",
]

PROC = Path("/proc")
LINKS = Path("/dev/serial")


@dataclass(frozen=True, slots=True)
class PortHolder:
    """A process that has a port open."""

    name: str
    pid: int

    def __str__(self) -> str:
        return f"{self.name} (pid {self.pid})"


@dataclass(frozen=True, slots=True)
class PortInfo:
    """A serial port, as the operating system describes it.

    :param url: what to give to :func:`serialnet.connect` or :func:`serialnet.serve`
    :param vid: USB vendor, or ``None`` for what is not on USB
    :param pid: USB product
    :param location: the USB socket, as ``1-1.2``; of a device with several interfaces, as ``1-1.2:1.0``
    :param interface: what the device calls this one of its interfaces
    :param by_id: names made of vendor, product and serial number, which stay with the device (Linux)
    :param by_path: names made of the socket, which stay with the place (Linux)
    :param holders: who has it open, as far as we may know (Linux)
    """

    url: str
    description: str = "n/a"
    vid: int | None = None
    pid: int | None = None
    serial_number: str | None = None
    location: str | None = None
    interface: str | None = None
    manufacturer: str | None = None
    product: str | None = None
    by_id: tuple[str, ...] = ()
    by_path: tuple[str, ...] = ()
    holders: tuple[PortHolder, ...] = ()


PortSource: TypeAlias = Callable[[], Iterable[PortInfo]]
"""Lists ports; called in worker threads, too."""


def ports(source: PortSource | None = None) -> list[PortInfo]:
    """List the serial ports.

    It reads files, some milliseconds per port: on an event loop, call it in a thread
    (``await anyio.to_thread.run_sync(serialnet.ports)``).

    :param source: who lists them, in place of the system
    """
    found = list_ports(source)
    holders = holders_of({port.url for port in found})
    return [replace(port, holders=port.holders or holders.get(port.url, ())) for port in found]


def list_ports(source: PortSource | None = None) -> list[PortInfo]:
    """List the serial ports without looking for who holds them, which takes the longest."""
    return sorted((source or source_in_use())(), key=_natural)


def source_in_use() -> PortSource:
    """Who lists the ports: :func:`system_ports`, unless :func:`use_source` says otherwise."""
    return _source


@contextmanager
def use_source(source: PortSource) -> Iterator[None]:
    """Let the whole library see the ports of ``source``, as long as the block lasts.

    Tests plug and unplug devices so that have nothing but a PTY behind them.
    """
    global _source
    before, _source = _source, source
    try:
        yield
    finally:
        _source = before


def system_ports() -> list[PortInfo]:
    """List the ports that the operating system knows."""
    by_id, by_path = _links(LINKS / "by-id"), _links(LINKS / "by-path")
    return [
        PortInfo(
            port.device,
            port.description or "n/a",
            port.vid,
            port.pid,
            port.serial_number or None,
            port.location or None,
            port.interface or None,
            port.manufacturer or None,
            port.product or None,
            by_id.get(port.device, ()),
            by_path.get(port.device, ()),
        )
        for port in _comports()
    ]


_source: PortSource = system_ports


def find_port(device: str) -> PortInfo | None:
    """Find a port by its name.

    :param device: its name, or a link to it
    """
    names = {device, os.path.realpath(device), device.upper().removeprefix("\\\\.\\")}
    return next((port for port in list_ports() if port.url in names), None)


def holders_of(devices: Iterable[str]) -> dict[str, tuple[PortHolder, ...]]:
    """Who has these devices open, as far as /proc tells."""
    devices = frozenset(devices)
    holders: dict[str, tuple[PortHolder, ...]] = {}
    for process in PROC.glob("[0-9]*") if devices else ():
        try:
            for device in set(_opened(process)) & devices:
                holder = PortHolder((process / "comm").read_text(errors="replace").strip(), int(process.name))
                holders[device] = (*holders.get(device, ()), holder)
        except OSError:
            continue  # it ended, or is none of our business
    return holders


def _opened(process: Path) -> Iterator[str]:
    for link in (process / "fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            yield os.readlink(link)


def _comports() -> list[ListPortInfo]:
    # pyserial stumbles over a device that is unplugged while it reads its files: look again.
    for _ in range(3):
        try:
            return list(comports())
        except (OSError, TypeError, ValueError):
            continue
    return list(comports())


def _links(directory: Path) -> dict[str, tuple[str, ...]]:
    """The links in a directory, by the device that they lead to."""
    links: dict[str, tuple[str, ...]] = {}
    try:
        for link in sorted(directory.iterdir()):
            device = os.path.realpath(link)
            links[device] = (*links.get(device, ()), str(link))
    except OSError:
        pass  # there are none, or the last one has just gone
    return links


def _natural(port: PortInfo) -> list[tuple[str, int]]:
    """The order of people: ttyUSB9 before ttyUSB10."""
    return [(text, int(digits or -1)) for text, digits in re.findall(r"(\D*)(\d*)", port.url)]
