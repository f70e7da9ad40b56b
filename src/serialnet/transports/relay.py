"""``relay://host:port/NAME``: a board that is reached through a relay, and the board's end of that.

Connecting reaches the board. Listening dials the relay as well, registers the name, and accepts the clients
that the relay has for it.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import anyio
from typing_extensions import override

from ..core.endpoint import Endpoint
from ..core.errors import OpenError, PortBusyError
from ..core.options import option
from ..core.registry import TransportFactory
from ..core.transport import Listener, Transport, TransportAttribute
from ..values.reconnect import Reconnect
from ..wire.relay import Event, Paired, Refusal, Refused, RelayClient, RelayError, Role, is_name
from ._dialogue import Dialogue
from ._prefixed import PrefixedTransport

__all__ = ["RelayListener", "RelayOptions", "RelayTransport", "factory"]

logger: logging.Logger = logging.getLogger("serialnet.relay")

TOKEN_VARIABLE = "SERIALNET_TOKEN"  # where it is, not what
# How long a relay may take until it has welcomed or refused somebody.
HANDSHAKE_TIMEOUT = 10.0
# A relay pings who waits there every 20 s, and takes 5 s for an answer at most.
SILENCE = 60.0
RECONNECT = Reconnect()
ERRORS = {
    Refusal.TOKEN.value: errno.EACCES,
    Refusal.ABSENT.value: errno.EHOSTDOWN,
    Refusal.BUSY.value: errno.EBUSY,
    Refusal.LIMIT.value: errno.EUSERS,
}


@dataclass(frozen=True, slots=True, repr=False)
class RelayOptions:
    """The options of ``relay://``."""

    name: str = option("", "the board's name at the relay; over TCP it may stand in the path")
    token: str = option("", f"what shows that one may use the name; default: ${TOKEN_VARIABLE}")

    def __post_init__(self) -> None:
        if not is_name(self.name):
            raise ValueError(
                "expected relay://HOST:PORT/NAME, with a name of letters, digits, '.', '_' and '-', "
                "64 at most"
            )
        if not _token(self):
            raise ValueError(f"expected a token: ?token=TOKEN, or the variable {TOKEN_VARIABLE}")


class RelayTransport(PrefixedTransport):
    """A stream between a board and a client, by way of a relay."""

    def __init__(self, over: Transport, first: bytes, url: str, peer: str) -> None:
        super().__init__(over, first)
        self._url = url
        self._peer = peer

    @property
    @override
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return {
            **super().extra_attributes,
            TransportAttribute.url: lambda: self._url,
            TransportAttribute.peer: lambda: self._peer,
        }


class _Waiting:
    """A connection to a relay, from the first word until there is a partner."""

    def __init__(self, over: Transport, role: Role, endpoint: Endpoint, options: RelayOptions) -> None:
        self.over = over
        self._endpoint = endpoint
        self._dialogue = Dialogue(over, RelayClient(role, options.name, _token(options)))
        self._paired: Paired | None = None

    async def introduce(self) -> None:
        """Show that we know the token, and hear that the relay does.

        :raises OpenError: if the relay does not want us, or is none
        """
        with self._limit(HANDSHAKE_TIMEOUT):
            self._take(await self._dialogue.next_event())

    async def partner(self) -> RelayTransport:
        """Wait for a partner, as long as the relay is there.

        :raises OpenError: if there will be none, or the relay is gone
        """
        while self._paired is None:
            with self._limit(SILENCE):
                self._take(await self._dialogue.next_event())
        with self._limit(HANDSHAKE_TIMEOUT):
            await self._dialogue.flush()
        first = self._dialogue.protocol.trailing_data
        return RelayTransport(self.over, first, str(self._endpoint), f"relay:{self._paired.with_}")

    def _take(self, event: Event) -> None:
        match event:
            case Paired():
                self._paired = event
            case Refused(code, text):
                kind = PortBusyError if code == Refusal.BUSY.value else OpenError
                raise kind(ERRORS.get(code, errno.EPERM), f"{self._endpoint}: the relay says: {text}")

    @contextmanager
    def _limit(self, timeout: float) -> Iterator[None]:
        """Give the relay some time, and tell its failures as what cannot be opened."""
        try:
            with anyio.fail_after(timeout):
                yield
        except TimeoutError:
            what = f"no word of a relay for {timeout:g} s"
            raise OpenError(errno.ETIMEDOUT, f"{self._endpoint}: {what}") from None
        except RelayError as error:
            raise OpenError(errno.EPROTO, f"{self._endpoint}: that is not the relay: {error}") from None
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            raise OpenError(errno.ECONNRESET, f"{self._endpoint}: the relay hung up") from None


class RelayListener(Listener):
    """A board's end: a name at a relay, under which one connection after the other waits for a client.

    A relay that is gone is dialled again for as long as this is open. There are no tasks: only while somebody
    accepts is there a connection that waits.

    :param over: its ``accept()`` dials the relay
    """

    def __init__(self, over: Listener, endpoint: Endpoint, options: RelayOptions) -> None:
        self._over = over
        self._endpoint = endpoint
        self._options = options
        self._waiting: _Waiting | None = None
        self._delays = RECONNECT.delays()
        self._lost = False
        self._accepting = anyio.ResourceGuard("accepting from")
        self._scope = anyio.CancelScope()
        self._closed = False

    @property
    @override
    def urls(self) -> Sequence[str]:
        return [str(self._endpoint)]

    async def register(self) -> None:
        """Have a connection wait at the relay.

        :raises OpenError: if that is not possible now
        """
        over = await self._over.accept()
        try:
            waiting = _Waiting(over, Role.REGISTER, self._endpoint, self._options)
            await waiting.introduce()
        except BaseException:
            await anyio.aclose_forcefully(over)
            raise
        self._waiting = waiting
        self._delays = RECONNECT.delays()
        if self._lost:
            logger.warning("%s: registered again", self._endpoint)
        self._lost = False

    def note_loss(self, error: OpenError) -> None:
        """Say that the relay is gone, once until it is back."""
        if not self._lost:
            logger.warning("%s; dialling again until it is there", error)
        self._lost = True

    @override
    async def accept(self) -> Transport:
        with self._accepting:
            while not self._closed:
                with anyio.CancelScope() as self._scope:
                    if (transport := await self._accept()) is not None:
                        return transport
            raise anyio.ClosedResourceError

    async def _accept(self) -> Transport | None:
        """Take one step towards a client: register, wait for one, or wait for the next attempt."""
        try:
            if self._waiting is None:
                await self.register()
                return None
            transport = await self._waiting.partner()
        except OpenError as error:
            self.note_loss(error)
            await self._leave()
            await anyio.sleep(next(self._delays))
            return None
        self._waiting = None
        return transport

    async def _leave(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            await anyio.aclose_forcefully(waiting.over)

    @override
    async def aclose(self) -> None:
        self._closed = True
        self._scope.cancel()
        await self._leave()
        await self._over.aclose()


class _Factory:
    options = RelayOptions
    layer = True
    # Who listens dials, too: a listener below it accepts what it has dialled.
    dials = True

    async def connect(
        self, endpoint: Endpoint, options: RelayOptions, over: Transport | None
    ) -> RelayTransport:
        assert over is not None
        endpoint = _without_layers_above(endpoint)
        waiting = _Waiting(over, Role.CONNECT, endpoint, options)
        await waiting.introduce()
        return await waiting.partner()

    async def listen(self, endpoint: Endpoint, options: RelayOptions, over: Listener | None) -> RelayListener:
        assert over is not None
        endpoint = _without_layers_above(endpoint)
        listener = RelayListener(over, endpoint, options)
        try:
            await listener.register()
        except OpenError as error:
            if error.errno in (errno.EACCES, errno.EBUSY):  # trying again would not help
                raise
            listener.note_loss(error)
        return listener


factory: TransportFactory = _Factory()


def _token(options: RelayOptions) -> str:
    return options.token or os.environ.get(TOKEN_VARIABLE, "")


def _without_layers_above(endpoint: Endpoint) -> Endpoint:
    return replace(endpoint, schemes=endpoint.schemes[endpoint.schemes.index("relay") :])
