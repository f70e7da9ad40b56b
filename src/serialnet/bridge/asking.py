"""The asking direction of a bridge: bytes and line requests, in their order, to the port."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable

import anyio
from typing_extensions import override

from ..core.transport import AskingTransport, Transport
from ..values.requests import Configure, LineRequest, PurgeRequest
from ..values.settings import Purge
from .pump import Gate, Pump, Shared, Tap, send_some
from .stats import Count

__all__ = ["AskingPump"]

STALLED_AFTER = 1.0
READ_AHEAD = 65536


class AskingPump(Pump):
    """Copies from an asker to a port, and carries each request out where it stands among the bytes.

    When the port takes nothing for :data:`STALLED_AFTER` seconds, up to :data:`READ_AHEAD` bytes are read
    ahead, and the purges and changes of DTR, RTS and BREAK among them are carried out at once, so that a
    stuck board can be reset; once the port takes bytes again, they wait for those before them, as ever.
    Settings met there wait for the bytes before them, and are refused if those make no progress.
    """

    def __init__(
        self,
        asker: AskingTransport,
        port: Transport,
        shared: Shared,
        count: Count,
        tap: Tap | None,
        gate: Gate | None,
        ask: Callable[[LineRequest], Awaitable[None]],
    ) -> None:
        super().__init__(asker, port, shared, count, tap, gate)
        self._asker = asker
        self._ask = ask

    @override
    async def _turn(self) -> None:
        buffer = self._room()
        item = await self._asker.receive_event(buffer)
        if isinstance(item, int):
            await self._send(buffer[:item])
        else:
            await self._ask(item)

    @override
    async def _deliver(self) -> None:
        if not self._sink.native_send_some:  # its send cannot be interrupted, so a stall cannot be told
            await super()._deliver()
            return
        while self._pending:
            sent = 0
            with anyio.move_on_after(STALLED_AFTER):
                sent = await send_some(self._sink, self._pending)
            if not sent:
                pending, self._pending = self._pending, self._pending[:0]
                await _Stall(self, pending).run()
                return
            self._taken += sent
            self._pending = self._pending[sent:]


class _Stall:
    """A port that takes nothing: what it has yet to take, and what is read ahead meanwhile."""

    def __init__(self, pump: AskingPump, view: memoryview) -> None:
        self._pump = pump
        self._queue = deque([bytes(view)])
        self._size = len(view)
        self._reading = anyio.CancelScope()
        self._sending = anyio.CancelScope()
        self._progress = anyio.Event()
        self._is_stuck = True
        self._failure: Exception | None = None

    async def run(self) -> None:
        """Return when the port has taken all; end of file comes after that."""
        async with anyio.create_task_group() as tasks:
            for work in (self._send, self._receive):
                tasks.start_soon(self._until_failure, work, tasks.cancel_scope)
        if self._failure is not None:
            raise self._failure

    async def _until_failure(self, work: Callable[[], Awaitable[None]], both: anyio.CancelScope) -> None:
        """Keep an error for :meth:`run` to raise: the task group would wrap it."""
        try:
            await work()
        except Exception as error:  # noqa: BLE001  # run() raises it
            self._failure = self._failure or error
            both.cancel()

    async def _receive(self) -> None:
        try:
            while self._queue:
                await self._read()
        except anyio.EndOfStream:
            self._pump._at_end = True
            await self._moving()
            raise

    async def _send(self) -> None:
        while self._queue:
            with anyio.CancelScope() as self._sending:
                chunk = self._queue[0]
                sent = await send_some(self._pump._sink, memoryview(chunk))
                self._is_stuck = False
                self._pump._taken += sent
                if self._queue and self._queue[0] is chunk:  # it may have been purged meanwhile
                    self._size -= sent
                    if sent < len(chunk):
                        self._queue[0] = chunk[sent:]
                    else:
                        self._queue.popleft()
            self._progress.set()
            self._progress = anyio.Event()
        self._reading.cancel()

    async def _read(self) -> None:
        room = READ_AHEAD - self._size
        if room <= 0:
            await self._progress.wait()
            return
        buffer = self._pump._room()
        item: int | LineRequest = 0
        with anyio.CancelScope() as self._reading:
            item = await self._pump._asker.receive_event(buffer[:room])
        if isinstance(item, int):
            if item and (data := bytes(await self._pump._admit(buffer[:item]))):
                self._queue.append(data)
                self._size += len(data)
        elif isinstance(item, Configure):
            if await self._moving():
                await self._pump._ask(item)
            else:
                await item.refuse()
        else:
            if not self._is_stuck:
                await self._moving()
            if isinstance(item, PurgeRequest) and Purge.UNSENT in item.what:
                self._queue.clear()
                self._size = 0
                self._sending.cancel()
            await self._pump._ask(item)

    async def _moving(self) -> bool:
        """Wait until the port has taken all; false once it made no progress for a while."""
        while self._queue:
            progress = self._progress
            with anyio.move_on_after(STALLED_AFTER):
                await progress.wait()
            if not progress.is_set():
                self._is_stuck = True
                return False
        return True
