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


def _prepare() -> None:
    if sys.version_info < (3, 11):
        _warn("serialnet needs Python 3.11")
        return
    sys.meta_path.append(_Finder())  # type: ignore[arg-type]
    try:
        import serialnet.pyserial.handlers  # noqa: F401, PLC0415
    except Exception as error:
        _warn("serialnet cannot be imported: %s" % error)


def _warn(reason: str) -> None:
    version = "%d.%d" % sys.version_info[:2]
    sys.stderr.write(
        "serialnet: pyserial's own URL handlers are used: %s (%s is Python %s)\n"
        % (reason, sys.executable, version)
    )


_prepare()
