"""What serialnet raises beside anyio's errors.

::

    SerialnetError
    ├── EndpointError (ValueError)     a URL or an option that cannot be used
    │   └── UnknownSchemeError         no transport of that name
    ├── OpenError (OSError)            what cannot be opened
    │   ├── PortBusyError              somebody else has it
    │   └── MassStorageError           the device is there as a disk, without a serial port
    ├── LineError                      a line did not do what was asked
    │   ├── LineTimeoutError (TimeoutError)
    │   └── LineUnsupportedError
    └── BridgeError                    ends that cannot be joined

A stream that breaks or ends raises what anyio's streams raise: ``EndOfStream``, ``BrokenResourceError``,
``ClosedResourceError``, ``BusyResourceError``.
"""

__all__ = [
    "BridgeError",
    "EndpointError",
    "LineError",
    "LineTimeoutError",
    "LineUnsupportedError",
    "MassStorageError",
    "OpenError",
    "PortBusyError",
    "SerialnetError",
    "UnknownSchemeError",
]


class SerialnetError(Exception):
    """The root of what serialnet raises."""


class EndpointError(SerialnetError, ValueError):
    """A URL or an option that cannot be used; the message says what was expected."""


class UnknownSchemeError(EndpointError):
    """A URL whose scheme no transport is registered for."""


class OpenError(SerialnetError, OSError):
    """An endpoint that could not be opened."""

    def __str__(self) -> str:
        return self.strerror or super().__str__()  # without OSError's "[Errno ...]"


class PortBusyError(OpenError):
    """A port that somebody else holds."""


class MassStorageError(OpenError):
    """A board that is there as mass storage only, as some boot loaders are: it waits for a file."""


class LineError(SerialnetError):
    """A line did not do what was asked; what was in force before still is."""


class LineTimeoutError(LineError, TimeoutError):
    """A line made no progress, or gave no answer, in its time."""


class LineUnsupportedError(LineError):
    """This line cannot do that at all."""


class BridgeError(SerialnetError):
    """Two transports that cannot be joined."""
