"""Serial ports on networks: share, flash and watch a board from anywhere.

>>> import serialnet
"""

from importlib import import_module
from typing import TYPE_CHECKING

from ._version import __version__

if TYPE_CHECKING:
    from . import hooks, resets
    from .bridge import Bridge, BridgeEnd, BridgeStats, Direction, Forward, Hook
    from .core.endpoint import Endpoint
    from .core.errors import (
        BridgeError,
        EndpointError,
        LineError,
        LineTimeoutError,
        LineUnsupportedError,
        MassStorageError,
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
    from .port_list import PortHolder, PortInfo, PortSource, ports
    from .port_watch import PortAdded, PortEvent, PortRemoved, watch_ports
    from .serving.access import Access
    from .serving.link import ClientWaiting, Link, LinkEvent, LinkStats, SessionEnded, SessionStarted, link
    from .serving.policies import Early, Gap, GapPolicy, Reconnect
    from .serving.relay import (
        BoardLost,
        BoardRegistered,
        ClientPaired,
        ClientParted,
        Relay,
        RelayEvent,
        RelayStats,
        relay,
    )
    from .serving.server import (
        ClientConnected,
        ClientLeft,
        ClientRefused,
        Server,
        ServerEvent,
        ServerStats,
        serve,
    )
    from .serving.sharing import NextWriter, Role, Sharing, SlowWatcher
    from .values.events import InputsChanged, LineErrors, LineEvent, Lost, Restored, SettingsChanged
    from .values.requests import (
        Configure,
        GetInputs,
        InForce,
        LineRequest,
        PurgeRequest,
        SendBreak,
        SetOutputs,
    )
    from .values.settings import FlowControl, Inputs, LineSettings, Outputs, Parity, Purge, StopBits

__all__ = [
    "Access",
    "AskingTransport",
    "BoardLost",
    "BoardRegistered",
    "Bridge",
    "BridgeEnd",
    "BridgeError",
    "BridgeStats",
    "ClientConnected",
    "ClientLeft",
    "ClientPaired",
    "ClientParted",
    "ClientRefused",
    "ClientWaiting",
    "Configure",
    "Direction",
    "Early",
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
    "MassStorageError",
    "NextWriter",
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
    "Relay",
    "RelayEvent",
    "RelayStats",
    "Restored",
    "Role",
    "SendBreak",
    "SerialnetError",
    "Server",
    "ServerEvent",
    "ServerStats",
    "SessionEnded",
    "SessionStarted",
    "SetOutputs",
    "SettingsChanged",
    "Sharing",
    "SlowWatcher",
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
    "relay",
    "resets",
    "serve",
    "watch_ports",
]

if not TYPE_CHECKING:
    # A name's module is loaded when the name is first asked for (PEP 562).
    _MODULES = {
        "bridge": "Bridge BridgeEnd BridgeStats Direction Forward Hook",
        "core.endpoint": "Endpoint",
        "core.errors": (
            "BridgeError EndpointError LineError LineTimeoutError LineUnsupportedError "
            "MassStorageError OpenError PortBusyError SerialnetError UnknownSchemeError"
        ),
        "core.line": "Line",
        "core.opening": "Opening connect listen",
        "core.options": "option",
        "core.registry": "TransportFactory register_transport",
        "core.transport": "AskingTransport Listener Transport TransportAttribute",
        "hooks": "hooks",
        "port_list": "PortHolder PortInfo PortSource ports",
        "port_watch": "PortAdded PortEvent PortRemoved watch_ports",
        "resets": "resets",
        "serving.access": "Access",
        "serving.link": "ClientWaiting Link LinkEvent LinkStats SessionEnded SessionStarted link",
        "serving.policies": "Early Gap GapPolicy Reconnect",
        "serving.relay": (
            "BoardLost BoardRegistered ClientPaired ClientParted Relay RelayEvent RelayStats relay"
        ),
        "serving.server": "ClientConnected ClientLeft ClientRefused Server ServerEvent ServerStats serve",
        "serving.sharing": "NextWriter Role Sharing SlowWatcher",
        "values.events": "InputsChanged LineErrors LineEvent Lost Restored SettingsChanged",
        "values.requests": "Configure GetInputs InForce LineRequest PurgeRequest SendBreak SetOutputs",
        "values.settings": "FlowControl Inputs LineSettings Outputs Parity Purge StopBits",
    }
    _HOMES = {name: module for module, names in _MODULES.items() for name in names.split()}

    def __getattr__(name):
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module = import_module(f".{_HOMES[name]}", __name__)
        value = globals()[name] = module if name == _HOMES[name] else getattr(module, name)
        return value

    def __dir__():
        return sorted({*globals(), *__all__})
