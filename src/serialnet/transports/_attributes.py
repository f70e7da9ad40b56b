"""What the transports of serial ports tell of the devices behind them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core.endpoint import Endpoint
from ..core.transport import TransportAttribute
from ..port_list import PortInfo

__all__ = ["port_attributes"]


def port_attributes(endpoint: Endpoint, port: PortInfo | None) -> dict[Any, Callable[[], Any]]:
    """The typed attributes of an open serial port.

    :param port: what the listing says of it, if it is there
    """
    attributes: dict[Any, Callable[[], Any]] = {TransportAttribute.url: lambda: str(endpoint)}
    if port is not None and port.vid is not None and port.pid is not None:
        usb = port.vid, port.pid
        attributes[TransportAttribute.usb] = lambda: usb
    if port is not None and port.location is not None:
        attributes[TransportAttribute.location] = lambda: port.location
    return attributes
