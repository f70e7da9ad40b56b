"""Bridges: two transports joined for one session, and the hooks that look on."""

from .bridge import Bridge
from .hook import Direction, Forward, Hook
from .stats import BridgeEnd, BridgeStats

__all__ = ["Bridge", "BridgeEnd", "BridgeStats", "Direction", "Forward", "Hook"]
