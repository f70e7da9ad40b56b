"""``serialnet attach``."""

from __future__ import annotations

import argparse
import os

from ..bridge import Hook
from ..bridge.hook import HookFactory
from ..core.endpoint import Endpoint
from ..serving.policies import Gap
from ..serving.server import serve
from ._options import (
    SEQUENCES_HELP,
    add_assist_option,
    add_hook_options,
    announce,
    assist_from,
    hooks_from,
    until_interrupted,
)

__all__ = ["add_arguments"]

# The program that has the device open sees silence while the port is gone, not an error.
FOR_EVER = Gap(timeout=float("inf"))

EPILOG = f"""\
A program that opens the device reads and writes the port, and sets its baud rate. A device of this
kind has no DTR and RTS: let a sequence be played when the program comes.

{SEQUENCES_HELP}
examples:
  serialnet attach rfc2217://lab:4000 /tmp/ttyV0
  serialnet attach rfc2217://lab:4000 /tmp/ttyV0 --on-connect dtr-pulse
      for avrdude -P /tmp/ttyV0
  serialnet attach rfc2217://lab:4000 /tmp/ttyV0 --on-connect esp-bootloader --on-disconnect esp-reset
      for esptool --port /tmp/ttyV0 --before no-reset
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.description = "Make a port a device of this machine (a pseudo-terminal), for any program."
    parser.epilog = EPILOG
    parser.add_argument("url", metavar="URL", help="the port: rfc2217://lab:4000, say")
    parser.add_argument(
        "path",
        nargs="?",
        metavar="PATH",
        help="a symbolic link that leads to the device as long as this runs; default: none",
    )
    parser.add_argument("--mode", metavar="MODE", help="permissions of the device, as 660")
    parser.add_argument("--group", metavar="GROUP", help="the group that the device belongs to")
    add_hook_options(parser, auto_reset=False)
    add_assist_option(parser)
    parser.set_defaults(run=run)


async def run(options: argparse.Namespace) -> int:
    """Keep the device until interrupted, whatever becomes of the port."""
    port, device = Endpoint.parse(options.url), _device(options)
    hooks: list[Hook | HookFactory] = [*hooks_from(options), *assist_from(options, port, for_tools=True)]
    async with (
        until_interrupted(),
        serve(port, device, hooks=hooks, gap=FOR_EVER, auto_reset=False, touch=options.touch) as server,
    ):
        path = device.path or Endpoint.parse(server.urls[0]).path
        announce(
            [
                f"attached {port} at {path}",
                f"  picocom -b 115200 {path}",
                f"  python -m serial.tools.miniterm {path} 115200",
            ]
        )
        await server.wait()
    return 0


def _device(options: argparse.Namespace) -> Endpoint:
    path = os.path.abspath(options.path) if options.path else ""
    named = {"mode": options.mode, "group": options.group}
    return Endpoint(("pty",), path=path, options={k: v for k, v in named.items() if v is not None})
