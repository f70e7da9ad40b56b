"""Who may reach a listener."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import anyio

from ..core.endpoint import Endpoint
from ..core.errors import EndpointError
from ..core.opening import dials

__all__ = ["LOOPBACK_ONLY", "Access"]

# How the peers are called that no network lies between, or whom a relay has let in:
# see TransportAttribute.peer.
LOCAL_PEERS = ("unix:", "stdio:", "relay:")

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True, init=False)
class Access:
    """Who may use what is served. A serial port has no password: whoever reaches it can flash the board.

    Listening on the loopback interface needs nothing. Beyond it, say which networks may come in, or that you
    accept the risk.

    :param allow: networks that may connect, as ``"172.16.0.0/12"``; the loopback interface always may
    :param insecure: anybody may connect
    :raises EndpointError: if a network is none
    """

    allow: tuple[Network, ...]
    insecure: bool

    def __init__(self, allow: Iterable[str] = (), *, insecure: bool = False) -> None:
        networks = []
        for text in allow:
            try:
                networks.append(ipaddress.ip_network(text))
            except ValueError as error:
                raise EndpointError(
                    f"{text!r} is no network: expected an address or one like 172.16.0.0/12 ({error})"
                ) from None
        object.__setattr__(self, "allow", tuple(networks))
        object.__setattr__(self, "insecure", insecure)

    async def check_listen(self, endpoint: Endpoint) -> None:
        """Check that an endpoint may be listened on.

        :raises EndpointError: if it is open beyond this machine, and nothing was said about that
        """
        if self.insecure or self.allow or endpoint.schemes[-1] != "tcp" or dials(endpoint):
            return
        if await _is_loopback(endpoint.host):
            return
        raise EndpointError(
            f"'{endpoint}' would let anybody on the network use the port: name the networks that may connect "
            "(allow, --allow 192.168.1.0/24), or accept the risk (insecure, --insecure)"
        )

    def permits(self, peer: str | None) -> bool:
        """Whether a peer may come in: ``host:port``, or one without a network (``None``, ``unix:...``)."""
        if peer is None or self.insecure or peer.startswith(LOCAL_PEERS):
            return True
        return _is_in(peer.rpartition(":")[0], self.allow)


LOOPBACK_ONLY = Access()


@lru_cache
def _is_in(host: str, networks: tuple[Network, ...]) -> bool:
    """Whether an address belongs to the loopback interface, or to one of the networks."""
    address = ipaddress.ip_address(host.strip("[]").partition("%")[0])
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or any(address in network for network in networks)


async def _is_loopback(host: str) -> bool:
    if not host:
        return False
    try:
        addresses = await anyio.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return True  # nothing can listen there: opening it will say so
    return all(ipaddress.ip_address(str(info[4][0]).partition("%")[0]).is_loopback for info in addresses)
