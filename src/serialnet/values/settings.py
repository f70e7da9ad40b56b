"""What a serial line is set to, what we drive and what we see.

The names are those of POSIX termios(3), tty_ioctl(4) and pyserial.
"""

from dataclasses import dataclass
from enum import Enum, Flag

__all__ = ["FlowControl", "Inputs", "LineSettings", "Outputs", "Parity", "Purge", "StopBits"]


class Parity(Enum):
    """The parity bit; the values are pyserial's letters."""

    NONE = "N"
    ODD = "O"
    EVEN = "E"
    MARK = "M"
    SPACE = "S"


class StopBits(Enum):
    """How many stop bits end a character; the values are pyserial's numbers."""

    ONE = 1.0
    ONE_POINT_FIVE = 1.5
    TWO = 2.0


class FlowControl(Enum):
    """Who may stop the sender, and how."""

    NONE = "none"
    XONXOFF = "xonxoff"
    RTSCTS = "rtscts"


@dataclass(frozen=True, slots=True)
class LineSettings:
    """The settings of a serial line, as one value.

    :param baudrate: bits per second, above 0
    :param bytesize: data bits, 5 to 8
    :raises ValueError: if a value is outside its range
    """

    baudrate: int = 115200
    bytesize: int = 8
    parity: Parity = Parity.NONE
    stopbits: StopBits = StopBits.ONE
    flow: FlowControl = FlowControl.NONE

    def __post_init__(self) -> None:
        if not 0 < self.baudrate < 2**32:
            raise ValueError(f"baudrate must be from 1 to {2**32 - 1}, not {self.baudrate}")
        if self.bytesize not in (5, 6, 7, 8):
            raise ValueError(f"bytesize must be 5, 6, 7 or 8, not {self.bytesize}")

    @property
    def bits_per_character(self) -> float:
        """The bits that one character takes on the wire, the start bit included."""
        return 1 + self.bytesize + (self.parity is not Parity.NONE) + self.stopbits.value

    def __str__(self) -> str:
        return f"{self.baudrate} {self.bytesize}{self.parity.value}{self.stopbits.value:g}"


@dataclass(frozen=True, slots=True)
class Outputs:
    """What we drive: the modem control lines DTR and RTS (true = asserted), and BREAK (``brk``)."""

    dtr: bool = False
    rts: bool = False
    brk: bool = False


@dataclass(frozen=True, slots=True)
class Inputs:
    """What we see: the modem status lines CTS, DSR, RI (ring) and CD (carrier); true = asserted."""

    cts: bool = False
    dsr: bool = False
    ri: bool = False
    cd: bool = False


class Purge(Flag):
    """Whose bytes to throw away: the values are those of RFC 2217's PURGE-DATA."""

    RECEIVED = 1
    UNSENT = 2
    BOTH = 3
