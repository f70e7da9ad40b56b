"""The halves of a session's stream, lent: data is coded where it is copied, commands go to the session."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from typing_extensions import override

from ...core.loan import Sink, Source
from ...wire.escaping import escape, split

__all__ = ["SessionSink", "SessionSource"]

IAC = b"\xff"
# As much as is read ahead of a port that is stuck.
CHUNK = 65536


class SessionSource(Source):
    """Hands out data up to the next telnet command.

    :param over: the receiving half of the stream below
    :param give_back: takes what is for the session: a command and what follows it
    """

    __slots__ = ("_give_back", "_half", "_over", "_rest")

    def __init__(self, over: Source, give_back: Callable[[bytes], None]) -> None:
        super().__init__(over.descriptor)
        over.revoke = self._revoke
        self._over = over
        self._give_back = give_back
        # Whether the last read ended between two IACs, or what may be two.
        self._half = False
        self._rest = b""

    @override
    def read(self, buffer: memoryview) -> memoryview:
        wire = self._over.read(buffer[:CHUNK])
        if not wire:
            return wire
        if not self._half and cast(bytes, wire.obj).find(IAC, 0, len(wire)) < 0:
            return wire
        received = IAC + wire if self._half else bytes(wire)
        data, position = split(received)
        rest = received[position:]
        self._half = rest == IAC
        if rest and not self._half:
            self._rest = rest
            self.pauses = True
        elif not data:
            raise BlockingIOError
        return memoryview(data)

    @override
    def give_back(self, error: Exception | None) -> None:
        self._over.give_back(error)
        self._give_back(IAC if self._half else self._rest)

    def _revoke(self) -> None:
        self.revoke()


class SessionSink(Sink):
    """Escapes the data.

    :param over: the sending half of the stream below
    :param give_back: takes what is unsent of escaped data
    """

    __slots__ = ("_give_back", "_over")

    def __init__(self, over: Sink, give_back: Callable[[bytes], None]) -> None:
        super().__init__(over.descriptor, over.write, encode=_escaped)
        over.revoke = self._revoke
        self._over = over
        self._give_back = give_back

    @override
    def remainder(self, wire: memoryview, sent: int) -> int:
        # All IACs are in pairs, of which one may have been cut.
        return bytes(wire[:sent]).count(IAC) % 2

    @override
    def give_back(self, unsent: bytes) -> bytes:
        self._over.give_back(b"")
        self._give_back(unsent)
        return b""

    def _revoke(self) -> None:
        self.revoke()


def _escaped(data: memoryview) -> memoryview:
    return memoryview(escape(data))
