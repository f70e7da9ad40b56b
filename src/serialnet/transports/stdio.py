"""``stdio:``: the program's own standard input and output."""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import anyio
import anyio.lowlevel
from typing_extensions import override

from ..core.endpoint import Endpoint
from ..core.errors import EndpointError, OpenError, PortBusyError
from ..core.options import NoOptions
from ..core.registry import TransportFactory
from ..core.transport import Listener, Transport, TransportAttribute
from ._pipes import PipeTransport

__all__ = ["StdioListener", "StdioTransport", "factory"]

CHUNK = 65536
# How long the last bytes may take at the close, where a thread hands them on.
FAREWELL = 1.0


class StdioTransport(PipeTransport):
    """Two descriptors that are shared with other programs, and stay as blocking as those expect them.

    A non-blocking one would be so for all who share it. So a pipe or a terminal is opened once more, which
    makes a description of our own; a socket is asked not to wait at each call; a file never waits; and where
    opening once more is not possible (another user's terminal, a pipe on macOS), a thread stands between.

    :param stdin: to read from; it stays the caller's
    :param stdout: to write to; it stays the caller's
    :raises OSError: if one of them cannot be used
    """

    def __init__(self, stdin: int, stdout: int) -> None:
        self._sockets: dict[int, socket.socket] = {}
        self._blocking: set[int] = set()
        self._writer: threading.Thread | None = None
        reading = self._own(stdin, os.O_RDONLY)
        try:
            writing = self._own(stdout, os.O_WRONLY)
        except OSError:
            os.close(reading)
            raise
        super().__init__(reading, writing)

    def _own(self, descriptor: int, mode: int) -> int:
        """Make a descriptor of our own that never waits, or a socket that is asked not to."""
        kind = os.fstat(descriptor).st_mode
        if stat.S_ISREG(kind):
            return os.dup(descriptor)
        if stat.S_ISSOCK(kind):
            own = os.dup(descriptor)
            self._sockets[own] = socket.socket(fileno=own)
            if os.get_blocking(own):  # uvloop changes that, for whatever it waits for
                self._blocking.add(own)
            return own
        with suppress(OSError):
            return _opened_once_more(descriptor, mode)
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        source, sink = os.dup(descriptor), theirs.detach()
        if mode == os.O_WRONLY:
            source, sink = sink, source
        thread = threading.Thread(target=_hand_on, args=(source, sink), name="serialnet stdio", daemon=True)
        thread.start()
        if mode == os.O_WRONLY:
            self._writer = thread
        return ours.detach()

    @override
    def _read_into(self, view: memoryview) -> int:
        if sock := self._sockets.get(self._descriptor):
            return sock.recv_into(view, 0, socket.MSG_DONTWAIT)
        return super()._read_into(view)

    @override
    def _write(self, view: memoryview) -> int:
        if self._writable and (sock := self._sockets.get(self._write_descriptor)):
            return sock.send(view, socket.MSG_DONTWAIT)
        return super()._write(view)

    @override
    def _close_descriptor(self, descriptor: int) -> None:
        if sock := self._sockets.pop(descriptor, None):
            if descriptor != self._descriptor:
                with suppress(OSError):  # the other end may have gone
                    sock.shutdown(socket.SHUT_WR)
            sock.detach()
            if descriptor in self._blocking:
                os.set_blocking(descriptor, True)
        super()._close_descriptor(descriptor)

    @override
    async def aclose(self) -> None:
        await super().aclose()
        if self._writer is not None:
            await anyio.to_thread.run_sync(self._writer.join, FAREWELL)

    @property
    @override
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return {
            TransportAttribute.peer: lambda: "stdio:",
            TransportAttribute.url: lambda: "stdio:",
        }


class StdioListener(Listener):
    """Has one client, who is there from the start; after it, nobody comes."""

    def __init__(self, client: StdioTransport) -> None:
        self._client: StdioTransport | None = client
        self._closed = anyio.Event()
        self._accepting = anyio.ResourceGuard("accepting from")

    @property
    @override
    def urls(self) -> Sequence[str]:
        return ["stdio:"]

    @override
    async def accept(self) -> Transport:
        with self._accepting:
            await anyio.lowlevel.checkpoint()
            client, self._client = self._client, None
            if client is not None:
                return client
            await self._closed.wait()
            raise anyio.ClosedResourceError

    @override
    async def aclose(self) -> None:
        self._closed.set()
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()
        await anyio.lowlevel.checkpoint()


class _Factory:
    options = NoOptions
    layer = False

    async def connect(self, endpoint: Endpoint, options: NoOptions, over: Transport | None) -> StdioTransport:
        return _take(endpoint)

    async def listen(self, endpoint: Endpoint, options: NoOptions, over: Listener | None) -> StdioListener:
        return StdioListener(_take(endpoint))


factory: TransportFactory = _Factory()


def _take(endpoint: Endpoint) -> StdioTransport:
    """Take standard input and output away from the program, for good.

    What it prints goes to standard error from now on, and it has nothing to read.
    """
    if endpoint.netloc or endpoint.path:
        raise EndpointError(f"'{endpoint}': expected stdio: and nothing behind it")
    if not hasattr(os, "readv"):
        raise EndpointError(f"'{endpoint}': expected another scheme: this one needs Linux, macOS or the like")
    if _taken.is_set():
        raise PortBusyError("standard input and output are in use already: stdio: can be had once")
    if sys.__stdin__ is None or sys.__stdout__ is None:
        raise OpenError("cannot open stdio: standard input or output is closed")
    sys.__stdout__.flush()
    try:
        transport = StdioTransport(0, 1)
    except OSError as error:
        raise OpenError(error.errno, f"cannot open stdio: {error.strerror}") from error
    _taken.set()
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(2 if sys.__stderr__ is not None else nothing, 1)
    os.close(nothing)
    return transport


def _opened_once_more(descriptor: int, mode: int) -> int:
    if sys.platform != "linux":  # elsewhere that gives the same description once more
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    return os.open(f"/proc/self/fd/{descriptor}", mode | os.O_NONBLOCK | os.O_NOCTTY)


_taken = threading.Event()


def _hand_on(source: int, sink: int) -> None:
    """Copy until an end ends; a thread of its own does that, for it may wait."""
    try:
        with suppress(OSError):
            while data := os.read(source, CHUNK):
                view = memoryview(data)
                while view:
                    view = view[os.write(sink, view) :]
    finally:
        os.close(source)
        os.close(sink)
