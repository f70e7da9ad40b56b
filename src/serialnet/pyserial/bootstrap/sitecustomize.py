"""What each Python that ``serialnet run`` starts imports first: a hook for the import of ``serial``.

It costs next to nothing where that is never imported. Any Python 3.6 or newer can read it.
"""

import os
import sys
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec, module_from_spec

HERE = os.path.dirname(os.path.abspath(__file__))
# Asked for handlers in this order: the first has none, but sees to it that the second can be imported.
PACKAGES = ["_serialnet_run", "serialnet.pyserial.handlers"]


class _SerialFinder:
    """Lets the packages be known to pyserial once that has been imported."""

    def find_spec(self, name, path, target=None):  # type: ignore[no-untyped-def]
        if name != "serial":
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        if spec is not None and hasattr(spec.loader, "exec_module"):
            _after_exec(spec)
        return spec


def _after_exec(spec: ModuleSpec) -> None:
    loader = spec.loader
    assert loader is not None
    exec_module = loader.exec_module

    def exec_and_tell(module):  # type: ignore[no-untyped-def]
        exec_module(module)
        known = getattr(module, "protocol_handler_packages", None)  # another package may have that name
        if known is not None:
            known[:0] = [package for package in PACKAGES if package not in known]
            if "esptool" in sys.modules:
                _before_esptool()

    loader.exec_module = exec_and_tell  # type: ignore[method-assign]


def _before_esptool() -> None:
    """See to esptool's settings, which it reads once it has imported serial, if a URL is its port."""
    if any("://" in word for word in [*sys.argv, os.environ.get("ESPTOOL_PORT", "")]):
        import_module(PACKAGES[0]).before_esptool()


def _import_shadowed() -> None:
    """Import the sitecustomize that would have been, had this one not stood before it."""
    elsewhere = [entry for entry in sys.path if os.path.abspath(entry) != HERE]
    spec = PathFinder.find_spec("sitecustomize", elsewhere)
    if spec is not None and spec.loader is not None:
        module = module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


sys.meta_path.insert(0, _SerialFinder())
_import_shadowed()
