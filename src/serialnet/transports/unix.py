"""``unix:///run/x.sock``: Unix domain sockets."""

from __future__ import annotations

import errno
import os
import re
import socket
import stat
import struct
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import anyio
from typing_extensions import override

from ..core.endpoint import Endpoint
from ..core.errors import EndpointError, OpenError
from ..core.options import option
from ..core.registry import TransportFactory
from ..core.transport import Listener, Transport, TransportAttribute
from ._socket import BACKLOG, SocketListener, SocketTransport, reason

__all__ = ["UnixListener", "UnixOptions", "UnixTransport", "factory"]

# What fits into sun_path beside the 0 at its end (unix(7)).
MOST_PATH = 107 if sys.platform == "linux" else 103
# How often a listener whose backlog is full is tried again.
RETRY = 0.05


@dataclass(frozen=True, slots=True)
class UnixOptions:
    """The options of ``unix://``."""

    mode: str = option("600", "who may connect, in octal: 660 for the group, too; for listening")
    connect_timeout: float = option(10.0, "seconds until a connection must stand")

    def __post_init__(self) -> None:
        if not re.fullmatch("[0-7]{3}", self.mode):
            raise ValueError(f"mode must be three octal digits, as 660, not {self.mode!r}")


class UnixTransport(SocketTransport):
    """A connection through a Unix socket."""

    def __init__(self, sock: socket.socket, path: str) -> None:
        super().__init__(sock)
        self._path = path
        self._peer = _credentials(sock)

    @property
    @override
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return {
            TransportAttribute.peer: lambda: self._peer,
            TransportAttribute.url: lambda: _url(self._path),
        }


class UnixListener(SocketListener):
    """A socket that listens; its file goes with it, unless somebody has put another in its place."""

    def __init__(self, sock: socket.socket, path: str) -> None:
        super().__init__([sock], [_url(path)])
        self._path = path
        self._file: tuple[int, int] | None = _identity(path)

    @override
    def _transport(self, connection: socket.socket) -> UnixTransport:
        return UnixTransport(connection, self._path)

    @override
    async def aclose(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):
                _unlink(self._path, file)
        await super().aclose()


class _Factory:
    options = UnixOptions
    layer = False

    async def connect(
        self, endpoint: Endpoint, options: UnixOptions, over: Transport | None
    ) -> UnixTransport:
        path = _path(endpoint)
        if options.mode != UnixOptions().mode:
            raise EndpointError(f"'{endpoint}': the option 'mode' is for listening, not for connecting")
        try:
            with anyio.fail_after(options.connect_timeout):
                return UnixTransport(await _connect(path), path)
        except TimeoutError:
            raise OpenError(
                errno.ETIMEDOUT,
                f"cannot connect to {path}: nobody accepted within {options.connect_timeout:g} s",
            ) from None
        except OSError as error:
            raise OpenError(error.errno, f"cannot connect to {path}: {reason(error)}") from error

    async def listen(self, endpoint: Endpoint, options: UnixOptions, over: Listener | None) -> UnixListener:
        path = _path(endpoint)
        try:
            return UnixListener(_listen_on(path, int(options.mode, 8)), path)
        except OSError as error:
            raise OpenError(error.errno, f"cannot listen on {path}: {reason(error)}") from error


factory: TransportFactory = _Factory()


def _path(endpoint: Endpoint) -> str:
    if not hasattr(socket, "AF_UNIX"):
        raise EndpointError(f"'{endpoint}': this system has no Unix sockets here; expected another scheme")
    if endpoint.netloc or endpoint.path in ("", "/"):
        raise EndpointError(f"'{endpoint}': expected unix:///PATH, as unix:///run/board.sock, with three '/'")
    if (length := len(os.fsencode(endpoint.path))) > MOST_PATH:
        raise EndpointError(f"'{endpoint}': expected a path of {MOST_PATH} bytes at most, not of {length}")
    if "\0" in endpoint.path:
        raise EndpointError(f"{str(endpoint)!r}: expected a path without a byte 0")
    return endpoint.path


async def _connect(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.setblocking(False)
        while True:
            try:
                sock.connect(path)
                return sock
            except BlockingIOError:  # the backlog is full, and nothing tells when it no longer is
                await anyio.sleep(RETRY)
    except BaseException:
        sock.close()
        raise


def _listen_on(path: str, mode: int) -> socket.socket:
    _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.setblocking(False)
        sock.bind(path)
        try:
            # Nobody can connect before it listens: the file has its mode before it is of any use.
            os.chmod(path, mode)
            sock.listen(BACKLOG)
        except OSError:
            os.unlink(path)
            raise
    except OSError:
        sock.close()
        raise
    return sock


def _remove_stale(path: str) -> None:
    """Remove a socket that nobody has any more; refuse to touch anything else."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise OSError(errno.EEXIST, "there is a file of that name already, and it is no socket")
    # A datagram socket cannot connect to a stream socket: it only tells whether there is one, and no
    # server mistakes it for a client.
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        answer = probe.connect_ex(path)
    if answer == errno.ECONNREFUSED:
        _unlink(path, (status.st_dev, status.st_ino))
    elif answer in (0, errno.EPROTOTYPE):
        raise OSError(errno.EADDRINUSE, "another program listens there")
    else:
        raise OSError(answer, os.strerror(answer))


def _identity(path: str) -> tuple[int, int]:
    status = os.lstat(path)
    return status.st_dev, status.st_ino


def _unlink(path: str, file: tuple[int, int]) -> None:
    """Remove a file if it still is the one that we know."""
    if _identity(path) == file:
        os.unlink(path)


def _credentials(sock: socket.socket) -> str:
    """Who is at the other end, as far as the system tells."""
    if not hasattr(socket, "SO_PEERCRED"):
        return "unix:"
    pid, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return f"unix:pid={pid},uid={uid}"


def _url(path: str) -> str:
    return f"unix://{quote(path)}"
