"""``ssh://user@host/dev/ttyUSB0``: a serial port at the other end of an ssh, with no TCP port open for it."""

from __future__ import annotations

import errno
import math
import shlex
from dataclasses import dataclass

import anyio

from ..core.endpoint import Endpoint
from ..core.errors import EndpointError, OpenError
from ..core.options import option
from ..core.registry import TransportFactory
from ..core.transport import Listener, Transport
from .exec import run_command
from .rfc2217 import RFC2217Options, RFC2217Transport

__all__ = ["SSHOptions", "factory"]

# A connection that has gone silent is noticed within a minute. No question is asked: nobody could answer.
PRECAUTIONS = (
    *("-o", "BatchMode=yes"),
    *("-o", "ServerAliveInterval=15"),
    *("-o", "ServerAliveCountMax=3"),
    *("-o", "ClearAllForwardings=yes"),
)


@dataclass(frozen=True, slots=True)
class SSHOptions(RFC2217Options):
    """The options of ``ssh://``."""

    command: str = option("serialnet", "the far serialnet, as the far shell reads it")
    ssh: str = option("ssh", "the near ssh, perhaps with options, split as a shell does")
    connect_timeout: float = option(30.0, "seconds until the far port must have answered")


class _Factory:
    options = SSHOptions
    layer = False

    async def connect(
        self, endpoint: Endpoint, options: SSHOptions, over: Transport | None
    ) -> RFC2217Transport:
        command = ssh_command(endpoint, options)
        # No answer counts before the far program runs: that may take a while.
        transport = RFC2217Transport(
            run_command(command), timeout=math.inf, answers_to_control=not options.ign_set_control
        )
        try:
            await _negotiate(transport, endpoint, options.connect_timeout)
            transport.timeout = options.timeout
            await options.apply(transport.line)
        except BaseException:
            await anyio.aclose_forcefully(transport)
            raise
        return transport

    async def listen(self, endpoint: Endpoint, options: SSHOptions, over: Listener | None) -> Listener:
        raise EndpointError(f"'{endpoint}': a far port is connected to, it cannot listen")


async def _negotiate(transport: RFC2217Transport, endpoint: Endpoint, timeout: float) -> None:
    try:
        with anyio.fail_after(timeout):
            await transport.negotiate()
    except TimeoutError:
        raise OpenError(errno.ETIMEDOUT, f"cannot open {endpoint}: no answer within {timeout:g} s") from None
    except OpenError as error:
        raise OpenError(f"cannot open {endpoint}: {error}") from error


factory: TransportFactory = _Factory()


def ssh_command(endpoint: Endpoint, options: SSHOptions) -> list[str]:
    """What to run.

    :raises EndpointError: if the endpoint names no host, or one that ssh would take for an option
    """
    if not endpoint.host:
        raise EndpointError(f"'{endpoint}': expected ssh://HOST/DEVICE, as ssh://pi@lab/dev/ttyUSB0")
    for word, what in ((endpoint.host, "host"), (endpoint.user, "user")):
        if word.startswith("-"):
            raise EndpointError(f"'{endpoint}': expected a {what} that does not begin with '-'")
    try:
        program = shlex.split(options.ssh)
    except ValueError as error:
        raise EndpointError(f"'{endpoint}': the option 'ssh' has {str(error).lower()}") from None
    if not program or not options.command.strip():
        raise EndpointError(f"'{endpoint}': expected a command in the options 'ssh' and 'command'")
    far = [options.command, "serve"]
    if endpoint.path not in ("", "/"):  # the far end takes the one port that is plugged in
        far.append(shlex.quote(endpoint.path))
    far.append("--listen rfc2217+stdio:")
    return [
        *program,
        "-T",
        *PRECAUTIONS,
        *(("-p", str(endpoint.port)) if endpoint.port is not None else ()),
        *(("-l", endpoint.user) if endpoint.user else ()),
        "--",
        endpoint.host,
        " ".join(far),
    ]
