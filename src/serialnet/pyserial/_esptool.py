"""esptool's own time limits, set by how far away its port is, before it reads them."""

from __future__ import annotations

import argparse
import atexit
import configparser
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import serial

from ..distance import glance
from ._connection import connect_ahead, is_any_open
from .handlers import ours

__all__ = ["give_time"]

SECTION = "esptool"
VARIABLE = "ESPTOOL_CFGFILE"
NAMES = ("esptool.cfg", "setup.cfg", "tox.ini")
# Commands for which no port is opened.
OFFLINE = frozenset({"elf2image", "image-info", "merge-bin", "version", "--help", "-h"})
# What esptool gives a chip that is close by, in seconds.
LIMITS = {"sync_timeout": 0.1, "mem_end_rom_timeout": 0.2, "timeout": 3.0}
# A round trip of so many seconds or less never uses them up.
NEAR = 0.03


def give_time() -> None:
    """Connect to the port that esptool was started for, and let it know in its way how long answers take.

    esptool's constants are made when it is imported, before it opens its port. So the connection is made
    ahead of that, and handed over then: there is one, as without this. If it cannot be made, nothing happens,
    nor in a program that has a port open already, and is no esptool.
    """
    port = port_named(sys.argv[1:], os.environ)
    url = port and ours(port)
    if not url or is_any_open():
        return
    try:
        round_trip = glance(connect_ahead(url).transport)
    except serial.SerialException:
        return  # esptool will say so
    if round_trip is not None and round_trip > NEAR:
        os.environ[VARIABLE] = written(settings(round_trip))


def port_named(arguments: Sequence[str], environment: Mapping[str, str]) -> str | None:
    """The port that esptool's command line names, if it is going to open it."""
    if OFFLINE & {argument.replace("_", "-") for argument in arguments}:
        return None
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("-p", "--port", default=environment.get("ESPTOOL_PORT"))
    try:
        port: str | None = parser.parse_known_args(arguments)[0].port
    except argparse.ArgumentError:
        return None
    return port


def settings(round_trip: float) -> configparser.RawConfigParser:
    """What esptool's file of settings would say, were it its user's wish to have it wait that much longer.

    What the user's own file says stays. Twice the round trip leaves room for jitter.
    """
    found = users_own() or configparser.RawConfigParser()
    if not found.has_section(SECTION):
        found.add_section(SECTION)
    for name, limit in LIMITS.items():
        if not found.has_option(SECTION, name):
            found.set(SECTION, name, f"{limit + 2 * round_trip:.2f}")
    return found


def users_own() -> configparser.RawConfigParser | None:
    """The file of settings that esptool would take."""
    user = Path("AppData", "Local") if os.name == "nt" else Path(".config")
    places = [Path.cwd(), Path.home() / user / SECTION, Path.home()]
    named = [Path(os.environ[VARIABLE])] if os.environ.get(VARIABLE) else []
    for path in [*named, *(place / name for place in places for name in NAMES)]:
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError, OSError):
            continue
        if parser.has_section(SECTION):
            return parser
    return None


def written(parser: configparser.RawConfigParser) -> str:
    """The path of a file that lasts as long as this process."""
    with tempfile.NamedTemporaryFile(
        "w", prefix="serialnet-", suffix=".cfg", encoding="utf-8", delete=False
    ) as file:
        parser.write(file)
    atexit.register(Path(file.name).unlink, missing_ok=True)
    return file.name
