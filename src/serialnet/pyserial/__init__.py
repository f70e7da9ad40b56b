"""pyserial's face: ``serialnet.pyserial.Serial(url)`` is an object as :class:`serial.Serial` is one.

>>> import serialnet.pyserial
"""

from ._environment import environment, pyserial_url
from ._serial import Serial
from .handlers import install, uninstall

__all__ = ["Serial", "environment", "install", "pyserial_url", "uninstall"]
