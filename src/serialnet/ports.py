"""Which serial ports this machine has."""

from __future__ import annotations

from dataclasses import dataclass

from serial.tools.list_ports import comports

__all__ = ["PortInfo", "ports"]


@dataclass(frozen=True, slots=True)
class PortInfo:
    """A serial port, as the operating system describes it.

    :param url: what to give to :func:`serialnet.connect` or :func:`serialnet.serve`
    :param vid: USB vendor, or ``None`` for what is not on USB
    :param pid: USB product
    :param location: the USB socket, as ``1-1.2``
    """

    url: str
    description: str
    vid: int | None = None
    pid: int | None = None
    serial_number: str | None = None
    location: str | None = None
    manufacturer: str | None = None
    product: str | None = None


def ports() -> list[PortInfo]:
    """List the serial ports; may take some milliseconds per port."""
    return sorted(
        (
            PortInfo(
                port.device,
                port.description,
                port.vid,
                port.pid,
                port.serial_number,
                port.location,
                port.manufacturer,
                port.product,
            )
            for port in comports()
        ),
        key=lambda port: port.url,
    )
