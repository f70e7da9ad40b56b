"""``link``: two endpoints kept joined, each of which is dialled or listens."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

import anyio
from anyio.abc import TaskGroup
from typing_extensions import override

from ..bridge import Bridge, BridgeEnd, Hook
from ..bridge.hook import HookFactory
from ..bridge.stats import NO_ERRORS, Side
from ..core.endpoint import Endpoint
from ..core.errors import BridgeError, EndpointError, PortBusyError
from ..core.opening import asks, check, connect, listen
from ..core.transport import STREAM_ERRORS, AskingTransport, Listener, Transport
from ..hooks import AutoReset, Touch
from ..transports._prefixed import PrefixedTransport
from ..values.events import LineErrors
from ._reception import ClientRefused, Reception, Stats, one_error_alone
from ._session import Seat, Session
from .access import LOOPBACK_ONLY, Access
from .dialling import Dialled
from .kept import Kept
from .lease import Lease
from .policies import HOLD, RECONNECT, SHORT, Early, Gap, Reconnect

__all__ = ["ClientWaiting", "Link", "LinkEvent", "LinkStats", "SessionEnded", "SessionStarted", "link"]

logger: logging.Logger = logging.getLogger("serialnet.link")

MOST_SESSIONS = 1024
FOREVER = float("inf")
# What is kept of what a client sends while it waits for another.
MOST_EARLY = 65536


@dataclass(slots=True)
class LinkStats(Stats):
    """What a link has done so far."""

    bytes_a_to_b: int = 0
    bytes_b_to_a: int = 0
    losses: int = 0
    line_changes: int = 0
    line_errors: LineErrors = NO_ERRORS


@dataclass(frozen=True, slots=True)
class ClientWaiting:
    """A client waits for one at the other end."""

    client: str


@dataclass(frozen=True, slots=True)
class SessionStarted:
    """Two ends are joined: clients, or what was dialled."""

    a: str
    b: str


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """Two ends are joined no longer."""

    a: str
    b: str
    end: BridgeEnd


LinkEvent: TypeAlias = ClientWaiting | ClientRefused | SessionStarted | SessionEnded


class _End(NamedTuple):
    """One end of a session."""

    transport: Transport
    name: str


class _Waiting:
    """A client that waits for one at the other end."""

    def __init__(self, side: Side, end: _End) -> None:
        self.side = side
        self.end = end
        self.done = anyio.Event()
        self.waits_again = False
        self.dropped = 0
        self._early = bytearray()
        self._reading = anyio.CancelScope()
        self._stopped = anyio.Event()

    async def read(self, policy: Early) -> bool:
        """Read what comes early, until the client is wanted; return whether it is still there."""
        try:
            with self._reading:
                # What asks for line changes is left alone: a request is for the partner to carry out.
                while not isinstance(self.end.transport, AskingTransport):
                    if policy is Early.KEEP and len(self._early) >= MOST_EARLY:
                        break
                    self._early += await self.end.transport.receive()
                    self._trim(policy)
                await anyio.sleep_forever()
        except (anyio.EndOfStream, *STREAM_ERRORS):
            return False
        finally:
            self._stopped.set()
        return True

    def _trim(self, policy: Early) -> None:
        before = len(self._early)
        if policy is Early.DROP:
            self._early.clear()
        elif policy is Early.LAST_LINE:
            del self._early[: self._early.rfind(b"\n", 0, -1) + 1]
            del self._early[:-MOST_EARLY]
        self.dropped += before - len(self._early)

    async def take(self) -> _End:
        """Stop reading; the client, which begins with what was kept."""
        self._reading.cancel()
        await self._stopped.wait()
        if self.dropped:
            logger.info("dropped %d bytes that %s had sent early", self.dropped, self.end.name)
        if not self._early:
            return self.end
        return _End(PrefixedTransport(self.end.transport, bytes(self._early)), self.end.name)


class Link(Reception[LinkEvent]):
    """Two endpoints that are kept joined; :func:`link` makes it."""

    def __init__(
        self,
        listeners: Mapping[Side, Listener],
        dialled: Mapping[Side, Dialled],
        opened: Mapping[Side, Transport],
        *,
        hooks: Sequence[Hook | HookFactory],
        access: Access,
        once: bool,
        auto_reset: bool,
        touch: bool,
        early: Early,
        keep_waiting: bool,
    ) -> None:
        self._totals = LinkStats()
        super().__init__(list(listeners.values()), access, self._totals, logger)
        self._sides = {id(listener): side for side, listener in listeners.items()}
        self._dialled = dialled
        self._opened = dict(opened)
        self._hooks = hooks
        self._once = once
        self._own_hooks = [hook for hook, wanted in ((AutoReset, auto_reset), (Touch, touch)) if wanted]
        self._early = early
        self._keep_waiting = keep_waiting
        self._sessions: set[Session] = set()
        self._dialling = 0
        self._waiting: _Waiting | None = None
        self._seat: Seat[Session] = Seat()  # who came last; the only one, where only one can be
        self._end: BridgeEnd | None = None
        self._error: Exception | None = None

    @property
    def stats(self) -> LinkStats:
        """What it has done so far, the sessions that run included."""
        stats = replace(self._totals)
        for session in self._sessions:
            _add(stats, session)
        return stats

    async def wait(self) -> BridgeEnd:
        """Wait for the end: that of the only session, or a dialled end that is not waited for.

        Otherwise a link goes on for ever.

        :return: how the only session ended (``once``, or two dialled ends that are not waited for)
        :raises OpenError: if an end that is not waited for could not be opened, and no other session runs
        :raises BridgeError: if the ends cannot be joined
        """
        await self._over.wait()
        if self._error is not None:
            raise self._error
        assert self._end is not None
        return self._end

    @override
    async def _meanwhile(self) -> None:
        if not self._listeners:
            async with anyio.create_task_group() as tasks, AsyncExitStack() as ports:
                await self._redial(tasks, ports)

    @override
    def _client(self, client: Transport, name: str, listener: Listener) -> Coroutine[Any, Any, None]:
        attend = self._dial_for if self._dialled else self._pair
        return attend(self._sides[id(listener)], _End(client, name))

    # Both ends are dialled: ports stay open, streams are dialled anew for each session

    async def _redial(self, tasks: TaskGroup, stack: AsyncExitStack) -> None:
        ports: dict[Side, Kept] = {}
        delays = self._dialled["a"].reconnect.delays()
        while not self._over.is_set():
            ends: dict[Side, _End] = {}
            started = anyio.current_time()
            try:
                for side, dialled in self._dialled.items():
                    if side not in ports:
                        transport = self._opened.pop(side, None) or await dialled.open(FOREVER)
                        if not isinstance(transport, Kept):
                            ends[side] = _End(transport, dialled.name)
                            continue
                        ports[side] = transport
                        stack.push_async_callback(anyio.aclose_forcefully, transport)
                        tasks.start_soon(transport.run)
                    await ports[side].restored()
                    ends[side] = _End(Lease(ports[side]), dialled.name)
            except BaseException:
                for end in ends.values():
                    await anyio.aclose_forcefully(end.transport)
                raise
            await self._join(**ends)
            if anyio.current_time() - started > SHORT:
                delays = self._dialled["a"].reconnect.delays()
            else:
                await anyio.sleep(next(delays))
        tasks.cancel_scope.cancel()

    # One end is dialled, once for each client of the other

    async def _dial_for(self, side: Side, client: _End) -> None:
        most = 1 if self._once else MOST_SESSIONS
        if len(self._sessions) + self._dialling >= most:
            self._refuse(client.name, f"there are {most} sessions, the most that there may be")
            return
        ((far_side, dialled),) = self._dialled.items()
        try:
            far = await self._dial(dialled, client)
        except Exception as error:  # noqa: BLE001  # it ends the link, or is told in the log
            if self._sessions or self._dialling or dialled.wait:
                self._refuse(client.name, str(error))
            else:
                self._fail(error)
            return
        await self._join(**{side: client, far_side: _End(far, dialled.name)})

    async def _dial(self, dialled: Dialled, client: _End) -> Transport:
        def wanted() -> bool:
            return self._seat.session is None and not client.transport._hung_up()

        self._dialling += 1
        try:
            while True:
                try:
                    return await dialled.open(dialled.patience, wanted)
                except PortBusyError:
                    if self._seat.session is None or await self._seat.taken() is not None:
                        raise
        finally:
            self._dialling -= 1

    # Both ends listen: whoever comes first waits for one at the other end

    async def _pair(self, side: Side, client: _End) -> None:
        if session := await self._seat.taken():
            self._refuse(client.name, f"{session.name} use the link")
            return
        waiting = self._waiting
        if waiting is not None and waiting.end.transport._hung_up(half=True):
            logger.info("%s has gone without having met anybody", waiting.end.name)
            waiting.done.set()
            waiting = None
        if waiting is None:
            await self._wait_for_partner(side, client)
        elif waiting.side == side:
            self._refuse(client.name, f"{waiting.end.name} waits there already")
        else:
            self._waiting = None
            stays: Side | None = None
            try:
                stays = await self._join_clients({side: client, waiting.side: await waiting.take()})
            finally:
                waiting.waits_again = stays == waiting.side
                waiting.done.set()
            if stays == side:
                await self._wait_for_partner(side, client)

    async def _join_clients(self, ends: Mapping[Side, _End]) -> Side | None:
        """Join two clients; return which of them stays when the other has left, if it is to wait again."""
        leased = {
            side: _End(Lease(end.transport), end.name)
            for side, end in ends.items()
            if self._keep_waiting and not isinstance(end.transport, AskingTransport)
        }
        over = await self._join(**{**ends, **leased})
        return next((side for side in leased if over is not None and over.by != side), None)

    async def _wait_for_partner(self, side: Side, client: _End) -> None:
        """Keep a client until its last session is over."""
        again = True
        while again:
            waiting = self._waiting = _Waiting(side, client)
            logger.info("%s waits for a partner", client.name)
            self._tell(ClientWaiting(client.name))
            if not await waiting.read(self._early) and self._waiting is waiting:
                logger.info("%s has gone without having met anybody", client.name)
                self._waiting = None
                return
            await waiting.done.wait()
            again = waiting.waits_again

    # Sessions

    async def _join(self, a: _End, b: _End) -> BridgeEnd | None:
        hooks = self._hooks
        if any(isinstance(end.transport, AskingTransport) for end in (a, b)):
            hooks = [*hooks, *self._own_hooks]
        try:
            bridge = Bridge(a.transport, b.transport, hooks=hooks)
        except BridgeError as error:
            for transport in (a.transport, b.transport):
                await anyio.aclose_forcefully(transport)
            self._fail(error)
            return None
        session = self._seat.session = Session(f"{a.name} and {b.name}", bridge)
        self._sessions.add(session)
        self._totals.sessions += 1
        logger.info("%s are joined", session.name)
        self._tell(SessionStarted(a.name, b.name))
        try:
            end = await (_run_with(port, bridge) if isinstance(port := bridge.port, Kept) else bridge.run())
        finally:
            self._sessions.remove(session)
            _add(self._totals, session)
            self._seat.leave(session)
        logger.info("%s part: %s", session.name, end)
        self._tell(SessionEnded(a.name, b.name, end))
        if self._once or not (self._listeners or self._dialled["a"].wait):
            self._end = end
            self._over.set()
        return end

    def _fail(self, error: Exception) -> None:
        self._error = self._error or error
        self._over.set()


async def _run_with(port: Kept, bridge: Bridge) -> BridgeEnd:
    async with anyio.create_task_group() as tasks:  # the port is ours alone, not lent to us
        tasks.start_soon(port.run)
        end = await bridge.run()
        tasks.cancel_scope.cancel()
    return end


def _add(stats: LinkStats, session: Session) -> None:
    stats.bytes_a_to_b += session.bridge.stats.bytes_a_to_b
    stats.bytes_b_to_a += session.bridge.stats.bytes_b_to_a
    stats.losses += session.bridge.stats.losses
    stats.line_changes += session.bridge.stats.line_changes
    stats.line_errors += session.bridge.stats.line_errors


@asynccontextmanager
async def link(
    a: str | Endpoint,
    b: str | Endpoint,
    *,
    hooks: Sequence[Hook | HookFactory] = (),
    access: Access = LOOPBACK_ONLY,
    gap: Gap = HOLD,
    reconnect: Reconnect = RECONNECT,
    wait: bool = True,
    once: bool = False,
    auto_reset: bool = True,
    touch: bool = True,
    early: Early = Early.LAST_LINE,
    keep_waiting: bool = False,
) -> AsyncIterator[Link]:
    """Keep two endpoints joined: ``async with link("listen:tcp://127.0.0.1:4000", "loop:") as link: ...``.

    An end that is written ``listen:URL`` takes clients in, again and again; another is dialled.

    - One end listens: the other is dialled for each client, and as many sessions run beside each other (up
      to 1024) as it allows. Who comes while it is busy is refused.
    - Both listen: the first who comes waits for one at the other end. Two are joined at a time; a third is
      refused.
    - None listens: both are dialled. A stream is dialled anew whenever a session is over, a port stays open.

    A dialled end that is not there is waited for, and a port (what offers a line) that is lost in a session
    is opened again for the same session, as long as ``gap`` says.

    :param a: one end
    :param b: the other
    :param hooks: hooks, or factories of them, for each session; the first is the outermost
    :param access: who may connect from beyond this machine
    :param gap: what becomes of a session while its port is gone
    :param reconnect: how often an end that is gone is tried
    :param wait: whether a dialled end that is not there is waited for; otherwise it is an error, and a port
        that is lost ends its session
    :param once: end after one session, and wait for nothing
    :param auto_reset: let reset sequences through that arrive in slow steps
        (:class:`serialnet.hooks.AutoReset`)
    :param touch: play the 1200-baud touch when a client sets 1200 baud and leaves
        (:class:`serialnet.hooks.Touch`)
    :param early: where both listen: what becomes of what a client sends while it waits
    :param keep_waiting: where both listen: when one leaves, the other stays and waits for the next; one that
        asks for line changes is disconnected all the same
    :raises EndpointError: if a URL cannot be used, or both ends ask for line changes, before anything is
        opened
    :raises OpenError: if an end cannot be opened
    """
    sides: tuple[Side, Side] = ("a", "b")
    ends = {side: Endpoint.parse(url) for side, url in zip(sides, (a, b), strict=True)}
    listening = {side: replace(end, listens=False) for side, end in ends.items() if end.listens}
    waits = wait and not once
    dialled = {side: Dialled(end, gap, reconnect, waits) for side, end in ends.items() if not end.listens}
    for end in listening.values():
        await access.check_listen(check(end))
    if all(asks(end, "listen" if end.listens else "connect") for end in ends.values()):
        raise EndpointError(
            f"'{ends['a']}' and '{ends['b']}' both ask for line changes, and neither can carry them out"
        )
    async with AsyncExitStack() as stack:
        stack.enter_context(one_error_alone())
        listeners = {side: await stack.enter_async_context(listen(end)) for side, end in listening.items()}
        opened: dict[Side, Transport] = {}
        if not (listeners or waits):
            for side, far in dialled.items():
                opened[side] = await stack.enter_async_context(connect(far.endpoint))
        made = Link(
            listeners,
            dialled,
            opened,
            hooks=hooks,
            access=access,
            once=once,
            auto_reset=auto_reset,
            touch=touch,
            early=early,
            keep_waiting=keep_waiting,
        )
        tasks = await stack.enter_async_context(anyio.create_task_group())
        tasks.start_soon(made.run)
        yield made
        tasks.cancel_scope.cancel()
