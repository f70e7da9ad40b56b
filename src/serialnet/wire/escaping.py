"""What stands between data and a telnet stream: doubled IACs (RFC 854) and the CR NUL of a terminal.

All of it works on whole chunks. Erased flash is all 0xFF, each byte of which travels as two: hence the
special cases for runs of it.
"""

import re

from typing_extensions import Buffer

__all__ = ["NvtDecoder", "NvtEncoder", "escape", "split"]

_IAC = b"\xff"
_PAIR = b"\xff\xff"
_RUN = _IAC * 64
_RUN_ESCAPED = _PAIR * 64
_FIRST_WINDOW = 512

# Data, its IACs in pairs. Possessive, because backtracking into it could never help a match.
_DATA = re.compile(rb"[^\xff]*+(?:\xff\xff[^\xff]*+)*+")


def escape(data: Buffer) -> bytes:
    """Double each IAC, as RFC 854 and 856 demand of data in both NVT and BINARY mode.

    The escaped halves of data, joined, are the escaped whole.
    """
    raw = bytes(data)
    if _IAC not in raw:
        return raw
    if _is_all_iac(raw):
        return _IAC * (2 * len(raw))
    if _RUN in raw:
        return _RUN_ESCAPED.join(part.replace(_IAC, _PAIR) for part in raw.split(_RUN))
    return raw.replace(_IAC, _PAIR)


def split(wire: bytes, start: int = 0) -> tuple[bytes, int]:
    """Take the data that stands before the next command.

    :param wire: a telnet stream, from a point that is not within a command or between two IACs
    :param start: where to begin
    :return: the data, unescaped, and the position of the first IAC which is not one of a pair, or which
        may be: the last byte of ``wire``; the length of ``wire`` when there is none
    """
    first = wire.find(_IAC, start)
    if first < 0:
        return wire[start:], len(wire)
    if wire[first + 1 : first + 2] != _IAC:
        return wire[start:first], first
    # Testing a window for commands is quick and finding one is slow. The windows grow with the data that
    # was found to have none, so that a chunk full of commands is not searched through for each of them.
    parts: list[bytes] = []
    size = _FIRST_WINDOW
    while start < len(wire):
        window = wire[start : start + size]
        unescaped = _unescape(window)
        if unescaped is None:
            match = _DATA.match(wire, start, start + len(window))
            assert match is not None  # it matches the empty string
            parts.append(match.group().replace(_PAIR, _IAC))
            start = match.end()
            break
        data, length = unescaped
        if length == 0:
            break
        parts.append(data)
        start += length
        size *= 4
    return b"".join(parts), start


def _unescape(window: bytes) -> tuple[bytes, int] | None:
    """Unescape a window, but for half a pair at its end, unless there is a command in it."""
    length = len(window)
    if _IAC not in window:
        return window, length
    if _is_all_iac(window):
        return _IAC * (length // 2), length & ~1
    # A window that ends within a pair, or within a command, ends in an odd run.
    if window.endswith(_IAC) and (length - len(window.rstrip(_IAC))) % 2:
        length -= 1
        window = window[:length]
    data = window.replace(_PAIR, _IAC)
    # Pairs are found from left to right, so the IAC that begins the first command is in none of them: one
    # command is enough to leave IACs that were not halved.
    return (data, length) if 2 * (length - len(data)) == window.count(_IAC) else None


def _is_all_iac(data: bytes) -> bool:
    return data[:1] == data[-1:] == _IAC and data == _IAC * len(data)


class NvtEncoder:
    """Puts a NUL behind each CR that no LF follows (RFC 854, "The NVT printer and keyboard")."""

    def __init__(self) -> None:
        self._after_cr = False

    def encode(self, data: bytes) -> bytes:
        """Encode some data; what becomes of a CR at its end is decided by the data that follows."""
        if not data:
            return data
        nvt = data.replace(b"\r", b"\r\0").replace(b"\r\0\n", b"\r\n")
        if self._after_cr and data[0] != 0x0A:
            nvt = b"\0" + nvt
        self._after_cr = data.endswith(b"\r")
        return nvt[:-1] if self._after_cr else nvt


class NvtDecoder:
    """Takes the NUL behind a CR away again, without holding back a CR that ends a chunk."""

    def __init__(self) -> None:
        self._after_cr = False

    def decode(self, nvt: bytes) -> bytes:
        """Decode some data."""
        if not nvt:
            return nvt
        data = nvt[1:] if self._after_cr and nvt[0] == 0 else nvt
        self._after_cr = nvt.endswith(b"\r")
        return data.replace(b"\r\0", b"\r")
