"""Which scheme is carried by which transport: built in, installed, or registered by a program."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import is_dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from typing import Any, Protocol

from .endpoint import Endpoint
from .errors import EndpointError, UnknownSchemeError
from .options import NoOptions
from .transport import Listener, Transport

__all__ = [
    "BUILT_IN",
    "ENTRY_POINT_GROUP",
    "TransportFactory",
    "find_factory",
    "register_transport",
    "schemes",
]

ENTRY_POINT_GROUP = "serialnet.transports"

# Windows has none: pyserial drives its serial ports.
_HAS_TERMIOS = find_spec("termios") is not None

# Loaded when first asked for, as entry points are.
BUILT_IN = {
    "exec": "serialnet.transports.exec:factory",
    "loop": "serialnet.transports.loop:factory",
    "pyserial": "serialnet.transports.pyserial:factory",
    "rfc2217": "serialnet.transports.rfc2217:factory",
    "serial": f"serialnet.transports.{'serial' if _HAS_TERMIOS else 'pyserial'}:factory",
    "sim": "serialnet.transports.sim:factory",
    "ssh": "serialnet.transports.ssh:factory",
    "stdio": "serialnet.transports.stdio:factory",
    "tcp": "serialnet.transports.tcp:factory",
    "unix": "serialnet.transports.unix:factory",
}


class TransportFactory(Protocol):
    """What a scheme stands for; an entry point in ``serialnet.transports`` names one (or its class)."""

    @property
    def options(self) -> type[Any]:
        """A dataclass: the scheme's options with types, defaults and docs (:func:`option`)."""

    @property
    def layer(self) -> bool:
        """Whether it goes over another stream: ``scheme+stream://``."""

    async def connect(self, endpoint: Endpoint, options: Any, over: Transport | None) -> Transport:
        """Open the endpoint; a layer gets the open transport below it, and closes it if it fails."""

    async def listen(self, endpoint: Endpoint, options: Any, over: Listener | None) -> Listener:
        """Listen on the endpoint; raises :exc:`EndpointError`, or is left out, where the scheme cannot."""


_registered: dict[str, TransportFactory] = {}


def register_transport(scheme: str, factory: TransportFactory) -> Callable[[], None]:
    """Make ``scheme`` known to this process.

    :param scheme: letters, digits, ``-`` and ``.``, beginning with a letter
    :return: a function that undoes it
    :raises EndpointError: if the scheme is no scheme, or taken
    """
    if not (scheme.isascii() and scheme[:1].isalpha() and scheme.replace("-", "").replace(".", "").isalnum()):
        raise EndpointError(f"{scheme!r} is no scheme: expected letters, digits, '-' and '.', a letter first")
    scheme = scheme.lower()
    if scheme in schemes():
        raise EndpointError(f"the scheme {scheme!r} is taken")
    _registered[scheme] = factory
    return lambda: _forget(scheme, factory)


def _forget(scheme: str, factory: TransportFactory) -> None:
    if _registered.get(scheme) is factory:
        del _registered[scheme]


def schemes() -> list[str]:
    """All schemes that a URL can have here."""
    return sorted({*BUILT_IN, *_registered, *_installed()})


def find_factory(scheme: str) -> TransportFactory:
    """Find, and if need be load, what carries a scheme.

    :raises UnknownSchemeError: if there is none
    :raises EndpointError: if the package that brings it cannot be used
    """
    if scheme in BUILT_IN:
        module, _, name = BUILT_IN[scheme].partition(":")
        factory: TransportFactory = getattr(import_module(module), name)
        return factory
    if scheme in _registered:
        return _registered[scheme]
    installed = _installed()
    if scheme in installed:
        return _load(installed[scheme])
    raise UnknownSchemeError(f"no transport {scheme!r}; expected one of: {', '.join(schemes())}")


def _installed() -> dict[str, EntryPoint]:
    return {entry.name.lower(): entry for entry in entry_points(group=ENTRY_POINT_GROUP)}


def _load(entry: EntryPoint) -> TransportFactory:
    package = entry.dist.name if entry.dist else entry.module
    try:
        loaded = entry.load()
        factory: TransportFactory = loaded() if isinstance(loaded, type) else loaded
    except Exception as error:
        raise EndpointError(
            f"the transport {entry.name!r} of the package {package} cannot be used: {error!r}"
        ) from error
    if not is_dataclass(getattr(factory, "options", NoOptions)):
        raise EndpointError(
            f"the transport {entry.name!r} of the package {package} has options that are no dataclass"
        )
    missing = [name for name in ("options", "layer", "connect") if not hasattr(factory, name)]
    if missing:
        raise EndpointError(
            f"the transport {entry.name!r} of the package {package} has no {', '.join(missing)}"
        )
    return factory
