"""``serialnet run``."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys

from ..pyserial import environment, pyserial_url

__all__ = ["add_arguments"]

DESCRIPTION = """\
Run a Python program that is built on pyserial: all URLs of serialnet work in it and in the programs that it
starts, and rfc2217:// is faster. Its exit status is the program's.
"""
EPILOG = """\
{port} in the command stands for the port. Programs that look there find it in their environment, too:
ESPTOOL_PORT, ESPPORT (idf.py), PLATFORMIO_UPLOAD_PORT, AMPY_PORT.

examples:
  serialnet run -- esptool --port ssh://pi/dev/ttyUSB0 write-flash 0x1000 firmware.bin
  serialnet run --port rfc2217://lab:4000 -- idf.py flash monitor
  serialnet run --port :4000 -- mpremote connect {port} ls

A program that is no Python, or brings its own, knows nothing of this: give it a device or a listener.
"""

# What a shell says of a command that it cannot find, or not run.
NOT_FOUND, NOT_RUN = 127, 126


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.usage = "serialnet run [-h] [-v] [--port URL] [--assist {auto,off}] [--] PROGRAM ..."
    parser.description = DESCRIPTION
    parser.epilog = EPILOG
    parser.add_argument("--port", metavar="URL", help="the port that the program shall use")
    parser.add_argument(
        "--assist",
        choices=("auto", "off"),
        default="auto",
        help="keep esptool waiting, and set its time limits, by how far away the board is",
    )
    parser.add_argument("program", metavar="PROGRAM", help="the program; its arguments follow")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Become the program."""
    program: str = options.program
    arguments: list[str] = options.arguments
    if options.port is not None:
        port = pyserial_url(options.port)
        arguments = [argument.replace("{port}", port) for argument in arguments]
    variables = environment(options.port)
    if options.assist == "off":
        variables["SERIALNET_ASSIST"] = "off"
    # Beside our own Python, too, where scripts are that no PATH names: pipx, uvx.
    beside = os.path.dirname(sys.executable)
    path = shutil.which(program) or shutil.which(program, path=beside)
    if path is None:
        print(f"serialnet: there is no program {program!r}", file=sys.stderr)
        return NOT_FOUND
    return _become(path, [program, *arguments], variables)


def _become(path: str, command: list[str], variables: dict[str, str]) -> int:
    if sys.platform == "win32":  # where a process cannot become another
        return subprocess.call(command, executable=path, env=variables)
    sys.stdout.flush()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # which Python ignores, and hands down
    try:
        os.execve(path, command, variables)
    except OSError as error:
        print(f"serialnet: cannot run {path}: {error.strerror}", file=sys.stderr)
        return NOT_RUN
