"""``tcp://host:port``: TCP connections and listeners."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.abc
from typing_extensions import override

from ..core.endpoint import Endpoint
from ..core.errors import EndpointError, OpenError
from ..core.options import option
from ..core.registry import TransportFactory
from ..core.transport import Listener, Transport, TransportAttribute
from ._socket import BACKLOG, SocketListener, SocketTransport, reason

__all__ = ["TCPListener", "TCPOptions", "TCPTransport", "factory"]

# A peer that has gone without a word is noticed within a minute: silence for KEEPALIVE_IDLE, then three
# probes; data that is not acknowledged for USER_TIMEOUT (tcp(7)).
KEEPALIVE_IDLE = 30
KEEPALIVE_INTERVAL = 10
KEEPALIVE_COUNT = 3
USER_TIMEOUT = 60
SOCKET_OPTIONS = (
    ("SOL_SOCKET", "SO_KEEPALIVE", 1),
    ("IPPROTO_TCP", "TCP_NODELAY", 1),
    ("IPPROTO_TCP", "TCP_KEEPIDLE", KEEPALIVE_IDLE),
    ("IPPROTO_TCP", "TCP_KEEPALIVE", KEEPALIVE_IDLE),  # macOS's name for it
    ("IPPROTO_TCP", "TCP_KEEPINTVL", KEEPALIVE_INTERVAL),
    ("IPPROTO_TCP", "TCP_KEEPCNT", KEEPALIVE_COUNT),
    ("IPPROTO_TCP", "TCP_USER_TIMEOUT", USER_TIMEOUT * 1000),
)
# Those that there are here.
OPTIONS_HERE = [
    (getattr(socket, level), getattr(socket, name), value)
    for level, name, value in SOCKET_OPTIONS
    if hasattr(socket, name)
]
# RFC 8305: how long one address may take before the next is tried beside it.
ATTEMPT_DELAY = 0.25
# One of a host's addresses may be of a kind that is switched off here: IPv6's, in many containers.
ABSENT = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}


@dataclass(frozen=True, slots=True)
class TCPOptions:
    """The options of ``tcp://``."""

    connect_timeout: float = option(10.0, "seconds until a connection must stand")


class TCPTransport(SocketTransport):
    """A TCP connection: no delay (Nagle), keepalive, and a limit on unacknowledged data."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self._peer = _address(sock.getpeername())
        for level, name, value in OPTIONS_HERE:
            sock.setsockopt(level, name, value)

    @property
    @override
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return {
            anyio.abc.SocketAttribute.raw_socket: lambda: self._socket,
            TransportAttribute.peer: lambda: self._peer,
            TransportAttribute.url: lambda: f"tcp://{self._peer}",
        }


class TCPListener(SocketListener):
    """Sockets that listen, one for each address that the host name has."""

    def __init__(self, sockets: Sequence[socket.socket]) -> None:
        super().__init__(sockets, [f"tcp://{_address(sock.getsockname())}" for sock in sockets])

    @override
    def _transport(self, connection: socket.socket) -> TCPTransport:
        return TCPTransport(connection)


class _Factory:
    options = TCPOptions
    layer = False

    async def connect(self, endpoint: Endpoint, options: TCPOptions, over: Transport | None) -> TCPTransport:
        host, port = _host_port(endpoint)
        if port == 0 or not host:
            raise EndpointError(f"'{endpoint}': expected a host and a port to connect to")
        deadline = anyio.current_time() + options.connect_timeout
        try:
            sock = await _connect_any(await _resolve(host, port, deadline=deadline), deadline)
            try:
                return TCPTransport(sock)
            except OSError:  # reset before we looked at it
                sock.close()
                raise
        except TimeoutError:
            raise OpenError(
                errno.ETIMEDOUT, f"no connection to {endpoint.netloc} within {options.connect_timeout:g} s"
            ) from None
        except OSError as error:
            raise OpenError(error.errno, f"cannot connect to {endpoint.netloc}: {reason(error)}") from error

    async def listen(self, endpoint: Endpoint, options: TCPOptions, over: Listener | None) -> TCPListener:
        host, port = _host_port(endpoint)
        sockets: list[socket.socket] = []
        try:
            absent: OSError | None = None
            for family, address in dict.fromkeys(await _resolve(host or None, port, socket.AI_PASSIVE)):
                if port == 0 and sockets:  # one port for all addresses
                    address = (address[0], sockets[0].getsockname()[1], *address[2:])
                try:
                    sockets.append(_listen_on(family, address))
                except OSError as error:
                    if error.errno not in ABSENT:
                        raise
                    absent = error
            if absent is not None and not sockets:
                raise absent
            return TCPListener(sockets)
        except OSError as error:
            for sock in sockets:
                sock.close()
            raise OpenError(error.errno, f"cannot listen on {endpoint.netloc}: {reason(error)}") from error


factory: TransportFactory = _Factory()


async def _resolve(
    host: str | None, port: int, flags: int = 0, deadline: float | None = None
) -> list[tuple[int, Any]]:
    try:
        found: Sequence[tuple[Any, ...]]
        try:  # an address in digits asks nobody, so it needs no thread
            numeric = flags | socket.AI_NUMERICHOST
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=numeric)
        except socket.gaierror:
            with anyio.fail_at(deadline):
                found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    except UnicodeError as error:
        raise OSError(errno.EINVAL, f"no host has such a name: {error}") from None
    return [(info[0], info[4]) for info in found]


def _listen_on(family: int, address: Any) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if sys.platform != "win32":  # there it would let others take the port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


async def _connect_any(addresses: Sequence[tuple[int, Any]], deadline: float) -> socket.socket:
    """Connect to the first address that answers, starting one after the other (RFC 8305)."""
    if len(addresses) == 1:
        return await _connect_alone(*addresses[0], deadline)
    winner: socket.socket | None = None
    errors: list[OSError] = []

    async def attempt(family: int, address: Any, failed: anyio.Event) -> None:
        nonlocal winner
        try:
            sock = await _connect_alone(family, address)
        except OSError as error:
            errors.append(error)
            failed.set()
            return
        if winner is None:
            winner = sock
            tasks.cancel_scope.cancel()
        else:
            sock.close()

    try:
        with anyio.fail_at(deadline):
            async with anyio.create_task_group() as tasks:
                for family, address in addresses:
                    failed = anyio.Event()
                    tasks.start_soon(attempt, family, address, failed)
                    with anyio.move_on_after(ATTEMPT_DELAY):
                        await failed.wait()
    except BaseException:
        if winner is not None:
            winner.close()
        raise
    if winner is None:
        raise errors[0]
    return winner


async def _connect_alone(family: int, address: Any, deadline: float | None = None) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        status = sock.connect_ex(address)
        if status == errno.EINPROGRESS:  # for no longer than this, if the other end is on this machine
            status = sock.connect_ex(address)
        if status in (errno.EINPROGRESS, errno.EALREADY, errno.EWOULDBLOCK):
            with anyio.fail_at(deadline):
                await anyio.wait_writable(sock)
            status = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if status not in (0, errno.EISCONN):
            raise OSError(status, os.strerror(status))
    except BaseException:
        sock.close()
        raise
    return sock


def _host_port(endpoint: Endpoint) -> tuple[str, int]:
    if endpoint.port is None:
        scheme = str(endpoint).partition(":")[0]
        raise EndpointError(f"'{endpoint}': expected {scheme}://HOST:PORT")
    if endpoint.user:
        raise EndpointError(f"'{endpoint}': expected HOST:PORT without a user")
    if endpoint.path not in ("", "/"):
        raise EndpointError(f"'{endpoint}': expected nothing after the port, not {endpoint.path!r}")
    return endpoint.host, endpoint.port


def _address(address: Any) -> str:
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
