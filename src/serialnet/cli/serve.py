"""``serialnet serve``."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator

import anyio

from ..core.endpoint import Endpoint
from ..core.errors import EndpointError, OpenError
from ..port_list import ports
from ..serving.server import ClientLeft, ClientRefused, ServerEvent
from ..serving.server import serve as serve_port
from ..serving.sharing import Role
from ._options import (
    SEQUENCES_HELP,
    access_from,
    add_access_options,
    add_gap_options,
    add_hook_options,
    add_limit_options,
    add_sharing_options,
    announce,
    gap_from,
    hooks_from,
    limits_from,
    sharing_from,
    until_interrupted,
)

__all__ = ["add_arguments", "client_commands"]

FOR_WHOM = {Role.WRITE: "", Role.WATCH: " for watchers", Role.BORROW: " for borrowers"}

DEFAULT_LISTEN = "rfc2217://127.0.0.1:4000"

EPILOG = f"""\
{SEQUENCES_HELP}
examples:
  serialnet serve
      share the one port that is plugged in, on {DEFAULT_LISTEN}
  serialnet serve /dev/ttyUSB0 --listen rfc2217://127.0.0.1:4000 --listen tcp://127.0.0.1:4001
  serialnet serve /dev/ttyACM0 --listen tcp://127.0.0.1:4001 --on-connect dtr-pulse
      for avrdude -P net:127.0.0.1:4001, which carries no DTR
  serialnet serve /dev/ttyUSB0 --listen rfc2217://0.0.0.0:4000 --allow 172.16.0.0/12
      for containers
  serialnet serve '/dev/ttyUSB0?log=console.log' --listen :4000 --listen 'tcp://127.0.0.1:4001?role=watch&replay=64k'
      for one who works with the board and others who look on
  serialnet serve /dev/ttyUSB0 --listen :4000 --listen 'rfc2217://127.0.0.1:4001?role=borrow'
      for a monitor that stays while a flasher borrows the port
  serialnet serve /dev/ttyUSB0 --listen rfc2217+stdio:
      for one client on standard input and output; ends with it
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.description = "Share a serial port on the network. One client uses it at a time; others may watch."
    parser.epilog = EPILOG
    parser.add_argument(
        "port", nargs="?", metavar="PORT", help="a device or URL; default: the one that is plugged in"
    )
    parser.add_argument(
        "--listen",
        action="append",
        metavar="URL",
        help=f"where clients come in; may be repeated; default: {DEFAULT_LISTEN}",
    )
    add_hook_options(parser)
    add_limit_options(parser)
    add_access_options(parser)
    add_sharing_options(parser)
    add_gap_options(parser)
    parser.add_argument("--no-reopen", action="store_true", help="end with status 1 when the port is lost")
    parser.set_defaults(run=run)


async def run(options: argparse.Namespace) -> int:
    """Serve until interrupted."""
    hooks = [*hooks_from(options), *limits_from(options)]
    port = _only_port() if options.port is None else options.port
    async with (
        until_interrupted(),
        serve_port(
            port,
            *(options.listen or [DEFAULT_LISTEN]),
            hooks=hooks,
            access=access_from(options),
            sharing=sharing_from(options),
            gap=None if options.no_reopen else gap_from(options),
            auto_reset=options.auto_reset,
            touch=options.touch,
        ) as server,
        server.events() as events,
        anyio.create_task_group() as tasks,
    ):
        if any(url.endswith("stdio:") for url in server.urls):
            tasks.start_soon(_until_done, events, tasks.cancel_scope)
        # Standard output may be a client's by now; then this goes to standard error.
        announce(f"listening{FOR_WHOM[role]} on {url}" for url, role in server.roles.items())
        users = [url for url, role in server.roles.items() if role is not Role.WATCH]
        announce(f"  {command}" for command in client_commands(users))
        await server.wait()
    return 0


async def _until_done(events: AsyncIterator[ServerEvent], scope: anyio.CancelScope) -> None:
    """End when the client on standard input and output has left: we were started for it."""
    async for event in events:
        match event:
            case ClientLeft("stdio:", end):
                if end.by == "b":
                    raise anyio.BrokenResourceError(end.reason)
                scope.cancel()
            case ClientRefused("stdio:", reason):
                raise OpenError(f"the port cannot be had: {reason}")


def client_commands(urls: list[str]) -> list[str]:
    """The commands to paste, for clients on this machine."""
    for url in urls:
        endpoint = Endpoint.parse(url)
        if endpoint.scheme == "rfc2217+tcp":
            host = endpoint.netloc.replace("0.0.0.0", "127.0.0.1").replace("[::]", "[::1]")
            url = f"rfc2217://{host}"
            return [
                f"esptool --port {url} flash-id",
                f"idf.py --port {url} flash monitor",
                f"python -m serial.tools.miniterm {url} 115200",
            ]
    return []


def _only_port() -> str:
    found = ports()
    # Ports on the board itself are always there, whether or not anything hangs on them.
    plugged_in = [port.url for port in found if port.vid is not None]
    if len(plugged_in) == 1:
        return plugged_in[0]
    if plugged_in:
        raise EndpointError(f"which PORT? expected one of: {', '.join(plugged_in)}")
    others = f", for example {found[0].url}" if found else ""
    raise EndpointError(f"no USB serial port is plugged in; expected one, or the name of a PORT{others}")
