"""``usb://303a:0002``: a USB serial port, wherever it shows up."""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass
from pathlib import Path

from anyio.to_thread import run_sync

from ..core.endpoint import Endpoint
from ..core.errors import EndpointError, MassStorageError, OpenError
from ..core.options import option
from ..core.registry import TransportFactory, find_factory
from ..core.transport import Listener, Transport
from ..port_list import PortInfo, list_ports
from ._line_options import SerialOptions

__all__ = ["UsbOptions", "factory", "find", "find_at"]

SYSFS = Path("/sys/bus/usb/devices")
# The classes of interfaces: a serial port of a standard kind has two, for control and data.
MASS_STORAGE = 0x08
SERIAL = {0x02, 0x0A}


@dataclass(frozen=True, slots=True)
class UsbOptions(SerialOptions):
    """The options of ``usb://``: which device, beside its vendor and product, and those of a serial port."""

    serial: str | None = option(None, "the device's serial number")
    location: str | None = option(
        None, "the USB socket that it hangs on, as 1-1.2 (serialnet ports shows it)"
    )
    interface: str | None = option(None, "what the device calls one of its several ports")


@dataclass(frozen=True, slots=True)
class Description:
    """What is known of a device; ``None`` for what may be anything."""

    vid: int | None
    pid: int | None
    serial: str | None
    location: str | None
    interface: str | None

    def fits(self, port: PortInfo) -> bool:
        """Whether a port may be the one."""
        return (
            port.vid is not None
            and all(
                wanted is None or wanted == found
                for wanted, found in (
                    (self.vid, port.vid),
                    (self.pid, port.pid),
                    (self.serial, port.serial_number),
                    (self.interface, port.interface),
                )
            )
            and (self.location is None or _is_at(port.location, self.location))
        )


def describe(endpoint: Endpoint, options: UsbOptions) -> Description:
    """Read which device is meant.

    :raises EndpointError: if that is not said, or cannot be understood
    """
    match = re.fullmatch(r"(?:([0-9a-f]{1,4})(?::([0-9a-f]{1,4}))?)?", endpoint.host, re.IGNORECASE)
    if match is None or endpoint.path.strip("/") or endpoint.user:
        raise EndpointError(
            f"'{endpoint}': expected usb://VENDOR:PRODUCT in hexadecimal digits, as usb://303a:0002, "
            "usb://303a or usb://?serial=..."
        )
    vid, pid = (None if digits is None else int(digits, 16) for digits in match.groups())
    if vid is None and options.serial is None and options.location is None:
        raise EndpointError(
            f"'{endpoint}': which device? expected usb://VENDOR:PRODUCT, serial=... or location=..."
        )
    return Description(vid, pid, options.serial, options.location, options.interface)


def find(endpoint: Endpoint, wanted: Description) -> PortInfo:
    """Find the one port that fits; to be called in a thread.

    :raises MassStorageError: if there is nothing but a disk
    :raises OpenError: if there is none, or several
    """
    plugged_in = [port for port in list_ports() if port.vid is not None]
    match [port for port in plugged_in if wanted.fits(port)]:
        case [port]:
            return port
        case []:
            if wanted.location is not None and _is_mass_storage(wanted.location):
                raise MassStorageError(
                    errno.ENODEV,
                    f"the board at {wanted.location} is there as mass storage only: it has no serial port "
                    "until it gets a firmware or is restarted",
                )
            others = f"; plugged in: {'; '.join(map(_shown, plugged_in))}" if plugged_in else ""
            raise OpenError(errno.ENODEV, f"'{endpoint}': no such device is plugged in{others}")
        case several:
            raise OpenError(
                errno.ENOTUNIQ,
                f"'{endpoint}' fits several: {'; '.join(map(_shown, several))}; "
                "add serial=..., location=... or interface=...",
            )


def find_at(location: str) -> PortInfo:
    """Find the one port at a USB socket; to be called in a thread.

    :raises MassStorageError: if there is nothing but a disk
    :raises OpenError: if there is none, or several
    """
    endpoint = Endpoint(("usb",), options={"location": location})
    return find(endpoint, Description(None, None, None, location, None))


def _is_at(location: str | None, wanted: str) -> bool:
    """Whether a location, perhaps with an interface behind it (``1-1.2:1.0``), is the wanted one."""
    return location is not None and (location == wanted or location.startswith(f"{wanted}:"))


def _is_mass_storage(location: str) -> bool:
    """Whether a disk is at a USB socket, and nothing that may be about to be a serial port (Linux tells)."""
    try:
        interfaces = SYSFS.glob(f"{location.partition(':')[0]}:*/bInterfaceClass")
        classes = {int(interface.read_text(), 16) for interface in interfaces}
    except (OSError, ValueError):
        return False
    return MASS_STORAGE in classes and not classes & SERIAL


def _shown(port: PortInfo) -> str:
    details = [f"serial={port.serial_number}" if port.serial_number else "", f"location={port.location}"]
    return f"{port.url} ({port.vid:04x}:{port.pid:04x} {' '.join(filter(None, details))})"


class _Factory:
    options = UsbOptions
    layer = False

    async def connect(self, endpoint: Endpoint, options: UsbOptions, over: Transport | None) -> Transport:
        port = await run_sync(find, endpoint, describe(endpoint, options), abandon_on_cancel=True)
        device = Endpoint(("serial",), path=port.url)
        return await find_factory("serial").connect(device, options, None)

    async def listen(self, endpoint: Endpoint, options: UsbOptions, over: Listener | None) -> Listener:
        raise EndpointError(f"'{endpoint}': a serial port is connected to, it cannot listen")


factory: TransportFactory = _Factory()
