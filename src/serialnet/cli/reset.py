"""``serialnet reset``."""

from __future__ import annotations

import argparse

import anyio
from anyio.to_thread import run_sync

from .. import resets
from ..core.errors import EndpointError, LineError, MassStorageError, OpenError
from ..core.opening import connect
from ..core.transport import TransportAttribute
from ..transports.usb import find_at
from ._options import SEQUENCES_HELP

__all__ = ["add_arguments"]

# How long a board that was touched may take to come back, and how often it is looked for.
COMES_BACK_WITHIN = 10.0
LOOK = 0.1

EPILOG = f"""\
{SEQUENCES_HELP}
examples:
  serialnet reset /dev/ttyUSB0
  serialnet reset :4000 --bootloader
  serialnet reset /dev/ttyACM0 --touch
      for RP2040, nRF52, SAMD, Leonardo, ESP32-S2 with Arduino's firmware
  serialnet reset rfc2217://lab:4000 --sequence 'U0,1|W0.5|U0,0'
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.description = "Restart a board by DTR and RTS: an ESP32 unless a sequence or a touch is asked for."
    parser.epilog = EPILOG
    parser.add_argument("url", metavar="URL", help="the board's port: a device or a URL that carries a line")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--bootloader", action="store_true", help="restart it into its serial boot loader")
    how.add_argument("--sequence", metavar="SEQUENCE", help="play this instead")
    how.add_argument(
        "--touch",
        action="store_true",
        help="set 1200 baud and drop DTR: boards with a USB of their own restart into their boot loader, and "
        "on this machine it is told as what they come back",
    )
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
        if not options.touch:
            await resets.play(port.line, sequence)
            return 0
        location = port.extra(TransportAttribute.location, None)
        is_gone = await resets.touch(port.line)
    if location is not None:  # on USB, of this machine
        if not is_gone:
            raise LineError(
                f"the board at {options.url} did not restart: it may not know the 1200-baud touch"
            )
        print(await _found_again(location.partition(":")[0]))
    return 0


async def _found_again(location: str) -> str:
    """Wait for what was touched; it is another device then.

    :raises OpenError: if it does not come back
    """
    deadline = anyio.current_time() + COMES_BACK_WITHIN
    while True:
        try:
            port = await run_sync(find_at, location)
        except MassStorageError as error:
            return str(error)
        except OpenError:
            if anyio.current_time() > deadline:
                raise
            await anyio.sleep(LOOK)
        else:
            return f"the board is {port.url} ({port.vid:04x}:{port.pid:04x}) now"
