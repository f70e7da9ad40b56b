"""RFC 2217, the telnet COM port control option: both ends of a session, without I/O."""

from .client import Answered, Ask, ClientEvent, ComPortClient, Policy
from .codes import LineState
from .server import READ_AHEAD, ComPortServer
from .session import SIGNATURE

__all__ = [
    "READ_AHEAD",
    "SIGNATURE",
    "Answered",
    "Ask",
    "ClientEvent",
    "ComPortClient",
    "ComPortServer",
    "LineState",
    "Policy",
]
