"""Serving: ports on listeners, and who may use them."""

from .access import Access
from .server import Server, ServerStats, serve

__all__ = ["Access", "Server", "ServerStats", "serve"]
