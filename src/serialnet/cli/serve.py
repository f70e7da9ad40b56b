"""``serialnet serve``."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import anyio

from ..bridge import Hook
from ..core.endpoint import Endpoint
from ..core.errors import EndpointError
from ..hooks import OnConnect, OnDisconnect, OnFirstData
from ..ports import ports
from ..resets import SEQUENCES
from ..serving import Access
from ..serving import serve as serve_port

if TYPE_CHECKING:
    from argparse import _SubParsersAction

__all__ = ["add_parser", "client_commands"]

DEFAULT_LISTEN = "rfc2217://127.0.0.1:4000"

EPILOG = f"""\
SEQUENCE is one of {", ".join(SEQUENCES)},
or a sequence in esptool's mini-language: D0|R1|W0.1|D1|R0|W0.05|D0

examples:
  serialnet serve
      share the one port that is plugged in, on {DEFAULT_LISTEN}
  serialnet serve /dev/ttyUSB0 --listen rfc2217://127.0.0.1:4000 --listen tcp://127.0.0.1:4001
  serialnet serve /dev/ttyACM0 --listen tcp://127.0.0.1:4001 --on-connect dtr-pulse
      for avrdude -P net:127.0.0.1:4001, which carries no DTR
  serialnet serve /dev/ttyUSB0 --listen rfc2217://0.0.0.0:4000 --allow 172.16.0.0/12
      for containers
"""


def add_parser(commands: _SubParsersAction[Any], common: argparse.ArgumentParser) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "serve",
        parents=[common],
        help="share a serial port on the network",
        description="Share a serial port on the network. One client uses it at a time.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "port", nargs="?", metavar="PORT", help="a device or URL; default: the one that is plugged in"
    )
    parser.add_argument(
        "--listen",
        action="append",
        metavar="URL",
        help=f"where clients come in; may be repeated; default: {DEFAULT_LISTEN}",
    )
    for name, help_ in (
        ("--on-connect", "play this when a client comes, for clients that carry no lines"),
        ("--on-first-data", "play this when a client's first bytes come"),
        ("--on-disconnect", "play this when the client has gone"),
    ):
        parser.add_argument(name, metavar="SEQUENCE", help=help_)
    parser.add_argument(
        "--no-auto-reset",
        action="store_true",
        help="pass each change of DTR and RTS on as it comes; stock esptool cannot reset a board then",
    )
    parser.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="NETWORK",
        help="a network that may connect; repeatable",
    )
    parser.add_argument("--insecure", action="store_true", help="anybody may connect")
    parser.set_defaults(run=run)


async def run(options: argparse.Namespace) -> int:
    """Serve until interrupted."""
    hooks: list[Hook] = []
    try:
        for sequence, hook in (
            (options.on_connect, OnConnect),
            (options.on_first_data, OnFirstData),
            (options.on_disconnect, OnDisconnect),
        ):
            if sequence is not None:
                hooks.append(hook(sequence))
    except ValueError as error:
        raise EndpointError(str(error)) from None
    port = _only_port() if options.port is None else options.port
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_until_signal, signals, tasks.cancel_scope)
            async with serve_port(
                port,
                *(options.listen or [DEFAULT_LISTEN]),
                hooks=hooks,
                access=Access(options.allow, insecure=options.insecure),
                auto_reset=not options.no_auto_reset,
            ) as server:
                for url in server.urls:
                    print(f"listening on {url}")
                for command in client_commands(server.urls):
                    print(f"  {command}")
                if sys.stdout is not None:  # closed, as daemons have it
                    sys.stdout.flush()
                await server.wait()
    return 0


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


async def _until_signal(signals: AsyncIterator[signal.Signals], scope: anyio.CancelScope) -> None:
    async for _ in signals:
        scope.cancel()
        return
