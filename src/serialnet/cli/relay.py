"""``serialnet relay``."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from ..core.errors import EndpointError
from ..serving.relay import relay as run_relay
from ..serving.tokens import MAKE_ONE, read_tokens
from ..transports.relay import TOKEN_VARIABLE
from ._options import access_from, add_access_options, announce, until_interrupted

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["add_arguments"]

DEFAULT_LISTEN = "tcp://127.0.0.1:4500"

EPILOG = f"""\
examples:
  serialnet relay --listen tcp://0.0.0.0:4500 --allow 203.0.113.0/24 --tokens tokens.txt
      here; tokens.txt has a NAME and a TOKEN in each line
  serialnet serve /dev/ttyUSB0 --listen 'rfc2217+relay://relay.example:4500/lab?token=TOKEN'
      where the board is
  serialnet attach 'rfc2217+relay://relay.example:4500/lab?token=TOKEN' /tmp/ttyV0
      where it is used
  serialnet relay --tokens tokens.txt --expose lab=tcp://127.0.0.1:4001
      for programs on this machine: esptool --port rfc2217://127.0.0.1:4001

To make a token: {MAKE_ONE}
The token is read from the variable {TOKEN_VARIABLE}, too: other users can see a command's arguments.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.description = "Let boards dial in and register a name, and clients reach them by it."
    parser.epilog = EPILOG
    parser.add_argument(
        "--listen",
        action="append",
        metavar="URL",
        help=f"where boards and clients dial in; may be repeated; default: {DEFAULT_LISTEN}",
    )
    tokens = parser.add_mutually_exclusive_group()
    tokens.add_argument("--tokens", metavar="FILE", help="a NAME and its TOKEN in each line")
    tokens.add_argument(
        "--token", metavar="TOKEN", help=f"one token for all names; default: ${TOKEN_VARIABLE}"
    )
    parser.add_argument(
        "--expose",
        action="append",
        default=[],
        metavar="NAME=URL",
        help="where clients reach a board that do not know the relay's protocol; may be repeated",
    )
    parser.add_argument(
        "--wait",
        type=float,
        default=2.0,
        metavar="SECONDS",
        help="how long a client waits for a board that is not there; default: 2",
    )
    add_access_options(parser)
    parser.set_defaults(run=run)


async def run(options: argparse.Namespace) -> int:
    """Relay until interrupted."""
    async with (
        until_interrupted(),
        run_relay(
            *(options.listen or [DEFAULT_LISTEN]),
            tokens=_tokens(options),
            expose=_exposed(options.expose),
            wait=options.wait,
            access=access_from(options),
        ) as relay,
    ):
        exposed = {url: name for name, urls in relay.exposed.items() for url in urls}
        announce(
            f"listening on {url}{f' for {exposed[url]}' if url in exposed else ''}" for url in relay.urls
        )
        await relay.wait()
    return 0


def _tokens(options: argparse.Namespace) -> str | Mapping[str, str]:
    if options.tokens is not None:
        return read_tokens(options.tokens)
    token: str = options.token or os.environ.get(TOKEN_VARIABLE, "")
    if not token:
        raise EndpointError(f"expected --tokens FILE, --token TOKEN or the variable {TOKEN_VARIABLE}")
    return token


def _exposed(arguments: list[str]) -> dict[str, str]:
    exposed: dict[str, str] = {}
    for argument in arguments:
        name, equals, url = argument.partition("=")
        if not equals or name in exposed:
            raise EndpointError(f"--expose {argument}: expected NAME=URL, each name once")
        exposed[name] = url
    return exposed
