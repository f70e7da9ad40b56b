"""Serving: ports on listeners, links between endpoints, and who may use them."""

from .access import Access
from .link import ClientWaiting, Link, LinkEvent, LinkStats, SessionEnded, SessionStarted, link
from .policies import Gap, GapPolicy, Reconnect
from .server import ClientConnected, ClientLeft, ClientRefused, Server, ServerEvent, ServerStats, serve

__all__ = [
    "Access",
    "ClientConnected",
    "ClientLeft",
    "ClientRefused",
    "ClientWaiting",
    "Gap",
    "GapPolicy",
    "Link",
    "LinkEvent",
    "LinkStats",
    "Reconnect",
    "Server",
    "ServerEvent",
    "ServerStats",
    "SessionEnded",
    "SessionStarted",
    "link",
    "serve",
]
