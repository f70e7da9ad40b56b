"""A long way: what a client and a server send each other arrives later, in order."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import anyio.abc
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream


class Distance:
    """A proxy that holds back what passes.

    :param round_trip: seconds, half of them each way
    :param jitter: how much of that it may be more or less, evenly spread; no byte overtakes another
    """

    def __init__(self, target: int, round_trip: float, jitter: float) -> None:
        self.port = 0
        self.connections = 0
        self.turns = 0
        """How often the client spoke after it had heard something: so many round trips were used."""
        self._target = target
        self._delay = round_trip / 2
        self._jitter = jitter
        self._random = random.Random(0)
        self._heard = True

    async def connect(self, client: anyio.abc.SocketStream) -> None:
        self.connections += 1
        async with (
            client,
            await anyio.connect_tcp("127.0.0.1", self._target) as server,
            anyio.create_task_group() as tasks,
        ):
            for source, sink, is_client in ((client, server, True), (server, client, False)):
                put, take = anyio.create_memory_object_stream[tuple[float, bytes]](10_000)
                tasks.start_soon(self._read, source, put, is_client)
                tasks.start_soon(self._write, sink, take, is_client)

    async def _read(
        self,
        source: anyio.abc.SocketStream,
        put: MemoryObjectSendStream[tuple[float, bytes]],
        is_client: bool,
    ) -> None:
        due = 0.0
        with put:
            try:
                while True:
                    data = await source.receive()
                    delay = self._delay * self._random.uniform(1 - self._jitter, 1 + self._jitter)
                    due = max(due, anyio.current_time() + delay)
                    if is_client:
                        self.turns += self._heard
                        self._heard = False
                    await put.send((due, data))
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return

    async def _write(
        self,
        sink: anyio.abc.SocketStream,
        take: MemoryObjectReceiveStream[tuple[float, bytes]],
        from_client: bool,
    ) -> None:
        with take:
            async for due, data in take:
                await anyio.sleep_until(due)
                try:
                    await sink.send(data)
                except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                    return
                self._heard |= not from_client
        try:
            await sink.send_eof()
        except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
            return


@asynccontextmanager
async def distance(target: int, round_trip: float, jitter: float = 0.2) -> AsyncIterator[Distance]:
    """Put a port of this machine at a distance; it has another number there."""
    far = Distance(target, round_trip, jitter)
    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
    ):
        far.port = listener.extra(anyio.abc.SocketAttribute.local_port)
        tasks.start_soon(listener.serve, far.connect)
        yield far
        tasks.cancel_scope.cancel()
