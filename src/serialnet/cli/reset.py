"""``serialnet reset``."""

from __future__ import annotations

import argparse

from .. import resets
from ..core.errors import EndpointError
from ..core.opening import connect
from ._options import SEQUENCES_HELP

__all__ = ["add_arguments"]

EPILOG = f"""\
{SEQUENCES_HELP}
examples:
  serialnet reset /dev/ttyUSB0
  serialnet reset :4000 --bootloader
  serialnet reset rfc2217://lab:4000 --sequence 'U0,1|W0.5|U0,0'
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.description = "Restart a board by DTR and RTS: an ESP32 unless a sequence says otherwise."
    parser.epilog = EPILOG
    parser.add_argument("url", metavar="URL", help="the board's port: a device or a URL that carries a line")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--bootloader", action="store_true", help="restart it into its serial boot loader")
    how.add_argument("--sequence", metavar="SEQUENCE", help="play this instead")
    parser.set_defaults(run=run)


async def run(options: argparse.Namespace) -> int:
    """Open the port, play the sequence, close it."""
    sequence = options.sequence
    if sequence is None:
        sequence = "esp-bootloader" if options.bootloader else "esp-reset"
    try:
        resets.parse_sequence(sequence)
    except ValueError as error:
        raise EndpointError(str(error)) from None
    async with connect(options.url) as port:
        if port.line is None:
            raise EndpointError(f"{options.url} carries no DTR and RTS; expected a serial port or rfc2217://")
        await resets.play(port.line, sequence)
    return 0
