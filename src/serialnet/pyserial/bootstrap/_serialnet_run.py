"""Lets ``serialnet`` be imported by a Python of another environment; imported when pyserial gets a URL.

Any Python 3.6 or newer can read it.
"""

import os
import sys
from importlib.machinery import PathFinder

# Set by ``serialnet run``: names of top-level modules, and where they are.
MODULES = os.environ.get("SERIALNET_RUN_MODULES", "").split(os.pathsep)
PATH = os.environ.get("SERIALNET_RUN_PATH", "").split(os.pathsep)


class _Finder:
    """Finds serialnet and what it needs, and nothing else of that environment, where this one has it not."""

    def find_spec(self, name, path, target=None):  # type: ignore[no-untyped-def]
        return PathFinder.find_spec(name, PATH) if name in MODULES else None


def before_esptool() -> None:
    """Give esptool the time that its port needs, unless the assist is off."""
    if READY and os.environ.get("SERIALNET_ASSIST") != "off":
        from serialnet.pyserial._esptool import give_time

        give_time()


def _prepare() -> bool:
    if sys.version_info < (3, 11):  # noqa: UP036
        _warn("serialnet needs Python 3.11")
        return False
    sys.meta_path.append(_Finder())
    try:
        import serialnet.pyserial.handlers  # noqa: F401
    except Exception as error:  # noqa: BLE001  # the program goes on without
        _warn(f"serialnet cannot be imported: {error}")
        return False
    return True


def _warn(reason: str) -> None:
    python = f"{sys.executable} is Python {sys.version_info[0]}.{sys.version_info[1]}"
    sys.stderr.write(f"serialnet: pyserial's own URL handlers are used: {reason} ({python})\n")


READY = _prepare()
