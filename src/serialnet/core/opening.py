"""``connect`` and ``listen``: from a URL to something open."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from types import TracebackType
from typing import Any, Generic, Literal, TypeVar

import anyio
import anyio.lowlevel
from anyio.abc import AsyncResource
from typing_extensions import override

from .endpoint import Endpoint
from .errors import EndpointError
from .options import names_of, parse_options
from .registry import TransportFactory, find_factory
from .transport import Listener, Transport

__all__ = ["Opener", "Opening", "asks", "check", "connect", "dials", "listen", "option_names"]

R = TypeVar("R", bound=AsyncResource)


class Opening(Generic[R]):
    """Something about to be opened: ``await`` it to own it, or ``async with`` it to have it closed.

    Nothing happens before, and it can be used once.
    """

    def __init__(self, open_: Callable[[], Awaitable[R]]) -> None:
        self._open: Callable[[], Awaitable[R]] | None = open_
        self._resource: R | None = None

    def __await__(self) -> Generator[Any, Any, R]:
        return self._once().__await__()

    async def __aenter__(self) -> R:
        self._resource = await self._once()
        return self._resource

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        assert self._resource is not None
        await self._resource.aclose()

    async def _once(self) -> R:
        open_, self._open = self._open, None
        if open_ is None:
            raise RuntimeError("this was opened before: call connect() or listen() again")
        return await open_()


def connect(url: str | Endpoint, **options: object) -> Opening[Transport]:
    """Open an endpoint: ``async with connect("/dev/ttyUSB0", baudrate=9600) as port: ...``.

    :param url: where to; see the reference of URLs
    :param options: the endpoint's options, as in the URL's query; they win over those in the URL
    :raises EndpointError: (when awaited or entered) if the URL or an option cannot be used
    :raises OpenError: (likewise) if the endpoint cannot be opened
    """

    async def open_() -> Transport:
        endpoint = Endpoint.parse(url)
        return await _connect(endpoint, _resolve(endpoint, options))

    return Opening(open_)


class Opener:
    """Opens an endpoint again and again; what carries it is looked up once.

    :raises EndpointError: if it could not be opened for what it says
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._resolved = _resolve(endpoint, {})

    async def open(self, options: dict[str, object]) -> Transport:
        """Open it, as :func:`connect` does."""
        resolved = _resolve(self.endpoint, options) if options else self._resolved
        return await _connect(self.endpoint, resolved)


def listen(url: str | Endpoint, **options: object) -> Opening[Listener]:
    """Listen on an endpoint: ``async with listen("tcp://127.0.0.1:0") as listener: ...``.

    Its parameters and errors are those of :func:`connect`.
    """

    async def open_() -> Listener:
        endpoint = Endpoint.parse(url)
        resolved = _resolve(endpoint, options)
        dialled: list[tuple[TransportFactory, Any]] = []
        if dialling := [n for n, (factory, _) in enumerate(resolved) if _dials(factory)]:
            resolved, dialled = resolved[: dialling[0] + 1], resolved[dialling[0] + 1 :]
        if not all(hasattr(factory, "listen") for factory, _ in resolved):
            raise EndpointError(f"'{endpoint}': nothing can listen there")
        listener: Listener | None = _Dialler(endpoint, dialled) if dialled else None
        for factory, values in reversed(resolved):
            over, listener = listener, None
            try:
                listener = await factory.listen(endpoint, values, over)
            except BaseException:
                if over is not None:
                    await anyio.aclose_forcefully(over)
                raise
        assert listener is not None
        return listener

    return Opening(open_)


class _Dialler(Listener):
    """What stands below a layer that listens by dialling: accepts what it has dialled."""

    def __init__(self, endpoint: Endpoint, resolved: list[tuple[TransportFactory, Any]]) -> None:
        self._endpoint = endpoint
        self._resolved = resolved

    @property
    @override
    def urls(self) -> list[str]:
        return []

    @override
    async def accept(self) -> Transport:
        return await _connect(self._endpoint, self._resolved)

    @override
    async def aclose(self) -> None:
        await anyio.lowlevel.checkpoint()


async def _connect(endpoint: Endpoint, resolved: list[tuple[TransportFactory, Any]]) -> Transport:
    """Open the layers, innermost first."""
    transport: Transport | None = None
    schemes = endpoint.schemes[-len(resolved) :]
    for scheme, (factory, values) in zip(reversed(schemes), reversed(resolved), strict=True):
        over, transport = transport, None
        try:
            transport = await factory.connect(endpoint, values, over)
        except BaseException:
            if over is not None:
                await anyio.aclose_forcefully(over)
            raise
        if not isinstance(transport, Transport):
            if over is not None:
                await anyio.aclose_forcefully(over)
            what = f"connect returned {transport!r}, which is no Transport"
            raise EndpointError(f"the transport {scheme!r} cannot be used: {what}")
    assert transport is not None
    return transport


def check(url: str | Endpoint, **options: object) -> Endpoint:
    """Parse a URL and look at its schemes and options, without opening anything.

    :raises EndpointError: if it could not be opened for what it says
    """
    endpoint = Endpoint.parse(url)
    _resolve(endpoint, options)
    return endpoint


def asks(endpoint: Endpoint, how: Literal["connect", "listen"]) -> bool:
    """Whether what opening this gives is known to ask for line changes: its factory says so in ``asks``."""
    return how in getattr(find_factory(endpoint.schemes[0]), "asks", ())


def dials(endpoint: Endpoint) -> bool:
    """Whether listening on this opens nothing to others here: a layer of it dials out in place of that."""
    return any(_dials(find_factory(scheme)) for scheme in endpoint.schemes)


def _dials(factory: TransportFactory) -> bool:
    return getattr(factory, "dials", False)


def option_names(endpoint: Endpoint) -> set[str]:
    """The options that an endpoint can be opened with: those of its scheme and of the layers above."""
    return set().union(*(names_of(find_factory(scheme).options) for scheme in endpoint.schemes))


def _resolve(endpoint: Endpoint, options: dict[str, object]) -> list[tuple[TransportFactory, Any]]:
    """Find what carries each scheme, outermost first, and give each the options that are its own."""
    if endpoint.listens:
        raise EndpointError(f"'{endpoint}': 'listen:' stands only before an end of a link")
    factories = [find_factory(scheme) for scheme in endpoint.schemes]
    for scheme, factory in zip(endpoint.schemes[:-1], factories[:-1], strict=True):
        if not factory.layer:
            raise EndpointError(f"{str(endpoint)!r}: {scheme!r} is no layer, nothing can stand after its '+'")
    if factories[-1].layer:
        scheme = endpoint.schemes[-1]
        raise EndpointError(f"{str(endpoint)!r}: {scheme!r} is a layer; expected '{scheme}+STREAM://...'")
    names = [names_of(factory.options) for factory in factories]
    known = set().union(*names)
    if sum(map(len, names)) > len(known):
        clash = sorted(name for name in known if sum(name in own for own in names) > 1)
        raise EndpointError(f"{endpoint.scheme!r}: its layers share the option {', '.join(clash)}")
    given = {**endpoint.options, **options}
    resolved: list[tuple[TransportFactory, Any]] = []
    for scheme, factory, own in zip(endpoint.schemes, factories, names, strict=True):
        # What is nobody's is shown to the outermost, which refuses it and names all that are known.
        mine = {
            name: value
            for name, value in given.items()
            if name in own or (name not in known and not resolved)
        }
        resolved.append((factory, parse_options(factory.options, mine, f"{scheme}:", known)))
    return resolved
