"""SLIP framing (RFC 1055): END, the escaped payload, END."""

from collections.abc import Iterator

__all__ = ["END", "Decoder", "encode"]

END = b"\xc0"
ESC = b"\xdb"
ESCAPED_END = b"\xdb\xdc"
ESCAPED_ESC = b"\xdb\xdd"


def encode(payload: bytes) -> bytes:
    """Put a payload into a frame."""
    return END + payload.replace(ESC, ESCAPED_ESC).replace(END, ESCAPED_END) + END


def _decode(frame: bytes) -> bytes | None:
    if frame.count(ESC) != frame.count(ESCAPED_END) + frame.count(ESCAPED_ESC):
        return None
    return frame.replace(ESCAPED_END, END).replace(ESCAPED_ESC, ESC)


class Decoder:
    """Takes a byte stream apart; drops frames that are too long or wrongly escaped.

    Noise between two frames counts as a frame of its own, for whoever parses it to drop.

    :param max_frame: bytes of the longest payload that is passed on
    """

    def __init__(self, max_frame: int) -> None:
        self._max_frame = max_frame
        self._partial = bytearray()
        self._overlong = False

    @property
    def in_frame(self) -> bool:
        """Whether part of a frame has come, and its end has not."""
        return self._overlong or bool(self._partial)

    def receive(self, data: bytes) -> Iterator[bytes]:
        """Take the next bytes of the stream, give the payloads that they complete."""
        *complete, rest = data.split(END)
        for piece in complete:
            self._append(piece)
            frame, overlong = bytes(self._partial), self._overlong
            self._partial.clear()
            self._overlong = False
            if frame and not overlong:
                payload = _decode(frame)
                if payload is not None and len(payload) <= self._max_frame:
                    yield payload
        self._append(rest)

    def _append(self, piece: bytes) -> None:
        # Escaped, a payload can be twice as long.
        if self._overlong or len(self._partial) + len(piece) > 2 * self._max_frame:
            self._partial.clear()
            self._overlong = True
        else:
            self._partial += piece
