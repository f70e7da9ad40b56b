"""Who works with whom: the one table that the tests check and the documentation shows.

``python -m tests.interop.matrix`` prints the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum


class Can(Enum):
    """What a serial port does for a program."""

    BYTES = "all bytes"
    SETTINGS = "settings"
    OUTPUTS = "DTR, RTS"
    BREAK = "BREAK"
    INPUTS = "CTS, DSR, RI, CD"
    PURGE = "purge"


@dataclass(frozen=True)
class Peer:
    """A program that was tested: all of :class:`Can` works, but for what is told."""

    name: str
    version: str
    how: str
    but: Mapping[Can, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Tool:
    """A program with one job."""

    name: str
    version: str
    how: str
    job: str


SERVERS = {
    "ser2net": Peer("ser2net", "4.3.11", "`telnet(rfc2217),tcp`"),
    "pyserial": Peer("pyserial", "3.5", "`serial.rfc2217.PortManager`"),
    "esptool": Peer("esp_rfc2217_server", "esptool 5.6.0", "`rfc2217://...?ign_set_control`"),
    "sredird": Peer("sredird", "2.2.1", "by socat, as inetd calls it"),
    "gensio": Peer("gensiot", "2.6.2", "`-a telnet(rfc2217),tcp`"),
}
