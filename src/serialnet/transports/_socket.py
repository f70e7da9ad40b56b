"""What transports and listeners on stream sockets share."""

from __future__ import annotations

import errno
import socket
from abc import abstractmethod
from collections.abc import Sequence

import anyio
import anyio.lowlevel
from typing_extensions import override

from ..core.loan import NO_SIGNAL
from ..core.transport import Listener, Transport
from ._descriptor import DescriptorTransport, part_from

__all__ = ["BACKLOG", "SocketListener", "SocketTransport", "reason"]

BACKLOG = 64
# accept(2) fails so for want of descriptors or memory: not the listener's end.
SCARCITY = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class SocketTransport(DescriptorTransport, abstract=True):
    """A transport on a connected, non-blocking stream socket, which it owns."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock.fileno())
        self._socket = self._bare_socket = sock

    @override
    def _read_into(self, view: memoryview) -> int:
        return self._socket.recv_into(view)

    @override
    def _write(self, view: memoryview) -> int:
        return self._socket.send(view, NO_SIGNAL)

    @override
    def _shut_down(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    @override
    async def send_eof(self) -> None:
        with self._sending:
            await anyio.lowlevel.checkpoint()
            self._check_open()
            try:
                self._shut_down()
            except OSError as error:
                raise anyio.BrokenResourceError(f"the connection has gone: {error}") from error

    @override
    def _close_at_once(self) -> bool:
        if self._waiting:
            return False
        if not self._closed:
            self._begin_closing()
            self._socket.close()
        return True

    @override
    async def aclose(self) -> None:
        if not self._close_at_once() and not self._closed:
            self._begin_closing()
            await part_from(self._socket)
            self._socket.close()


class SocketListener(Listener):
    """Non-blocking sockets that listen, all for the same."""

    def __init__(self, sockets: Sequence[socket.socket], urls: Sequence[str]) -> None:
        self._sockets = list(sockets)
        self._accepting = anyio.ResourceGuard("accepting from")
        self._urls = urls

    @abstractmethod
    def _transport(self, connection: socket.socket) -> Transport:
        """Make a transport of a connection; ``OSError`` if it has gone already."""

    @property
    @override
    def urls(self) -> Sequence[str]:
        return self._urls

    @override
    async def accept(self) -> Transport:
        with self._accepting:
            await anyio.lowlevel.checkpoint_if_cancelled()
            waited = False
            while True:
                if not self._sockets:
                    raise anyio.ClosedResourceError
                for sock in self._sockets:
                    try:
                        connection, _ = sock.accept()
                    except BlockingIOError:
                        continue
                    except OSError as error:
                        if error.errno in SCARCITY:
                            await anyio.sleep(0.1)
                        continue
                    connection.setblocking(False)
                    try:
                        transport = self._transport(connection)
                    except OSError:  # reset before we looked at it
                        connection.close()
                        continue
                    if not waited:
                        await anyio.lowlevel.cancel_shielded_checkpoint()
                    return transport
                await self._wait()
                waited = True

    async def _wait(self) -> None:
        """Wait until one of the sockets is readable."""
        if len(self._sockets) == 1:
            await anyio.wait_readable(self._sockets[0])
            return
        closed = False

        async def wait_one(sock: socket.socket) -> None:
            nonlocal closed
            try:
                await anyio.wait_readable(sock)
            except anyio.ClosedResourceError:
                closed = True
            tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            for sock in self._sockets:
                tasks.start_soon(wait_one, sock)
        if closed:
            raise anyio.ClosedResourceError

    @override
    async def aclose(self) -> None:
        sockets, self._sockets = self._sockets, []
        await part_from(*sockets)
        for sock in sockets:
            sock.close()
        await anyio.lowlevel.checkpoint_if_cancelled()


def reason(error: OSError) -> str:
    """What an error says, without its number."""
    return error.strerror or str(error)
