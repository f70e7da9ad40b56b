"""``serve``: one port, any number of listeners, one client at a time."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TypeAlias

import anyio
from typing_extensions import override

from ..bridge import Bridge, BridgeEnd, Hook
from ..bridge.bridge import NO_ERRORS, STREAM_ERRORS
from ..bridge.hook import HookFactory
from ..core.endpoint import Endpoint
from ..core.opening import check, listen
from ..core.transport import Listener, Transport, TransportAttribute
from ..hooks import AutoReset, Touch
from ..values.events import LineErrors, Lost, Restored
from ._reception import ClientRefused, Reception, Stats, one_error_alone
from ._session import Seat, Session
from .access import LOOPBACK_ONLY, Access
from .kept import Kept
from .lease import Lease
from .policies import HOLD, RECONNECT, Gap, Reconnect
from .reopening import Reopening

__all__ = ["ClientConnected", "ClientLeft", "ClientRefused", "Server", "ServerEvent", "ServerStats", "serve"]

logger: logging.Logger = logging.getLogger("serialnet.server")


@dataclass(slots=True)
class ServerStats(Stats):
    """What a server has done so far."""

    bytes_to_port: int = 0
    bytes_from_port: int = 0
    bytes_discarded: int = 0
    losses: int = 0
    line_changes: int = 0
    line_errors: LineErrors = NO_ERRORS


@dataclass(frozen=True, slots=True)
class ClientConnected:
    """A client uses the port now."""

    client: str


@dataclass(frozen=True, slots=True)
class ClientLeft:
    """A client uses the port no longer."""

    client: str
    end: BridgeEnd


ServerEvent: TypeAlias = ClientConnected | ClientRefused | ClientLeft | Lost | Restored


class Server(Reception[ServerEvent]):
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
        super().__init__(listeners, access, self.stats, logger)
        self._port = port
        self._name = name
        self._hooks = hooks
        self._seat = Seat()
        self._idle = anyio.Event()
        self._idle_scope = anyio.CancelScope()
        self._port_in_use = anyio.Lock()
        self._error: Exception | None = None

    async def wait(self) -> None:
        """Wait until the port is lost and cannot be opened again; for ever, mostly.

        :raises ~anyio.BrokenResourceError: when the port is lost for good
        """
        await self._over.wait()
        raise anyio.BrokenResourceError(f"{self._name}: {self._error}") from self._error

    @override
    async def _client(self, client: Transport, name: str, listener: Listener) -> None:
        if session := await self._seat.taken():
            self._refuse(name, f"{session.name} uses the port")
        elif isinstance(self._port, Kept) and self._port.is_given_up:
            self._refuse(name, f"the port is gone: {self._port.lost}")
        else:
            await self._converse(client, name)

    async def _converse(self, client: Transport, name: str) -> None:
        bridge = Bridge(client, Lease(self._port), hooks=self._hooks)
        session = self._seat.session = Session(name, bridge)
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
            self._seat.leave(session)
            self._idle.set()
            self.stats.bytes_to_port += bridge.stats.bytes_a_to_b
            self.stats.bytes_from_port += bridge.stats.bytes_b_to_a
            self.stats.line_changes += bridge.stats.line_changes
            self.stats.line_errors += bridge.stats.line_errors
        if end.by == "b" and not isinstance(self._port, Kept):
            self._lose(end.error or anyio.EndOfStream(end.reason))

    @override
    async def _meanwhile(self) -> None:
        """Read the port while nobody uses it: what comes then is nobody's, and a loss is noticed at once."""
        buffer = bytearray(65536)
        while True:
            self._idle = anyio.Event()
            if self._seat.session is None:
                try:
                    async with self._port_in_use:
                        with anyio.CancelScope() as self._idle_scope:
                            while self._seat.session is None:  # a client may have come meanwhile
                                self.stats.bytes_discarded += await self._port.receive_into(buffer)
                except (anyio.EndOfStream, *STREAM_ERRORS) as error:
                    if not isinstance(self._port, Kept):
                        self._lose(error)
                        return
                    await self._port.restored()
            await self._idle.wait()

    def note_gap(self, event: Lost | Restored) -> None:
        """Take note that the port is lost, or back."""
        self.stats.losses += isinstance(event, Lost)
        self._tell(event)

    def _lose(self, error: Exception) -> None:
        self._error = error
        logger.error("lost %s: %s", self._name, error)
        self._over.set()


@asynccontextmanager
async def serve(
    port: str | Endpoint | Transport,
    *listen_on: str | Endpoint,
    hooks: Sequence[Hook | HookFactory] = (),
    access: Access = LOOPBACK_ONLY,
    gap: Gap | None = HOLD,
    reconnect: Reconnect = RECONNECT,
    auto_reset: bool = True,
    touch: bool = True,
) -> AsyncIterator[Server]:
    """Share a port: ``async with serve("/dev/ttyUSB0", "rfc2217://127.0.0.1:4000") as server: ...``.

    The port is opened when serving starts and stays open; clients come and go without an edge on DTR or RTS
    that they did not ask for. One client uses the port at a time; another is refused.

    A port that is lost (unplugged, restarted under another name, cut off) is opened again when it is there,
    with the settings and lines last asked for; a USB port is found at the socket where it was.

    :param port: what to share: a URL, or a live transport, which stays its owner's and cannot be opened again
    :param listen_on: where clients come in
    :param hooks: hooks, or factories of them, for each session; the first is the outermost
    :param access: who may connect from beyond this machine
    :param gap: what becomes of a session while the port is gone; ``None``: its loss is the server's end
    :param reconnect: how often a port that is gone is tried
    :param auto_reset: let reset sequences through that arrive in slow steps
        (:class:`serialnet.hooks.AutoReset`)
    :param touch: play the 1200-baud touch when a client sets 1200 baud and leaves
        (:class:`serialnet.hooks.Touch`)
    :raises EndpointError: if a URL cannot be used, before anything is opened
    :raises OpenError: if the port or a listener cannot be opened
    """
    for url in listen_on:
        await access.check_listen(check(url))
    if not isinstance(port, Transport):
        check(port)
    if auto_reset:
        hooks = [*hooks, AutoReset]
    if touch:
        hooks = [*hooks, Touch]
    async with AsyncExitStack() as stack:
        stack.enter_context(one_error_alone())
        kept: Kept | None = None
        if isinstance(port, Transport):
            transport, name = port, port.extra(TransportAttribute.url, "the port")
        else:
            endpoint = Endpoint.parse(port)
            name, source = str(endpoint), Reopening(endpoint)
            transport = await source.open()
            if gap is not None:
                transport = kept = Kept(transport, source, gap, reconnect)
            stack.push_async_callback(transport.aclose)
        listeners = [await stack.enter_async_context(listen(url)) for url in listen_on]
        server = Server(transport, name, listeners, hooks, access)
        tasks = await stack.enter_async_context(anyio.create_task_group())
        if kept is not None:
            kept.on_change = server.note_gap
            tasks.start_soon(kept.run)
        tasks.start_soon(server.run)
        yield server
        tasks.cancel_scope.cancel()
