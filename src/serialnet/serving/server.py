"""``serve``: one port, any number of listeners; one client writes at a time, others watch."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TypeAlias

import anyio
from typing_extensions import override

from ..bridge import Bridge, BridgeEnd, Hook
from ..bridge.hook import HookFactory
from ..bridge.stats import NO_ERRORS
from ..core.endpoint import Endpoint
from ..core.opening import Opener, check, listen
from ..core.transport import STREAM_ERRORS, Listener, Transport, TransportAttribute
from ..hooks import AutoReset, Touch
from ..values.events import LineErrors, Lost, Restored
from ._borrowing import Borrowing
from ._console import Console
from ._console_log import BUFFER, ConsoleLog
from ._reception import ClientRefused, Reception, Stats, one_error_alone
from ._suspendable import SuspendableLease
from ._turns import Turn, Turns
from .access import LOOPBACK_ONLY, Access
from .kept import Kept
from .policies import HOLD, RECONNECT, Gap, Reconnect
from .reopening import Reopening
from .sharing import SHARING, DoorOptions, LogOptions, NextWriter, Role, Sharing, SlowWatcher, split

__all__ = ["ClientConnected", "ClientLeft", "ClientRefused", "Server", "ServerEvent", "ServerStats", "serve"]

logger: logging.Logger = logging.getLogger("serialnet.server")

VERBS = {Role.WRITE: "uses", Role.WATCH: "watches", Role.BORROW: "borrows"}


@dataclass(slots=True)
class ServerStats(Stats):
    """What a server has done so far."""

    bytes_to_port: int = 0
    bytes_from_port: int = 0
    bytes_discarded: int = 0
    losses: int = 0
    line_changes: int = 0
    line_errors: LineErrors = NO_ERRORS
    watchers: int = 0
    """How many have watched."""
    bytes_missed: int = 0
    """Bytes that were lost on slow watchers, and on a log that could not be written."""


@dataclass(frozen=True, slots=True)
class ClientConnected:
    """A client uses the port now, or watches it."""

    client: str
    role: Role = Role.WRITE


@dataclass(frozen=True, slots=True)
class ClientLeft:
    """A client uses the port no longer, or watches it no longer."""

    client: str
    end: BridgeEnd
    role: Role = Role.WRITE


ServerEvent: TypeAlias = ClientConnected | ClientRefused | ClientLeft | Lost | Restored


class Server(Reception[ServerEvent]):
    """A port that is being served; :func:`serve` makes it."""

    def __init__(
        self,
        console: Console,
        kept: Kept | None,
        name: str,
        doors: Mapping[Listener, DoorOptions],
        hooks: Sequence[Hook | HookFactory],
        access: Access,
        sharing: Sharing,
        *,
        restarts: bool,
    ) -> None:
        self.stats: ServerStats = ServerStats()
        super().__init__([*doors], access, self.stats, logger)
        self._console = console
        self._kept = kept
        self._name = name
        self._doors = doors
        self._hooks = hooks
        self._sharing = sharing
        self._restarts = restarts
        self._seat = Turns()
        self._watchers_now = 0
        self._idle = SuspendableLease(console, console.announce)
        self._error: Exception | None = None

    @property
    def roles(self) -> dict[str, Role]:
        """What who comes in at each of :attr:`urls` may do."""
        return {url: door.role for listener, door in self._doors.items() for url in listener.urls}

    async def wait(self) -> None:
        """Wait until the port is lost and cannot be opened again; for ever, mostly.

        :raises ~anyio.BrokenResourceError: when the port is lost for good
        """
        await self._over.wait()
        raise anyio.BrokenResourceError(f"{self._name}: {self._error}") from self._error

    @override
    async def _client(self, client: Transport, name: str, listener: Listener) -> None:
        door = self._doors[listener]
        if self._kept is not None and self._kept.is_given_up:
            self._refuse(name, f"the port is gone: {self._kept.lost}")
        elif door.role is Role.WATCH:
            await self._watch(client, name, door.replay)
        elif reason := await self._turn(client, name, door):
            self._refuse(name, reason)

    async def _watch(self, client: Transport, name: str, replay: int) -> None:
        if self._watchers_now >= self._sharing.most_watchers:
            self._refuse(name, f"{self._watchers_now} others watch the port")
            return

        behind = False

        def missed(count: int) -> None:
            nonlocal behind
            self.note_missed(count)
            if self._sharing.slow_watcher is SlowWatcher.DROP:
                bridge.stop("it did not keep up with the port")
            elif not behind:
                behind = True
                logger.warning("%s does not keep up with the port, and loses data", name)

        self.stats.watchers += 1
        self._watchers_now += 1
        try:
            with self._console.view(self._sharing.buffer, replay, missed) as view:
                bridge = Bridge(client, view)
                await self._run(bridge, name, Role.WATCH)
        finally:
            self._watchers_now -= 1

    async def _turn(self, client: Transport, name: str, door: DoorOptions) -> str | None:
        """Give a client the port, if it can have it.

        :return: why it cannot
        """
        policy = NextWriter.BORROW if door.role is Role.BORROW else self._sharing.next_writer
        session = await self._seat.taken()
        if policy is NextWriter.WAIT and not self._seat.is_free:
            logger.info("%s waits for the port", name)
            sharing = self._sharing
            if reason := await self._seat.wait(client, sharing.wait, sharing.most_waiting):
                return reason
            session = None
        while session is not None:
            if session.role is Role.BORROW:
                return f"{session.name} has borrowed the port"
            if policy is NextWriter.BORROW:
                return await self._converse(client, name, Role.BORROW)
            if policy is not NextWriter.TAKE_OVER:
                return f"{session.name} uses the port"
            reason = f"{name} has taken the port over"
            await session.bridge.dismiss(reason, f"\r\n[{reason}]\r\n".encode())
            before, session = session, await self._seat.taken()
            if session is before:
                return f"{session.name} does not leave the port"
        return await self._converse(client, name, door.role, door.replay)

    async def _converse(self, client: Transport, name: str, role: Role, replay: int = 0) -> str | None:
        lease = SuspendableLease(self._console, self._console.announce)
        bridge = Bridge(client, lease, hooks=self._hooks)
        lender = self._seat.session
        before = self._lease_in_use
        turn = self._seat.session = Turn(name, bridge, lease, role, lender)
        try:
            await self._idle.suspend()  # a lender may just have begun
            await before.suspend()
            self.stats.sessions += 1
            lease.first = self._console.said(replay)
            borrowing: Borrowing | None = None
            if role is Role.BORROW:
                borrowing = Borrowing(lease, lambda: self.stats.losses, restarts=self._restarts)
            end = await self._run(bridge, name, role)
            if borrowing is not None:
                await borrowing.give_back(self._console, before)
        except TimeoutError:
            return "the port is stuck"
        finally:
            self._seat.leave(turn)
            self._lease_in_use.resume()
            self.stats.bytes_to_port += bridge.stats.bytes_a_to_b
            self.stats.bytes_from_port += bridge.stats.bytes_b_to_a
            self.stats.line_changes += bridge.stats.line_changes
            self.stats.line_errors += bridge.stats.line_errors
        if end.by == "b":
            if self._kept is None:
                self._lose(end.error or anyio.EndOfStream(end.reason))
            elif lender is not None:  # it would have met the loss, too
                lender.bridge.stop(end.reason)
        return None

    @property
    def _lease_in_use(self) -> SuspendableLease:
        session = self._seat.session
        return self._idle if session is None else session.lease

    async def _run(self, bridge: Bridge, name: str, role: Role) -> BridgeEnd:
        logger.info("%s %s the port", name, VERBS[role])
        self._tell(ClientConnected(name, role))
        end = await bridge.run()
        logger.info("%s no longer %s the port: %s", name, VERBS[role], end)
        self._tell(ClientLeft(name, end, role))
        return end

    @override
    async def _meanwhile(self) -> None:
        async with anyio.create_task_group() as tasks:
            for task in (self._console.run, self._read_idly, self._mind_writer):
                tasks.start_soon(task)

    async def _read_idly(self) -> None:
        """Read the port while nobody uses it.

        What comes then is for those who look on, if somebody does; and a loss is noticed at once.
        """
        buffer = bytearray(65536)
        while True:
            try:
                n = await self._idle.receive_into(buffer)
                if self._console.is_watched:
                    self.stats.bytes_from_port += n
                else:
                    self.stats.bytes_discarded += n
            except STREAM_ERRORS as error:
                if self._kept is None:
                    self._lose(error)
                    return
                await self._kept.restored()

    async def _mind_writer(self) -> None:
        """End a session whose client takes nothing, while others want to see what the port says."""
        patience = self._sharing.patience
        stuck: tuple[Turn, int] | None = None
        since = 0.0
        while True:
            await self._console.watched()
            await anyio.sleep(min(1.0, patience / 4 + 0.01))
            turn = self._seat.session
            now = None if turn is None or turn.lease.receiving else (turn, turn.lease.receives)
            if now != stuck:
                stuck, since = now, anyio.current_time()
            elif turn is not None and now is not None and anyio.current_time() - since >= patience:
                turn.bridge.stop(f"it took nothing for {patience:g} s, while others watched")

    def note_missed(self, count: int) -> None:
        """Take note of bytes that somebody who looks on had no room for."""
        self.stats.bytes_missed += count

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
    sharing: Sharing = SHARING,
    gap: Gap | None = HOLD,
    reconnect: Reconnect = RECONNECT,
    auto_reset: bool = True,
    touch: bool = True,
) -> AsyncIterator[Server]:
    """Share a port: ``async with serve("/dev/ttyUSB0", "rfc2217://127.0.0.1:4000") as server: ...``.

    The port is opened when serving starts and stays open; clients come and go without an edge on DTR or RTS
    that they did not ask for. One client uses the port at a time; another is refused, or what ``sharing``
    says. Who comes in at a listener with ``?role=watch`` sees all that the port says, beside that.

    A port that is lost (unplugged, restarted under another name, cut off) is opened again when it is there,
    with the settings and lines last asked for; a USB port is found at the socket where it was.

    :param port: what to share: a URL, or a live transport, which stays its owner's and cannot be opened again
    :param listen_on: where clients come in
    :param hooks: hooks, or factories of them, for each session but a watcher's; the first is the outermost
    :param access: who may connect from beyond this machine
    :param sharing: what becomes of a client while another uses the port, and of watchers
    :param gap: what becomes of a session while the port is gone; ``None``: its loss is the server's end
    :param reconnect: how often a port that is gone is tried
    :param auto_reset: let reset sequences through that arrive in slow steps
        (:class:`serialnet.hooks.AutoReset`)
    :param touch: play the 1200-baud touch when a client sets 1200 baud and leaves
        (:class:`serialnet.hooks.Touch`)
    :raises EndpointError: if a URL cannot be used, before anything is opened
    :raises OpenError: if the port or a listener cannot be opened
    """
    doors = [split(Endpoint.parse(url), DoorOptions) for url in listen_on]
    for endpoint, _ in doors:
        await access.check_listen(check(endpoint))
    log_options = LogOptions()
    if not isinstance(port, Transport):
        port, log_options = split(Endpoint.parse(port), LogOptions)
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
            name, source = str(port), Reopening(Opener(port))
            transport = await source.open()
            if gap is not None:
                transport = kept = Kept(transport, source, gap, reconnect)
            stack.push_async_callback(transport.aclose)
        console = Console(transport, max((door.replay for _, door in doors), default=0))
        listeners = {await stack.enter_async_context(listen(endpoint)): door for endpoint, door in doors}
        server = Server(console, kept, name, listeners, hooks, access, sharing, restarts=auto_reset)
        log: ConsoleLog | None = None
        if log_options.log:
            view = stack.enter_context(console.view(BUFFER, missed=server.note_missed))
            log = await ConsoleLog.open(log_options, view)
            stack.push_async_callback(log.aclose)
        tasks = await stack.enter_async_context(anyio.create_task_group())
        if kept is not None:
            kept.on_change = server.note_gap
            tasks.start_soon(kept.run)
        if log is not None:
            tasks.start_soon(log.run, server.note_missed)
        tasks.start_soon(server.run)
        yield server
        tasks.cancel_scope.cancel()
