"""A program: run tests of pyserial's own against our object; for their folder, a URL and names of modules."""

from __future__ import annotations

import sys
import unittest
from importlib import import_module
from typing import Any

import serial

import serialnet.pyserial

stock: Any = serial.serial_for_url


def serial_for_url(url: str, *args: Any, do_not_open: bool = False, **options: Any) -> Any:
    """Open the port under test with our object, whatever pyserial would take it for; all else as ever."""
    if url != sys.argv[2]:
        return stock(url, *args, do_not_open=do_not_open, **options)
    port = serialnet.pyserial.Serial(None, *args, **options)
    port.port = url
    if not do_not_open:
        port.open()
    return port


def main() -> bool:
    folder, url, *names = sys.argv[1:]
    sys.path.insert(0, folder)
    theirs: Any = serial
    theirs.serial_for_url = serial_for_url
    theirs.Serial = serialnet.pyserial.Serial
    suite = unittest.TestSuite()
    for name in names:
        module = import_module(name)
        module.PORT = url  # type: ignore[attr-defined]
        suite.addTest(unittest.defaultTestLoader.loadTestsFromModule(module))
    return unittest.TextTestRunner(verbosity=2).run(suite).wasSuccessful()


if __name__ == "__main__":
    sys.exit(not main())
