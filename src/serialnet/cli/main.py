"""Parse, call the library, print: errors in one line, 2 for bad usage, 1 for failures."""

from __future__ import annotations

import argparse
import inspect
import logging
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import anyio

from .._version import __version__
from ..core.errors import EndpointError

__all__ = ["main"]

# Each stands in the module of its name.
COMMANDS = {
    "serve": "share a serial port on the network",
    "attach": "make a port far away a device of this machine, for any program",
    "link": "join any two ends: devices, URLs, and places where clients come in",
    "relay": "let boards behind NAT be reached by name",
    "run": "run a program that is built on pyserial with serialnet's URLs",
    "monitor": "a terminal for a port",
    "ports": "list the serial ports of this machine",
    "reset": "restart a board by DTR and RTS, or by a touch",
    "doctor": "find out what is wrong with a port",
    "demo": "flash a simulated board through the network",
}

EPILOG = """\
examples:
  serialnet serve                          share the one port that is plugged in
  serialnet serve /dev/ttyUSB0 --listen rfc2217://127.0.0.1:4000
  serialnet link listen:tcp://127.0.0.1:4001 /dev/ttyUSB0
  serialnet attach rfc2217://lab:4000 /tmp/ttyV0
                                           make that a device here, for any program
  serialnet relay --tokens FILE            let boards behind NAT be reached by name
  serialnet reset :4000 --bootloader       restart the board behind that into its boot loader
  serialnet doctor rfc2217://lab:4000      find out what is wrong there
  serialnet demo                           flash a simulated board through the network

Each command has its own help: serialnet serve --help
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    :param arguments: what follows the program's name; from ``sys.argv`` if ``None``
    :return: the exit status
    """
    if arguments is None:
        arguments = sys.argv[1:]
    parser = argparse.ArgumentParser(
        prog="serialnet",
        description="Serial ports on networks.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"serialnet {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("-v", "--verbose", action="count", default=0, help="say more; twice: say it all")
    for name, summary in COMMANDS.items():
        command = commands.add_parser(
            name,
            parents=[common],
            help=summary,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name in arguments:  # of the others the name is enough
            import_module(f".{name}", __package__).add_arguments(command)
    options = parser.parse_args(arguments)
    logging.basicConfig(format="%(message)s", level=logging.WARNING - 10 * min(options.verbose, 2))
    try:
        return _run(options.run, options)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone; nothing more can be said, not even by Python at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except EndpointError as error:
        return _fail(2, error)
    except Exception as error:
        if options.verbose > 1:
            logging.getLogger("serialnet").exception("the command failed")
        return _fail(1, error)


def _run(run: Callable[[Any], Any], options: argparse.Namespace) -> int:
    """Run a command that is a coroutine function, or one that needs no event loop."""
    status: int
    if not inspect.iscoroutinefunction(run):
        status = run(options)
        return status
    try:
        status = anyio.run(run, options)
        return status
    except BaseExceptionGroup as group:
        # One thing that went wrong is told as such, whichever task it happened in.
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None


def _fail(status: int, error: Exception) -> int:
    text = str(error) or type(error).__name__
    print(f"serialnet: {text}", file=sys.stderr)
    return status
