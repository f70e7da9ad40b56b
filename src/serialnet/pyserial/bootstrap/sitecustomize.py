"""What each Python that ``serialnet run`` starts imports first: hooks for the imports of serial and esptool.

They cost next to nothing where these are never imported. Any Python 3.6 or newer can read it.
Annotations would want ``typing``, whose import every Python that is started would wait for.
"""

import os
import sys
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec

HERE = os.path.dirname(os.path.abspath(__file__))
# Asked for handlers in this order: the first has none, but sees to it that the second can be imported.
PACKAGES = ["_serialnet_run", "serialnet.pyserial.handlers"]


class _Finder:
    """Has a module run by a function of ours, which is given the one that runs it."""

    def __init__(self, name, run):  # type: ignore[no-untyped-def]
        self._name = name
        self._run = run
        self._asks_others = False

    def find_spec(self, name, path, target=None):  # type: ignore[no-untyped-def]
        if name != self._name or self._asks_others:
            return None
        self._asks_others = True
        try:
            spec = find_spec(name)
        finally:
            self._asks_others = False
        if spec is not None and hasattr(spec.loader, "exec_module"):
            self._take_over(spec.loader)  # type: ignore[no-untyped-call]
        return spec

    def _take_over(self, loader):  # type: ignore[no-untyped-def]
        run = loader.exec_module
        loader.exec_module = lambda module: self._run(run, module)


def _run_serial(run, module):  # type: ignore[no-untyped-def]
    """Let the packages be known to pyserial."""
    run(module)
    known = getattr(module, "protocol_handler_packages", None)  # another package may have that name
    if known is not None:
        known[:0] = [package for package in PACKAGES if package not in known]


def _run_esptool(run, module):  # type: ignore[no-untyped-def]
    """See to the settings, which are read while this runs, if a URL may be the port."""
    if any("://" in word for word in [*sys.argv, os.environ.get("ESPTOOL_PORT", "")]):
        import_module(PACKAGES[0]).before_esptool()
    run(module)


def _import_shadowed() -> None:
    """Import the sitecustomize that would have been, had this one not stood before it."""
    elsewhere = [entry for entry in sys.path if os.path.abspath(entry) != HERE]
    spec = PathFinder.find_spec("sitecustomize", elsewhere)
    if spec is not None and spec.loader is not None:
        module = module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


sys.meta_path.insert(0, _Finder("serial", _run_serial))  # type: ignore[no-untyped-call]
sys.meta_path.insert(0, _Finder("esptool", _run_esptool))  # type: ignore[no-untyped-call]
_import_shadowed()
