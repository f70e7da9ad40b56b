"""Ready-made hooks, to be given to a bridge or a server.

>>> import serialnet
>>> from serialnet.hooks import OnConnect
>>> serving = serialnet.serve("/dev/ttyUSB0", "tcp://127.0.0.1:4001", hooks=[OnConnect("dtr-pulse")])
"""

from ._auto_reset import AutoReset
from ._flash_assist import FlashAssist
from ._limits import IdleTimeout, SessionLimit
from ._sequences import OnConnect, OnDisconnect, OnFirstData
from ._statistics import Statistics
from ._touch import Touch

__all__ = [
    "AutoReset",
    "FlashAssist",
    "IdleTimeout",
    "OnConnect",
    "OnDisconnect",
    "OnFirstData",
    "SessionLimit",
    "Statistics",
    "Touch",
]
