"""The package among ``serial.protocol_handler_packages`` in which pyserial finds our URL handlers.

pyserial imports ``protocol_SCHEME`` from it; a finder makes these modules when asked for, for schemes are not
all known beforehand: transports can be registered, and layers joined (``protocol_rfc2217+unix``).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

import serial
from typing_extensions import override

from ...core.registry import schemes
from .._serial import Serial

__all__ = ["install", "is_pyserials", "ours", "uninstall"]

_PREFIX = f"{__name__}.protocol_"
# pyserial's client of these is replaced; its other handlers stay.
_REPLACED = frozenset({"rfc2217"})


def install() -> None:
    """Let :func:`serial.serial_for_url` open our URLs, and ``rfc2217://`` with our client.

    What has ``://`` reaches handlers at all, so ``exec:COMMAND`` is written ``exec://COMMAND`` there.
    Nothing happens when it is installed already.
    """
    if __name__ not in serial.protocol_handler_packages:
        serial.protocol_handler_packages.insert(0, __name__)


def uninstall() -> None:
    """Undo :func:`install`; ports that are open stay."""
    if __name__ in serial.protocol_handler_packages:
        serial.protocol_handler_packages.remove(__name__)


def is_pyserials(scheme: str) -> bool:
    """Whether pyserial's own handler opens URLs of this scheme."""
    return scheme not in _REPLACED and find_spec(f"serial.urlhandler.protocol_{scheme}") is not None


def ours(port: str) -> str | None:
    """The URL that our handlers open for a port, if it is for them."""
    scheme, mark, _ = _without_mark(port).partition("://")
    return _serial_class_for_url(port)[0] if mark and _is_ours(scheme.lower()) else None


def _is_ours(scheme: str) -> bool:
    return not is_pyserials(scheme) and {*scheme.split("+")} <= {*schemes()}


class _Finder(MetaPathFinder, Loader):
    """Makes the modules of the handlers."""

    @override
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(_PREFIX):
            return None
        scheme = _without_mark(fullname.removeprefix(_PREFIX))
        return ModuleSpec(fullname, self) if _is_ours(scheme) else None

    @override
    def exec_module(self, module: ModuleType) -> None:
        module.serial_class_for_url = _serial_class_for_url  # type: ignore[attr-defined]


def _serial_class_for_url(url: str) -> tuple[str, type[Serial]]:
    """What pyserial asks a handler's module for."""
    url = _without_mark(url)
    scheme, _, rest = url.partition("://")
    return f"{scheme}:{rest}" if scheme.lower().split("+")[-1] == "exec" else url, Serial


def _without_mark(url: str) -> str:
    """A URL without what a port's name has before it; some programs open a port again by its name."""
    return re.sub(r"^(rfc2217|socket):(?!//)", "", url)


sys.meta_path.append(_Finder())
