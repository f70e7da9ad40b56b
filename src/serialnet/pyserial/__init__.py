"""pyserial's face: ``serialnet.pyserial.Serial(url)`` is an object as :class:`serial.Serial` is one.

>>> import serialnet.pyserial
"""

from ._serial import Serial

__all__ = ["Serial"]
