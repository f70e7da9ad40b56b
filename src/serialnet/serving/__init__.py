"""Serving: ports on listeners, links between endpoints, and who may use them."""

from .access import Access
from .link import ClientWaiting, Link, LinkEvent, LinkStats, SessionEnded, SessionStarted, link
from .policies import Early, Gap, GapPolicy, Reconnect
from .relay import (
    BoardLost,
    BoardRegistered,
    ClientPaired,
    ClientParted,
    Relay,
    RelayEvent,
    RelayStats,
    relay,
)
from .server import ClientConnected, ClientLeft, ClientRefused, Server, ServerEvent, ServerStats, serve

__all__ = [
    "Access",
    "BoardLost",
    "BoardRegistered",
    "ClientConnected",
    "ClientLeft",
    "ClientPaired",
    "ClientParted",
    "ClientRefused",
    "ClientWaiting",
    "Early",
    "Gap",
    "GapPolicy",
    "Link",
    "LinkEvent",
    "LinkStats",
    "Reconnect",
    "Relay",
    "RelayEvent",
    "RelayStats",
    "Server",
    "ServerEvent",
    "ServerStats",
    "SessionEnded",
    "SessionStarted",
    "link",
    "relay",
    "serve",
]
