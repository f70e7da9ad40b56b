"""``serialnet monitor``."""

from __future__ import annotations

import argparse
import sys

from serial import SerialException

from ..core.errors import SerialnetError
from ..core.opening import check

__all__ = ["add_arguments"]

EPILOG = """\
Keys are miniterm's: Ctrl+T Ctrl+H shows them, Ctrl+] leaves. Ctrl+T g restarts the board, Ctrl+T l restarts
it into its boot loader. When the connection is lost, it is opened again as soon as that can be.

examples:
  serialnet monitor ssh://pi/dev/ttyUSB0
  serialnet monitor 'rfc2217://lab:4000?baudrate=74880&dtr=off&rts=off'
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.description = "See what a port says, and type to it. 115200 8N1 unless the URL says otherwise."
    parser.epilog = EPILOG
    parser.add_argument("url", metavar="URL", help="the port: a device or a URL")
    parser.add_argument("--baudrate", type=int, metavar="RATE", help="bits per second")
    parser.add_argument("--eol", choices=("crlf", "cr", "lf"), default="crlf", help="what ENTER sends")
    parser.add_argument("--raw", action="store_true", help="show control characters as they come")
    parser.add_argument("--lines", action="store_true", help="tell of status lines and of line errors, too")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Be a terminal until the user leaves."""
    check(options.url)
    if not (sys.stdin and sys.stdin.isatty()):
        raise SerialnetError("expected a terminal as standard input, with somebody at it")
    from ..pyserial import install
    from ..pyserial.monitor import Monitor

    install()  # for the menu, by which one can change to another port

    try:
        monitor = Monitor(
            options.url, baudrate=options.baudrate, eol=options.eol, raw=options.raw, lines=options.lines
        )
    except SerialException as error:
        raise SerialnetError(error.strerror or str(error)) from error
    monitor.run()
    return 0
