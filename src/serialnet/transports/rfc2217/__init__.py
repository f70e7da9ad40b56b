"""``rfc2217://host:port``, and ``rfc2217+STREAM://`` over any byte stream: RFC 2217 in both roles."""

from __future__ import annotations

from dataclasses import dataclass

from ...core.endpoint import Endpoint
from ...core.errors import EndpointError
from ...core.options import option
from ...core.registry import TransportFactory
from ...core.transport import Listener, Transport
from .._line_options import LineOptions
from .client import RFC2217Line, RFC2217Transport
from .server import RFC2217Listener, RFC2217Session

__all__ = [
    "RFC2217Line",
    "RFC2217Listener",
    "RFC2217Options",
    "RFC2217Session",
    "RFC2217Transport",
    "factory",
]


@dataclass(frozen=True, slots=True)
class RFC2217Options(LineOptions):
    """The options of ``rfc2217://``; they include those of pyserial's client."""

    timeout: float = option(3.0, "seconds that the server may take over an answer")
    ign_set_control: bool = option(False, "do not wait for answers about DTR, RTS, BREAK and flow control")
    poll_modem: bool = option(False, "accepted for pyserial's sake; the status lines are always polled")
    logging: str = option("", "accepted for pyserial's sake; see the logger serialnet.rfc2217")


class _Factory:
    options = RFC2217Options
    layer = True
    asks = ("listen",)

    async def connect(
        self, endpoint: Endpoint, options: RFC2217Options, over: Transport | None
    ) -> RFC2217Transport:
        assert over is not None
        transport = RFC2217Transport(
            over, timeout=options.timeout, answers_to_control=not options.ign_set_control
        )
        await transport.negotiate()
        await options.apply(transport.line)
        return transport

    async def listen(
        self, endpoint: Endpoint, options: RFC2217Options, over: Listener | None
    ) -> RFC2217Listener:
        assert over is not None
        if options != RFC2217Options():
            raise EndpointError(f"'{endpoint}': these options are for connecting, not for listening")
        return RFC2217Listener(over)


factory: TransportFactory = _Factory()
