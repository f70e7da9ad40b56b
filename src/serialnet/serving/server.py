"""``serve``: one port, any number of listeners, one client at a time."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from ..bridge import Bridge, BridgeEnd, Hook
from ..bridge.bridge import STREAM_ERRORS
from ..bridge.hook import HookFactory
from ..core.endpoint import Endpoint
from ..core.opening import check, connect, listen
from ..core.transport import Listener, Transport, TransportAttribute
from ..hooks import AutoReset
from .access import Access
from .lease import Lease

__all__ = ["ClientConnected", "ClientLeft", "ClientRefused", "Server", "ServerEvent", "ServerStats", "serve"]

logger: logging.Logger = logging.getLogger("serialnet.server")

# A client that has closed its connection may be noticed a moment after the next one is there.
GRACE = 0.1
# How long a session that is ending may keep the next client waiting.
HANDOVER = 20.0
MOST_WAITING = 8
MOST_EVENTS = 64
LOOPBACK_ONLY = Access()


@dataclass(slots=True)
class ServerStats:
    """What a server has done so far."""

    sessions: int = 0
    refused: int = 0
    bytes_to_port: int = 0
    bytes_from_port: int = 0
    bytes_discarded: int = 0


@dataclass(frozen=True, slots=True)
class ClientConnected:
    """A client uses the port now."""

    client: str


@dataclass(frozen=True, slots=True)
class ClientRefused:
    """A client was turned away."""

    client: str
    reason: str


@dataclass(frozen=True, slots=True)
class ClientLeft:
    """A client uses the port no longer."""

    client: str
    end: BridgeEnd


ServerEvent: TypeAlias = ClientConnected | ClientRefused | ClientLeft


class Server:
    """A port that is being served; :func:`serve` makes it."""

    def __init__(
        self,
        port: Transport,
        name: str,
        listeners: Sequence[Listener],
        hooks: Sequence[Hook | HookFactory],
        access: Access,
    ) -> None:
        self.stats: ServerStats = ServerStats()
        self._port = port
        self._name = name
        self._listeners = listeners
        self._hooks = hooks
        self._access = access
        self._watchers: list[
            tuple[MemoryObjectSendStream[ServerEvent], MemoryObjectReceiveStream[ServerEvent]]
        ] = []
        self._session: _Session | None = None
        self._waiting = 0
        self._idle = anyio.Event()
        self._idle_scope = anyio.CancelScope()
        self._port_in_use = anyio.Lock()
        self._over = anyio.Event()
        self._error: Exception | None = None

    @property
    def urls(self) -> list[str]:
        """Where the listeners listen, with the ports that were chosen."""
        return [url for listener in self._listeners for url in listener.urls]

    async def wait(self) -> None:
        """Wait until the port is lost; for ever, if it is not.

        :raises ~anyio.BrokenResourceError: when the port is lost
        """
        await self._over.wait()
        raise anyio.BrokenResourceError(f"{self._name}: {self._error}") from self._error

    @asynccontextmanager
    async def events(self) -> AsyncIterator[AsyncIterator[ServerEvent]]:
        """Watch clients come and go: ``async with server.events() as events: async for event in events``.

        Whoever falls behind by more than 64 events misses the oldest.
        """
        send, receive = anyio.create_memory_object_stream[ServerEvent](MOST_EVENTS)
        with send, receive:
            self._watchers.append((send, receive))
            try:
                yield receive
            finally:
                self._watchers.remove((send, receive))

    async def run(self) -> None:
        """Accept clients until the port is lost."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._discard)
            for listener in self._listeners:
                tasks.start_soon(listener.serve, self._client, tasks)
            await self._over.wait()
            tasks.cancel_scope.cancel()
        for listener in self._listeners:  # lest clients wait for nothing
            await listener.aclose()

    async def _client(self, client: Transport) -> None:
        peer = client.extra(TransportAttribute.peer, None)
        name = peer or "a client"
        try:
            if not self._access.permits(peer):
                self._refuse(name, "its address is in none of the networks that may connect")
            elif reason := await self._busy():
                self._refuse(name, reason)
            else:
                await self._converse(client, name)
        except Exception:
            logger.exception("the session of %s failed", name)
        finally:
            await anyio.aclose_forcefully(client)

    def _refuse(self, name: str, reason: str) -> None:
        self.stats.refused += 1
        logger.warning("refused %s: %s", name, reason)
        self._tell(ClientRefused(name, reason))

    async def _busy(self) -> str | None:
        """Why the port cannot be had; sessions that are ending are waited for, one after the other."""
        if self._session is not None and self._waiting < MOST_WAITING:
            self._waiting += 1
            try:
                with anyio.move_on_after(HANDOVER):
                    while await self._is_ending(self._session):
                        pass
            finally:
                self._waiting -= 1
        return f"{self._session.name} uses the port" if self._session is not None else None

    @staticmethod
    async def _is_ending(session: _Session | None) -> bool:
        """Wait for the end of a session, if it has one: false if there is none, or it goes on."""
        if session is None:
            return False
        if not session.bridge.lingering:
            with anyio.move_on_after(GRACE):
                await session.over.wait()
        if session.bridge.lingering:
            session.bridge.hurry()
            await session.over.wait()
        return session.over.is_set()

    async def _converse(self, client: Transport, name: str) -> None:
        bridge = Bridge(client, Lease(self._port), hooks=self._hooks)
        session = self._session = _Session(name, bridge)
        self.stats.sessions += 1
        logger.info("%s uses the port", name)
        self._tell(ClientConnected(name))
        end: BridgeEnd | None = None
        try:
            self._idle_scope.cancel()
            async with self._port_in_use:
                end = await bridge.run()
            logger.info("%s no longer uses the port: %s", name, end)
            self._tell(ClientLeft(name, end))
        finally:
            self._session = None
            session.over.set()
            self._idle.set()
            self.stats.bytes_to_port += bridge.stats.bytes_a_to_b
            self.stats.bytes_from_port += bridge.stats.bytes_b_to_a
        if end.by == "b":
            self._lose(end.error or anyio.EndOfStream(end.reason))

    async def _discard(self) -> None:
        """Read the port while nobody uses it: what comes then is nobody's, and a loss is noticed at once."""
        buffer = bytearray(65536)
        while True:
            self._idle = anyio.Event()
            if self._session is None:
                try:
                    async with self._port_in_use:
                        with anyio.CancelScope() as self._idle_scope:
                            while self._session is None:  # a client may have come meanwhile
                                self.stats.bytes_discarded += await self._port.receive_into(buffer)
                except (anyio.EndOfStream, *STREAM_ERRORS) as error:
                    self._lose(error)
                    return
            await self._idle.wait()

    def _tell(self, event: ServerEvent) -> None:
        for send, receive in self._watchers:
            try:
                send.send_nowait(event)
            except anyio.WouldBlock:
                receive.receive_nowait()
                send.send_nowait(event)

    def _lose(self, error: Exception) -> None:
        self._error = error
        logger.error("lost %s: %s", self._name, error)
        self._over.set()


class _Session:
    """A client that uses the port."""

    def __init__(self, name: str, bridge: Bridge) -> None:
        self.name = name
        self.bridge = bridge
        self.over = anyio.Event()


@asynccontextmanager
async def serve(
    port: str | Endpoint | Transport,
    *listen_on: str | Endpoint,
    hooks: Sequence[Hook | HookFactory] = (),
    access: Access = LOOPBACK_ONLY,
    auto_reset: bool = True,
) -> AsyncIterator[Server]:
    """Share a port: ``async with serve("/dev/ttyUSB0", "rfc2217://127.0.0.1:4000") as server: ...``.

    The port is opened when serving starts and stays open; clients come and go without an edge on DTR or RTS
    that they did not ask for. One client uses the port at a time; another is refused.

    :param port: what to share: a URL, or a live transport, which stays its owner's
    :param listen_on: where clients come in
    :param hooks: hooks, or factories of them, for each session; the first is the outermost
    :param access: who may connect from beyond this machine
    :param auto_reset: let reset sequences through that arrive in slow steps
        (:class:`serialnet.hooks.AutoReset`)
    :raises EndpointError: if a URL cannot be used, before anything is opened
    :raises OpenError: if the port or a listener cannot be opened
    """
    for url in listen_on:
        await access.check_listen(check(url))
    if not isinstance(port, Transport):
        check(port)
    if auto_reset:
        hooks = [*hooks, AutoReset]
    async with AsyncExitStack() as stack:
        stack.enter_context(_one_error_alone())
        if isinstance(port, Transport):
            name = port.extra(TransportAttribute.url, "the port")
        else:
            name = str(Endpoint.parse(port))
            port = await stack.enter_async_context(connect(port))
        listeners = [await stack.enter_async_context(listen(url)) for url in listen_on]
        server = Server(port, name, listeners, hooks, access)
        tasks = await stack.enter_async_context(anyio.create_task_group())
        tasks.start_soon(server.run)
        yield server
        tasks.cancel_scope.cancel()


@contextmanager
def _one_error_alone() -> Iterator[None]:
    """Take what the caller's block raised out of the task group's wrapping."""
    try:
        yield
    except BaseExceptionGroup as group:
        if len(group.exceptions) > 1:
            raise
        error = group.exceptions[0]
        raise error from error.__cause__
