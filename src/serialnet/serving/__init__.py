"""Serving: ports on listeners, and who may use them."""

from .access import Access
from .server import ClientConnected, ClientLeft, ClientRefused, Server, ServerEvent, ServerStats, serve

__all__ = [
    "Access",
    "ClientConnected",
    "ClientLeft",
    "ClientRefused",
    "Server",
    "ServerEvent",
    "ServerStats",
    "serve",
]
