"""Which scheme is carried by which transport: built in, installed, or registered by a program."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

from .endpoint import Endpoint
from .errors import EndpointError, UnknownSchemeError
from .options import describe
from .transport import Listener, Transport

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = [
    "BUILT_IN",
    "ENTRY_POINT_GROUP",
    "TransportFactory",
    "find_factory",
    "register_transport",
    "schemes",
]

logger: logging.Logger = logging.getLogger("serialnet")

ENTRY_POINT_GROUP = "serialnet.transports"

# Windows has none: pyserial drives its serial ports.
_HAS_TERMIOS = find_spec("termios") is not None

# Loaded when first asked for, as entry points are.
BUILT_IN = {
    "exec": "serialnet.transports.exec:factory",
    "loop": "serialnet.transports.loop:factory",
    "pty": "serialnet.transports.pty:factory",
    "pyserial": "serialnet.transports.pyserial:factory",
    "relay": "serialnet.transports.relay:factory",
    "rfc2217": "serialnet.transports.rfc2217:factory",
    "serial": f"serialnet.transports.{'serial' if _HAS_TERMIOS else 'pyserial'}:factory",
    "sim": "serialnet.transports.sim:factory",
    "ssh": "serialnet.transports.ssh:factory",
    "stdio": "serialnet.transports.stdio:factory",
    "tcp": "serialnet.transports.tcp:factory",
    "unix": "serialnet.transports.unix:factory",
    "usb": "serialnet.transports.usb:factory",
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
    :raises EndpointError: if the scheme is no scheme, or taken, or the factory none
    """
    if not _is_scheme(scheme):
        raise EndpointError(f"{scheme!r} is no scheme: expected letters, digits, '-' and '.', a letter first")
    scheme = scheme.lower()
    if scheme in schemes():
        raise EndpointError(f"the scheme {scheme!r} is taken")
    if problem := _problem(factory):
        raise EndpointError(f"the transport {scheme!r} cannot be registered: {problem}")
    _registered[scheme] = factory
    return lambda: _forget(scheme, factory)


def _is_scheme(text: str) -> bool:
    return text.isascii() and text[:1].isalpha() and text.replace("-", "").replace(".", "").isalnum()


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
        return _built_in(scheme)
    if scheme in _registered:
        return _registered[scheme]
    brought = _installed().get(scheme, [])
    if len(brought) > 1:
        packages = " and ".join(sorted(_package(entry) for entry in brought))
        raise EndpointError(f"the packages {packages} both bring a transport {scheme!r}: uninstall one")
    if brought:
        return _load(brought[0])
    raise UnknownSchemeError(f"no transport {scheme!r}; expected one of: {', '.join(schemes())}")


@cache
def _built_in(scheme: str) -> TransportFactory:
    module, _, name = BUILT_IN[scheme].partition(":")
    factory: TransportFactory = getattr(import_module(module), name)
    return factory


def _installed() -> dict[str, list[EntryPoint]]:
    """What packages bring, without importing any; more than one for a scheme is a clash."""
    # It takes as long to load as anyio: only what is not built in shall pay for it.
    from importlib.metadata import entry_points

    installed: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        scheme = entry.name.lower()
        if scheme in BUILT_IN or not _is_scheme(scheme):
            reason = "is built in" if scheme in BUILT_IN else "is no scheme"
            logger.warning(
                "ignoring %r of the package %s: %s %s", entry.value, _package(entry), entry.name, reason
            )
        else:
            installed.setdefault(scheme, []).append(entry)
    return installed


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else entry.module


def _load(entry: EntryPoint) -> TransportFactory:
    def unusable(reason: str) -> EndpointError:
        return EndpointError(
            f"the transport {entry.name!r} of the package {_package(entry)} cannot be used"
            f" ({entry.value}): {reason}"
        )

    try:
        loaded = entry.load()
        factory: TransportFactory = loaded() if isinstance(loaded, type) else loaded
        problem = _problem(factory)
    except ImportError as error:
        extra = f"; it needs {_package(entry)}[{','.join(entry.extras)}]" if entry.extras else ""
        raise unusable(f"{error}{extra}") from error
    except (Exception, SystemExit) as error:
        raise unusable(repr(error)) from error
    if problem:
        raise unusable(problem)
    return factory


def _problem(factory: TransportFactory) -> str | None:
    """What is missing for a factory."""
    if missing := [name for name in ("options", "layer", "connect") if not hasattr(factory, name)]:
        return f"{factory!r} has no {', '.join(missing)}"
    if not isinstance(factory.layer, bool):
        return f"its layer must be True or False, not {factory.layer!r}"
    for name in ("connect", "listen"):
        if not inspect.iscoroutinefunction(getattr(factory, name, _left_out)):
            return f"its {name} must be an async def"
    options: object = factory.options
    if not (isinstance(options, type) and is_dataclass(options)):
        return f"its options must be a dataclass, not {options!r}"
    for field in fields(options):
        if field.default is MISSING:
            return f"its option {field.name!r} must have a default: {field.name} = serialnet.option(...)"
    try:
        describe(options)
    except Exception as error:  # noqa: BLE001  # of annotations that do not resolve, or are no option's
        return f"its options have an annotation that cannot be used: {error!r}"
    return None


async def _left_out() -> None:
    """Stand for a method that may be left out."""
