"""Serial ports on networks: share, flash and watch a board from anywhere.

>>> import serialnet
"""

from . import hooks, resets
from ._version import __version__
from .bridge import Bridge, BridgeEnd, BridgeStats, Direction, Forward, Hook
from .core.endpoint import Endpoint
from .core.errors import (
    BridgeError,
    EndpointError,
    LineError,
    LineTimeoutError,
    LineUnsupportedError,
    OpenError,
    PortBusyError,
    SerialnetError,
    UnknownSchemeError,
)
from .core.line import Line
from .core.opening import Opening, connect, listen
from .core.options import option
from .core.registry import TransportFactory, register_transport
from .core.transport import AskingTransport, Listener, Transport, TransportAttribute
from .port_watch import PortAdded, PortEvent, PortRemoved, watch_ports
from .ports import PortHolder, PortInfo, PortSource, ports
from .serving import (
    Access,
    ClientConnected,
    ClientLeft,
    ClientRefused,
    ClientWaiting,
    Gap,
    GapPolicy,
    Link,
    LinkEvent,
    LinkStats,
    Reconnect,
    Server,
    ServerEvent,
    ServerStats,
    SessionEnded,
    SessionStarted,
    link,
    serve,
)
from .values.events import InputsChanged, LineErrors, LineEvent, Lost, Restored, SettingsChanged
from .values.requests import Configure, GetInputs, InForce, LineRequest, PurgeRequest, SendBreak, SetOutputs
from .values.settings import FlowControl, Inputs, LineSettings, Outputs, Parity, Purge, StopBits

__all__ = [
    "Access",
    "AskingTransport",
    "Bridge",
    "BridgeEnd",
    "BridgeError",
    "BridgeStats",
    "ClientConnected",
    "ClientLeft",
    "ClientRefused",
    "ClientWaiting",
    "Configure",
    "Direction",
    "Endpoint",
    "EndpointError",
    "FlowControl",
    "Forward",
    "Gap",
    "GapPolicy",
    "GetInputs",
    "Hook",
    "InForce",
    "Inputs",
    "InputsChanged",
    "Line",
    "LineError",
    "LineErrors",
    "LineEvent",
    "LineRequest",
    "LineSettings",
    "LineTimeoutError",
    "LineUnsupportedError",
    "Link",
    "LinkEvent",
    "LinkStats",
    "Listener",
    "Lost",
    "OpenError",
    "Opening",
    "Outputs",
    "Parity",
    "PortAdded",
    "PortBusyError",
    "PortEvent",
    "PortHolder",
    "PortInfo",
    "PortRemoved",
    "PortSource",
    "Purge",
    "PurgeRequest",
    "Reconnect",
    "Restored",
    "SendBreak",
    "SerialnetError",
    "Server",
    "ServerEvent",
    "ServerStats",
    "SessionEnded",
    "SessionStarted",
    "SetOutputs",
    "SettingsChanged",
    "StopBits",
    "Transport",
    "TransportAttribute",
    "TransportFactory",
    "UnknownSchemeError",
    "__version__",
    "connect",
    "hooks",
    "link",
    "listen",
    "option",
    "ports",
    "register_transport",
    "resets",
    "serve",
    "watch_ports",
]
