"""``serialnet link``."""

from __future__ import annotations

import argparse
import sys

from ..core.endpoint import Endpoint
from ..core.opening import asks
from ..serving.link import link as keep_joined
from ..serving.policies import Early
from ._options import (
    SEQUENCES_HELP,
    access_from,
    add_access_options,
    add_assist_option,
    add_gap_options,
    add_hook_options,
    add_limit_options,
    announce,
    assist_from,
    gap_from,
    hooks_from,
    limits_from,
    until_interrupted,
)

__all__ = ["add_arguments"]

EPILOG = f"""\
An end is a device or a URL, which is opened, or listen:URL, where clients come in:
  one listens    the other end is opened anew for each client
  both listen    two clients are joined, whichever comes first
  none listens   both are dialled; a stream is dialled anew after each session, a device stays open

{SEQUENCES_HELP}
examples:
  serialnet link listen:tcp://127.0.0.1:4001 /dev/ttyUSB0
      the device is open only while a client is there
  serialnet link listen:tcp://0.0.0.0:4001 listen:tcp://0.0.0.0:4002 --allow 192.168.0.0/16
      a relay, where two meet who cannot listen themselves
  serialnet link listen:rfc2217://127.0.0.1:4000 ssh://pi/dev/ttyUSB0
      for programs of this machine that know nothing of ssh; esptool flashes at any distance
  serialnet link tcp://relay:4001 /dev/ttyUSB0
      bring a device to it
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.description = "Join two ends, and keep them joined."
    parser.epilog = EPILOG
    parser.add_argument("a", metavar="A", help="one end: a device, a URL, or listen:URL")
    parser.add_argument("b", metavar="B", help="the other")
    parser.add_argument("--once", action="store_true", help="end after one session")
    add_hook_options(parser)
    add_assist_option(parser)
    add_limit_options(parser)
    add_access_options(parser)
    add_gap_options(parser)
    parser.add_argument(
        "--no-wait", dest="wait", action="store_false", help="end with status 1 when an end is not there"
    )
    parser.add_argument(
        "--early",
        choices=[policy.value for policy in Early],
        default=Early.LAST_LINE.value,
        help="where both ends listen: what is kept of what a client sends while it waits; default: last-line",
    )
    parser.add_argument(
        "--keep-waiting",
        action="store_true",
        help="where both ends listen: when one client leaves, the other stays and waits for the next",
    )
    parser.set_defaults(run=run)


async def run(options: argparse.Namespace) -> int:
    """Link until interrupted, or until it ends of its own accord."""
    ends = {"a": Endpoint.parse(options.a), "b": Endpoint.parse(options.b)}
    # Standard input and output can be had once, so there is one session.
    is_stdio = any(end.schemes[-1] == "stdio" for end in ends.values())
    once = options.once or is_stdio
    listening = [end for end in ends.values() if end.listens]
    port = next((end for end in ends.values() if not end.listens), ends["b"])
    is_for_tools = len(listening) == 1 and asks(listening[0], "listen")
    async with (
        until_interrupted(),
        keep_joined(
            *ends.values(),
            hooks=[
                *hooks_from(options),
                *limits_from(options),
                *assist_from(options, port, for_tools=is_for_tools),
            ],
            access=access_from(options),
            gap=gap_from(options),
            wait=options.wait,
            once=once,
            auto_reset=options.auto_reset,
            touch=options.touch,
            early=Early(options.early),
            keep_waiting=options.keep_waiting,
        ) as link,
    ):
        announce(
            (f"listening on {url}" for url in link.urls),
            quiet_output=is_stdio,
        )
        end = await link.wait()
        if once and end.error is None:
            return 0
        whose = f"{ends[end.by]}: " if end.by in ends else ""
        print(f"serialnet: {whose}{end}", file=sys.stderr)
        return 1
    return 0
