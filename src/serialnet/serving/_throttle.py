"""Who has failed too often of late: a limit on guesses, in bounded memory."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict

__all__ = ["Throttle"]

MOST_SOURCES = 1024


class Throttle:
    """Counts the failures of each source, and forgets them one by one.

    A machine with a wrong token that tries again every ten seconds is never throttled: it would take its
    neighbours behind the same NAT with it.

    :param most: failures that are forgiven at once
    :param interval: seconds after which one is forgotten
    """

    def __init__(self, most: int = 10, interval: float = 5.0) -> None:
        self._most = most
        self._interval = interval
        # When the last failure will be forgotten; the sources that failed last stand last.
        self._sources: OrderedDict[str, float] = OrderedDict()

    def fail(self, peer: str, now: float) -> None:
        """Note a failure."""
        source = source_of(peer)
        clear = max(self._sources.pop(source, now), now) + self._interval
        self._sources[source] = min(clear, now + self._most * self._interval)
        if len(self._sources) > MOST_SOURCES:
            self._sources.popitem(last=False)

    def blocks(self, peer: str, now: float) -> bool:
        """Whether a peer is to be sent away unheard."""
        return self._sources.get(source_of(peer), now) - now > (self._most - 1) * self._interval


def source_of(peer: str) -> str:
    """What counts as one source: an IPv4 address, a /64 of IPv6, all that is on this machine."""
    host = peer.rpartition(":")[0].strip("[]").partition("%")[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "local"
    if address.version == 4 or address.ipv4_mapped:
        return str(getattr(address, "ipv4_mapped", None) or address)
    return str(ipaddress.ip_network((address, 64), strict=False))
