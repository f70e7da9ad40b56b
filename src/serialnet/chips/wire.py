"""One direction of a serial line: bytes on their way, the time they take, what a wrong rate makes of them."""

from collections import deque
from dataclasses import dataclass, field

from ..values.settings import LineSettings

__all__ = ["Wire", "fits", "garble"]

#: Paced data arrives in pieces of so many bytes: finer would cost an event for each byte.
PIECE = 64

#: How far two rates may differ, as a part of the receiver's: beyond, stop bits are missed.
TOLERANCE = 0.03

# Noise that shows (bit 7 set, so it is no text) and holds no SLIP delimiter.
_NOISE: bytes = bytes(0x80 | byte * 37 & 0x7F for byte in range(256)).replace(b"\xc0", b"\xfe")


def fits(sender: LineSettings, receiver: LineSettings) -> bool:
    """Tell whether a receiver with these settings understands that sender."""
    return (
        abs(sender.baudrate - receiver.baudrate) <= TOLERANCE * receiver.baudrate
        and sender.bytesize == receiver.bytesize
        and sender.parity is receiver.parity
    )


def garble(data: bytes) -> bytes:
    """Give what a receiver reads that does not fit: always the same noise for the same bytes."""
    return data.translate(_NOISE)


@dataclass(slots=True)
class Wire:
    """Bytes on their way, each piece with the settings that it was sent with.

    :ivar pending: how many bytes are on their way
    :ivar free: when the last of them has arrived
    """

    paced: bool
    pending: int = 0
    free: float = float("-inf")
    _pieces: deque[tuple[float, LineSettings, bytes]] = field(default_factory=deque)

    @property
    def deadline(self) -> float | None:
        """When the next piece has arrived."""
        return self._pieces[0][0] if self._pieces else None

    def put(self, data: bytes, settings: LineSettings, now: float) -> None:
        """Send data after what is already on its way."""
        self.pending += len(data)
        self.free = max(self.free, now)
        if not self.paced:
            self._pieces.append((now, settings, data))
            return
        seconds = settings.bits_per_character / settings.baudrate
        for start in range(0, len(data), PIECE):
            piece = data[start : start + PIECE]
            self.free += len(piece) * seconds
            self._pieces.append((self.free, settings, piece))

    def take(self) -> tuple[LineSettings, bytes]:
        """Give the piece that arrives next."""
        _, settings, data = self._pieces.popleft()
        self.pending -= len(data)
        return settings, data

    def clear(self) -> None:
        """Lose what is on its way."""
        self._pieces.clear()
        self.pending = 0
        self.free = float("-inf")
