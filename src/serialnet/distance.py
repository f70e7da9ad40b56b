"""How far away a line is: the round trip of what its end answers."""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from struct import Struct

import anyio
from anyio.abc import SocketAttribute

from .core.transport import Transport, TransportAttribute

__all__ = ["Distance", "glance", "measure"]

PROBES = 9
# After so many seconds, what was measured by then has to do.
ENOUGH = 3.0


@dataclass(frozen=True, slots=True)
class Distance:
    """Round trips, as they were measured.

    :param median: seconds
    :param jitter: seconds from the median within which three quarters of them were
    """

    median: float
    jitter: float

    @classmethod
    def of(cls, times: Sequence[float]) -> Distance:
        """Sum up round trips, one at least, in seconds."""
        middle = median(times)
        # A TCP stack that delays its acknowledgements now and then says nothing about the way.
        return cls(middle, sorted(abs(time - middle) for time in times)[len(times) * 3 // 4])

    def __str__(self) -> str:
        return f"{self.median * 1000:.1f} ms +- {self.jitter * 1000:.1f} ms"


async def measure(transport: Transport) -> Distance | None:
    """Measure the round trip to a transport's line, by several questions that change nothing.

    Nothing should be sent meanwhile: the questions stand behind it. Without a line nobody answers; of a TCP
    connection, the kernel knows how far the next program on the way is (Linux).

    :return: the round trip, or ``None`` where nobody knows
    :raises LineTimeoutError: if an answer does not come in the line's own time
    :raises ~anyio.BrokenResourceError: if the connection is lost
    """
    if transport.line is None:
        return _known_to_kernel(transport.extra(SocketAttribute.raw_socket, None))
    times: list[float] = []
    begin = anyio.current_time()
    while len(times) < PROBES and anyio.current_time() - begin < ENOUGH:
        asked = anyio.current_time()
        await transport.line.drain()
        times.append(anyio.current_time() - asked)
    return Distance.of(times)


def glance(transport: Transport) -> float | None:
    """Tell the round trip as far as it is known without a question, which would take one more.

    :return: seconds, or ``None`` where nobody knows
    """
    if transport.line is not None:
        return transport.extra(TransportAttribute.round_trip, None)
    known = _known_to_kernel(transport.extra(SocketAttribute.raw_socket, None))
    return None if known is None else known.median


# Where tcpi_rtt and tcpi_rttvar stand in Linux's struct tcp_info; in microseconds.
_TCP_RTT = Struct("=68xII")


def _known_to_kernel(sock: socket.socket | None) -> Distance | None:
    if sock is None or sys.platform != "linux":
        return None
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_RTT.size)
    except OSError:  # not TCP
        return None
    round_trip, variation = _TCP_RTT.unpack(info)
    return Distance(round_trip / 1e6, variation / 1e6)
