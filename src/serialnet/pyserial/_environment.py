"""What other programs need in their environment to use our URL handlers."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from ..core.opening import check
from .handlers import is_pyserials

__all__ = ["PORT_VARIABLES", "environment", "pyserial_url"]

BOOTSTRAP = Path(__file__).with_name("bootstrap")
# serialnet, what it stands on (pyserial is the program's own), and what brings its extras.
MODULES = ("serialnet", "anyio", "typing_extensions", "idna", "sniffio", "websockets")
# Where programs look for their port: esptool and idf-monitor, idf.py, PlatformIO, ampy.
PORT_VARIABLES = ("ESPTOOL_PORT", "ESPPORT", "PLATFORMIO_UPLOAD_PORT", "AMPY_PORT")


def environment(port: str | None = None, *, base: Mapping[str, str] | None = None) -> dict[str, str]:
    """An environment in which Python programs, and those that they start, have our URL handlers.

    It holds for any Python from 3.11 on that has pyserial; serialnet need not be installed there.

    :param port: the port that programs shall use where they are told none
    :param base: what to add to; this process's environment if ``None``
    :raises EndpointError: if the port is none
    """
    variables = dict(os.environ if base is None else base)
    if port is not None:
        variables |= dict.fromkeys(PORT_VARIABLES, pyserial_url(port))
    path = [str(BOOTSTRAP), *filter(None, [variables.get("PYTHONPATH")])]
    variables["PYTHONPATH"] = os.pathsep.join(path)
    places = {name: place for name in MODULES if (place := _place(name))}
    variables["SERIALNET_RUN_MODULES"] = os.pathsep.join(places)
    variables["SERIALNET_RUN_PATH"] = os.pathsep.join(dict.fromkeys(places.values()))
    return variables


def _place(name: str) -> str | None:
    """The directory that a module would be imported from."""
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        return None
    origin = Path(spec.origin)
    return str(origin.parent.parent if spec.submodule_search_locations else origin.parent)


def pyserial_url(port: str) -> str:
    """Write a port as pyserial's ``serial_for_url`` takes it: short forms in full, all with ``://``.

    :raises EndpointError: if it is none of ours, of pyserial's or of the system's
    """
    match = re.match(r"([A-Za-z0-9+-]+)://", port)
    if match and is_pyserials(match[1].lower()):
        return port
    endpoint = check(port)
    if match or endpoint.schemes == ("serial",):
        return port
    if port.startswith(":"):
        return str(endpoint)
    return port.replace(":", "://", 1)
