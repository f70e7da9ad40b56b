"""``relay``: one public place where many boards are reached by name."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

import anyio
import anyio.lowlevel
from typing_extensions import override

from ..bridge import Bridge, BridgeEnd
from ..core.endpoint import Endpoint
from ..core.errors import EndpointError
from ..core.opening import asks, check, dials, listen
from ..core.transport import Listener, Transport
from ..transports._dialogue import Dialogue
from ..wire.relay import Asked, Refusal, RelayServer, Role, WrongToken, is_name
from ._guest import PEER_ERRORS, Guest, say
from ._reception import ClientRefused, Reception, Stats, one_error_alone
from ._session import Seat, Session
from ._throttle import Throttle, source_of
from .access import LOOPBACK_ONLY, Access
from .tokens import Tokens

__all__ = [
    "BoardLost",
    "BoardRegistered",
    "ClientPaired",
    "ClientParted",
    "Relay",
    "RelayEvent",
    "RelayStats",
    "relay",
]

logger: logging.Logger = logging.getLogger("serialnet.relay")

# From the first byte to the proof; who has not come so far by then has failed.
HANDSHAKE = 10.0
MOST_HANDSHAKES = 64
MOST_HANDSHAKES_EACH = 16  # of one source
MOST_CONNECTIONS = 1024  # beyond the handshake


@dataclass(slots=True)
class RelayStats(Stats):
    """What a relay has done so far."""

    registrations: int = 0
    bytes_to_boards: int = 0
    bytes_from_boards: int = 0


@dataclass(frozen=True, slots=True)
class BoardRegistered:
    """A board waits for a client; it registers again for each that it gets."""

    name: str
    board: str


@dataclass(frozen=True, slots=True)
class BoardLost:
    """A board that waited is gone."""

    name: str
    board: str


@dataclass(frozen=True, slots=True)
class ClientPaired:
    """A client has its board."""

    name: str
    client: str


@dataclass(frozen=True, slots=True)
class ClientParted:
    """A client's session is over."""

    name: str
    client: str
    end: BridgeEnd


RelayEvent: TypeAlias = BoardRegistered | BoardLost | ClientPaired | ClientParted | ClientRefused


class _Unavailable(Exception):
    """A client cannot have a board."""

    def __init__(self, why: Refusal, text: str) -> None:
        super().__init__(text)
        self.why = why


@dataclass(eq=False, slots=True)
class _Claim:
    """A client that waits for a board."""

    who: str
    client: Transport
    scope: anyio.CancelScope


class _Place:
    """All that goes on under one name."""

    def __init__(self) -> None:
        self.users = 0
        self.board: Guest | None = None  # that waits
        self.arrived = anyio.Event()
        self.claim: _Claim | None = None
        self.seat: Seat[Session] = Seat()

    def put(self, board: Guest) -> None:
        self.board = board
        arrived, self.arrived = self.arrived, anyio.Event()
        arrived.set()

    def forget(self, board: Guest) -> None:
        if self.board is board:
            self.board = None


class Relay(Reception[RelayEvent]):
    """Where boards and clients meet; :func:`relay` makes it."""

    def __init__(
        self,
        listeners: Sequence[Listener],
        exposed: Mapping[str, Listener],
        tokens: Tokens,
        wait: float,
        access: Access,
    ) -> None:
        self._totals = RelayStats()
        super().__init__([*listeners, *exposed.values()], access, self._totals, logger)
        self._exposed = {id(listener): name for name, listener in exposed.items()}
        self._tokens = tokens
        self._patience = wait
        self._places: dict[str, _Place] = {}
        self._throttle = Throttle()
        self._handshakes: Counter[str] = Counter()
        self._connections = 0
        self._sessions: set[Session] = set()

    @property
    def stats(self) -> RelayStats:
        """What it has done so far, the sessions that run included."""
        stats = replace(self._totals)
        for session in self._sessions:
            _add(stats, session)
        return stats

    @property
    def exposed(self) -> dict[str, list[str]]:
        """Where clients come in that do not speak the relay's protocol, by name of their board."""
        return {
            self._exposed[id(listener)]: list(listener.urls)
            for listener in self._listeners
            if id(listener) in self._exposed
        }

    async def wait(self) -> None:
        """Wait for the end, which does not come of itself."""
        await self._over.wait()

    @override
    async def _meanwhile(self) -> None:
        await anyio.lowlevel.checkpoint()

    @override
    async def _client(self, client: Transport, name: str, listener: Listener) -> None:
        board = self._exposed.get(id(listener))
        if board is not None:
            with self._counted(name) as room:
                if room:
                    await self._raw_client(client, name, board)
            return
        dialogue = Dialogue(client, RelayServer(self._tokens.find))
        asked = await self._handshake(dialogue, name)
        if asked is None:
            return
        with self._counted(name) as room:
            try:
                if not room:
                    await say(dialogue, partial(dialogue.protocol.refuse, Refusal.LIMIT, "the relay is full"))
                elif asked.role is Role.REGISTER:
                    await self._board(dialogue, name, asked.name)
                else:
                    await self._peer_client(dialogue, name, asked.name)
            except PEER_ERRORS as error:
                logger.info("%s has gone: %s", name, error)

    # The handshake: all that strangers get to

    async def _handshake(self, dialogue: Dialogue[RelayServer], who: str) -> Asked | None:
        source = source_of(who)
        if (
            self._throttle.blocks(who, anyio.current_time())
            or self._handshakes.total() >= MOST_HANDSHAKES
            or self._handshakes[source] >= MOST_HANDSHAKES_EACH
        ):
            self._totals.refused += 1
            logger.info("refused %s unheard: too many failures, or too many at once", who)
            return None
        self._handshakes[source] += 1
        try:
            with anyio.fail_after(HANDSHAKE):
                event = await dialogue.next_event()
                if isinstance(event, Asked):
                    return event
                await dialogue.flush()
            reason = f"a wrong token for {event.name}" if isinstance(event, WrongToken) else str(event)
        except TimeoutError:
            reason = f"it did not introduce itself within {HANDSHAKE:g} s"
        except PEER_ERRORS as error:
            reason = str(error) or "it hung up before it had introduced itself"
        finally:
            self._handshakes[source] -= 1
            self._handshakes += Counter()  # forgets who has none
        self._throttle.fail(who, anyio.current_time())
        self._refuse(who, reason)
        return None

    @contextmanager
    def _counted(self, who: str) -> Iterator[bool]:
        room = self._connections < MOST_CONNECTIONS
        if not room:
            self._refuse(who, f"there are {MOST_CONNECTIONS} connections, the most that there may be")
        self._connections += room
        try:
            yield room
        finally:
            self._connections -= room

    @contextmanager
    def _place(self, name: str) -> Iterator[_Place]:
        place = self._places.setdefault(name, _Place())
        place.users += 1
        try:
            yield place
        finally:
            place.users -= 1
            if not place.users:
                del self._places[name]

    # Boards

    async def _board(self, dialogue: Dialogue[RelayServer], who: str, name: str) -> None:
        with self._place(name) as place:
            while (before := place.board) is not None:
                if await before.is_alive():
                    reason = f"another board waits as {name}"
                    self._refuse(who, reason)
                    await say(dialogue, partial(dialogue.protocol.refuse, Refusal.BUSY, reason))
                    return
                place.forget(before)
            board = Guest(dialogue, who)
            place.put(board)
            try:
                await say(dialogue, dialogue.protocol.welcome)
                self._totals.registrations += 1
                logger.info("%s: the board at %s waits for a client", name, who)
                self._tell(BoardRegistered(name, who))
                await board.keep()
            finally:
                place.forget(board)
            if board.gone:
                logger.info("%s: the board at %s has gone", name, who)
                self._tell(BoardLost(name, who))
            else:
                await board.left.wait()

    # Clients

    async def _peer_client(self, dialogue: Dialogue[RelayServer], who: str, name: str) -> None:
        await say(dialogue, dialogue.protocol.welcome)
        guest = Guest(dialogue, who)
        async with anyio.create_task_group() as tasks:

            async def keep() -> None:
                await guest.keep()
                if guest.gone:
                    tasks.cancel_scope.cancel()

            tasks.start_soon(keep)
            try:
                await self._serve(name, who, dialogue.transport, partial(guest.pair, name))
            except _Unavailable as error:
                self._refuse(who, str(error))
                await guest.refuse(error.why, str(error))

    async def _raw_client(self, client: Transport, who: str, name: str) -> None:
        async def stream() -> Transport:
            return client

        try:
            await self._serve(name, who, client, stream)
        except _Unavailable as error:
            self._refuse(who, str(error))

    async def _serve(
        self, name: str, who: str, client: Transport, pair: Callable[[], Awaitable[Transport | None]]
    ) -> None:
        """Have a client and its board meet, and carry their session.

        :param pair: tells the client, and returns its stream, if the client is still there
        :raises _Unavailable: if somebody else has the board, or it does not come
        """
        with self._place(name) as place:
            if session := await place.seat.taken():
                raise _Unavailable(Refusal.BUSY, f"{session.name} uses {name}")
            if (other := place.claim) is not None:
                if not other.client._hung_up(half=True):
                    raise _Unavailable(Refusal.BUSY, f"{other.who} waits for {name} already")
                other.scope.cancel()
            with anyio.CancelScope() as scope:
                claim = place.claim = _Claim(who, client, scope)
                try:
                    found = await self._find_board(place, name, claim)
                    if found is None:
                        return
                    board, to_board = found
                    try:
                        if (to_client := await pair()) is not None:
                            await self._session(place, name, claim, Bridge(to_client, to_board))
                    finally:
                        board.left.set()
                finally:
                    if place.claim is claim:
                        place.claim = None

    async def _find_board(self, place: _Place, name: str, claim: _Claim) -> tuple[Guest, Transport] | None:
        """Wait for a board that is there; ``None`` if its client has gone before it came."""
        deadline = anyio.current_time() + self._patience
        while True:
            with anyio.move_on_at(deadline):
                while place.board is None:
                    await place.arrived.wait()
            if (board := place.board) is None:
                raise _Unavailable(Refusal.ABSENT, f"{name} is not there")
            if claim.client._hung_up(half=True):
                return None
            place.forget(board)
            try:
                stream = await board.pair(claim.who)
            except BaseException:
                board.left.set()
                raise
            if stream is not None:
                return board, stream

    async def _session(self, place: _Place, name: str, claim: _Claim, bridge: Bridge) -> None:
        session = place.seat.session = Session(claim.who, bridge)
        place.claim = None  # from here on the seat tells
        self._sessions.add(session)
        self._totals.sessions += 1
        logger.info("%s: %s is paired", name, claim.who)
        self._tell(ClientPaired(name, claim.who))
        try:
            end = await bridge.run()
        finally:
            self._sessions.remove(session)
            _add(self._totals, session)
            place.seat.leave(session)
        logger.info("%s: %s has left: %s", name, claim.who, end)
        self._tell(ClientParted(name, claim.who, end))


def _add(stats: RelayStats, session: Session) -> None:
    stats.bytes_to_boards += session.bridge.stats.bytes_a_to_b
    stats.bytes_from_boards += session.bridge.stats.bytes_b_to_a


@asynccontextmanager
async def relay(
    *listen_on: str | Endpoint,
    tokens: str | Mapping[str, str],
    expose: Mapping[str, str | Endpoint] | None = None,
    wait: float = 2.0,
    access: Access = LOOPBACK_ONLY,
) -> AsyncIterator[Relay]:
    """Let boards behind NAT be reached: ``async with relay("tcp://127.0.0.1:4500", tokens=...) as it: ...``.

    A board's end listens on ``relay://HOST:PORT/NAME?token=TOKEN``, for which it dials in here; a client
    connects to the same URL. One client at a time uses a board; another is refused.

    :param listen_on: where boards and clients dial in: a plain stream, as ``tcp://``
    :param tokens: the token of each name, or one token for any name
    :param expose: by name of a board, where clients reach it that do not know the relay's protocol, as
        ``{"lab": "tcp://127.0.0.1:4001"}``
    :param wait: seconds that a client waits for a board that is not there
    :param access: who may connect from beyond this machine
    :raises EndpointError: if a URL, a name or a token cannot be used, before anything is opened
    :raises OpenError: if it cannot listen
    """
    known = Tokens(tokens)
    if not 0 <= wait < float("inf"):
        raise EndpointError(f"wait must be a number of seconds, 0 or more, not {wait}")
    exposed = {name: check(url) for name, url in (expose or {}).items()}
    for name in exposed:
        if not is_name(name) or known.find(name) is None:
            raise EndpointError(f"{name!r} cannot be exposed: expected a name that has a token")
    for endpoint in [*map(check, listen_on), *exposed.values()]:
        if dials(endpoint) or asks(endpoint, "listen"):
            raise EndpointError(f"'{endpoint}': expected a plain stream to listen on, as tcp://HOST:PORT")
        await access.check_listen(endpoint)
    async with AsyncExitStack() as stack:
        stack.enter_context(one_error_alone())
        listeners = [await stack.enter_async_context(listen(url)) for url in listen_on]
        opened = {name: await stack.enter_async_context(listen(url)) for name, url in exposed.items()}
        made = Relay(listeners, opened, known, wait, access)
        tasks = await stack.enter_async_context(anyio.create_task_group())
        tasks.start_soon(made.run)
        yield made
        tasks.cancel_scope.cancel()
