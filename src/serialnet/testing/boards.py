"""A board for a test: a simulated one, or a real one, behind a blocking port that keeps a transcript."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import anyio
from typing_extensions import Buffer, override

from ..chips import Board
from ..core.errors import EndpointError
from ..core.opening import connect
from ..core.transport import Transport
from ..sync import Port
from ..sync._held import Held
from ..transports.sim import SimulatedTransport
from ..values.settings import Purge

__all__ = ["SerialBoard", "open_board"]

# A transcript keeps the last of so many lines, and of so many bytes in a line.
MOST_LINES = 200
MOST_IN_LINE = 400
# How long the last words of a board may take to arrive.
LAST_WORDS = 0.1


class SerialBoard(Port):
    """A port with a board behind it, from the fixture ``serial_board``.

    :ivar board: the board itself, to look at, if it is a simulated one
    """

    def __init__(self, held: Held[Transport]) -> None:
        super().__init__(held)
        assert isinstance(self.transport, _Recorded)
        self._recorded = self.transport
        over = self._recorded.over
        self.board: Board | None = over.board if isinstance(over, SimulatedTransport) else None

    def transcript(self) -> str:
        """What was sent (``>``) and received (``<``) so far, what has not been read included."""
        self._held.call(None, self._last_words)
        return str(self._recorded)

    async def _last_words(self) -> None:
        with anyio.move_on_after(LAST_WORDS):
            try:
                while True:
                    await self._received.receive()
                    self._received.clear()
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.BusyResourceError):
                pass


@contextmanager
def open_board(url: str | None = None, chip: str = "esp32", **options: object) -> Iterator[SerialBoard]:
    """Open a board, and restart it into its application; what it said before is thrown away.

    :param url: the port of a real one; ``None``: simulate ``chip``, with the options of ``sim://``
    :raises EndpointError: if there are no lines to restart it with
    """
    opening = connect(f"sim://{chip}", **options) if url is None else connect(url)

    @asynccontextmanager
    async def recorded() -> AsyncIterator[Transport]:
        async with opening as transport:
            yield _Recorded(transport)

    with SerialBoard(Held(recorded())) as board:
        if board.line is None:
            raise EndpointError(f"{url} carries no DTR and RTS; expected a serial port or rfc2217://")
        board.line.purge(Purge.RECEIVED)
        board.reset()
        yield board


class _Recorded(Transport):
    """A transport that keeps in mind what passes."""

    def __init__(self, over: Transport) -> None:
        self.over = over
        self.line = over.line
        self.can_send_eof = over.can_send_eof
        self._lines: deque[tuple[str, bytearray]] = deque(maxlen=MOST_LINES)

    @override
    async def receive_into(self, buffer: Buffer) -> int:
        n = await self.over.receive_into(buffer)
        self._record("<", memoryview(buffer).cast("B")[:n])
        return n

    @override
    async def send_some(self, data: Buffer) -> int:
        n = await self.over.send_some(data)
        self._record(">", memoryview(data).cast("B")[:n])
        return n

    @override
    async def send_eof(self) -> None:
        await self.over.send_eof()

    @override
    async def aclose(self) -> None:
        await self.over.aclose()

    @property
    @override
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return self.over.extra_attributes

    def _record(self, sign: str, data: memoryview) -> None:
        for part in bytes(data).splitlines(keepends=True):
            last = self._lines[-1] if self._lines else None
            if last is None or last[0] != sign or last[1].endswith(b"\n") or len(last[1]) >= MOST_IN_LINE:
                self._lines.append((sign, bytearray(part[:MOST_IN_LINE])))
            else:
                last[1].extend(part[:MOST_IN_LINE])

    def __str__(self) -> str:
        if not self._lines:
            return "nothing was sent or received"
        return "\n".join(f"{sign} {repr(bytes(line))[2:-1]}" for sign, line in self._lines)
