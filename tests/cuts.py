"""A network that can be cut where it hurts: a proxy that closes, resets or stalls what passes."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum

import anyio
import anyio.abc

ABORT = struct.pack("ii", 1, 0)  # SO_LINGER: closing resets the connection
GONE = (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)


class How(Enum):
    """What becomes of connections, and of those who connect before the network is mended."""

    CLOSE = "close"
    RESET = "reset"
    STALL = "stall"
    """Nobody hears a word, nor that there will be none."""


@dataclass
class Trap:
    """Cuts the network when so many bytes, or these, have passed in a direction; what follows is late."""

    to_server: bool
    behind: int | bytes
    how: How
    passed: bytes = b""

    def split(self, data: bytes) -> tuple[bytes, bytes] | None:
        """What passes and what does not, once it springs."""
        before, self.passed = len(self.passed), self.passed + data
        if isinstance(self.behind, int):
            end = self.behind if len(self.passed) >= self.behind else -1
        else:
            at = self.passed.find(self.behind)
            end = -1 if at < 0 else at + len(self.behind)
        return None if end < 0 else (data[: end - before], data[end - before :])


class Network:
    """What lies between those who connect to :attr:`port` and a server."""

    def __init__(self, target: int) -> None:
        self.port = 0
        self.connections = 0
        """How many there have been."""
        self.is_cut = anyio.Event()
        self._target = target
        self._how: How | None = None
        self._mended = anyio.Event()
        self._trap: Trap | None = None
        self._scopes: set[anyio.CancelScope] = set()

    def cut(self, how: How) -> None:
        """Cut it now."""
        self._how = how
        if how is How.STALL:
            self._mended = anyio.Event()
        else:
            self._end_all()
        self.is_cut.set()

    def cut_behind(self, behind: int | bytes, how: How, *, to_server: bool) -> None:
        """Set a :class:`Trap`."""
        self.is_cut = anyio.Event()
        self._trap = Trap(to_server, behind, how)

    def mend(self, *, resume: bool = False) -> None:
        """Let bytes and connections through again.

        :param resume: what stalled goes on; otherwise it is reset
        """
        self._how = None
        if not resume:
            self._end_all()
        self._mended.set()

    def _end_all(self) -> None:
        for scope in self._scopes:
            scope.cancel()

    async def carry(self, client: anyio.abc.SocketStream) -> None:
        """Carry a connection."""
        self.connections += 1
        streams = [client]
        scope = anyio.CancelScope()
        self._scopes.add(scope)
        try:
            with scope:
                if self._how is How.STALL:
                    await self._mended.wait()
                if self._how is None:
                    with anyio.CancelScope(shield=True):  # cancelled, it may leave a socket open
                        streams.append(await anyio.connect_tcp("127.0.0.1", self._target))
                    await self._carry_both(scope, *streams)
        finally:
            self._scopes.remove(scope)
            for stream in streams:
                if scope.cancel_called and self._how is not How.CLOSE:
                    sock = stream.extra(anyio.abc.SocketAttribute.raw_socket)
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
                with anyio.CancelScope(shield=True):
                    await anyio.aclose_forcefully(stream)

    async def _carry_both(
        self, scope: anyio.CancelScope, client: anyio.abc.SocketStream, server: anyio.abc.SocketStream
    ) -> None:
        async with anyio.create_task_group() as tasks:
            for source, sink, to_server in ((client, server, True), (server, client, False)):
                tasks.start_soon(self._carry, source, sink, to_server, scope)

    async def _carry(
        self,
        source: anyio.abc.SocketStream,
        sink: anyio.abc.SocketStream,
        to_server: bool,
        scope: anyio.CancelScope,
    ) -> None:
        try:
            async for data in source:
                if self._how is How.STALL:
                    await self._mended.wait()
                if scope.cancel_called:  # a trap is not meant for what is over
                    return
                trap = self._trap
                if trap and trap.to_server is to_server and (parts := trap.split(data)):
                    self._trap = None
                    await sink.send(parts[0])
                    self.cut(trap.how)
                    await self._mended.wait()
                    data = parts[1]
                await sink.send(data)
            await sink.send_eof()
        except GONE:
            scope.cancel()


@asynccontextmanager
async def network(target: int) -> AsyncIterator[Network]:
    """Put a network before a port of this machine; it has another number there."""
    made = Network(target)
    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
    ):
        made.port = listener.extra(anyio.abc.SocketAttribute.local_port)
        tasks.start_soon(listener.serve, made.carry)
        yield made
        tasks.cancel_scope.cancel()
