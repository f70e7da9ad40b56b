"""Bridges: two transports joined for one session, and the hooks that look on."""

from .bridge import Bridge, BridgeEnd, BridgeStats
from .hook import Direction, Forward, Hook

__all__ = ["Bridge", "BridgeEnd", "BridgeStats", "Direction", "Forward", "Hook"]
