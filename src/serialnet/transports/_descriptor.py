"""What transports on non-blocking descriptors share: readiness, busy guards, closing."""

from __future__ import annotations

import select
import socket
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import anyio
from anyio.lowlevel import cancel_shielded_checkpoint, checkpoint_if_cancelled
from typing_extensions import Buffer, override

from ..core.loan import Sink, Source
from ..core.transport import Transport

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

__all__ = ["DescriptorTransport", "part_from"]


class DescriptorTransport(Transport, abstract=True):
    """A transport on a non-blocking descriptor: try first, wait for readiness only when that would block.

    Nothing awaits between the system call that moved bytes and the return, so a cancelled receive has
    lost nothing and a cancelled ``send_some`` has sent nothing. So each half can also be lent to a poller.

    :param descriptor: reads, and writes if there is no other for that
    :param write_descriptor: writes: of the two pipes to a process, the other
    """

    _lends = True
    _bare_socket: socket.socket | None = None
    """The stream socket that this is, if reading and writing do nothing to the bytes."""

    _shut_down: Callable[[], None] | None = None
    """Half-closes without blocking, where that works."""

    def __init__(self, descriptor: int, write_descriptor: int | None = None) -> None:
        self._descriptor = descriptor
        self._write_descriptor = descriptor if write_descriptor is None else write_descriptor
        self._closed = False
        # How many wait until it is ready, and have to know before it is closed.
        self._waiting = 0
        self._source: _Source | None = None
        self._sink: _Sink | None = None
        # What a borrower met when it received: a connection's reset is told once only.
        self._failure: Exception | None = None
        self._receiving = anyio.ResourceGuard("receiving from")
        self._sending = anyio.ResourceGuard("sending to")

    @abstractmethod
    def _read_into(self, view: memoryview) -> int:
        """Read without blocking; 0 is the end."""

    @abstractmethod
    def _write(self, view: memoryview) -> int:
        """Write without blocking."""

    @override
    async def receive_into(self, buffer: Buffer) -> int:
        with self._receiving, memoryview(buffer).cast("B") as view:
            if not view:
                raise ValueError("the buffer must have room for one byte at least")
            await checkpoint_if_cancelled()
            waited = False
            while True:
                self._check_open()
                try:
                    n = self._read_again(view)
                except BlockingIOError:
                    await self._until(anyio.wait_readable, self._descriptor, again=waited)
                    waited = True
                except OSError as error:
                    raise anyio.BrokenResourceError(f"receiving failed: {error}") from error
                else:
                    if not waited:
                        await cancel_shielded_checkpoint()
                    if n == 0:
                        raise anyio.EndOfStream
                    return n

    @override
    async def send_some(self, data: Buffer) -> int:
        with self._sending, memoryview(data).cast("B") as view:
            if not view:
                raise ValueError("there must be one byte at least to send")
            await checkpoint_if_cancelled()
            waited = False
            while True:
                self._check_open()
                try:
                    n = self._write(view)
                except BlockingIOError:
                    await self._until(anyio.wait_writable, self._write_descriptor, again=waited)
                    waited = True
                except OSError as error:
                    raise anyio.BrokenResourceError(f"sending failed: {error}") from error
                else:
                    if not waited:
                        await cancel_shielded_checkpoint()
                    return n

    async def _until(
        self, until_ready: Callable[[int], Awaitable[None]], descriptor: int, *, again: bool
    ) -> None:
        if again:  # what is called ready in vain never sleeps, and may not hear of cancellation otherwise
            await checkpoint_if_cancelled()
        self._waiting += 1
        try:
            await until_ready(descriptor)
        finally:
            self._waiting -= 1

    @override
    def _hung_up(self, *, half: bool = False) -> bool:
        if self._closed or not hasattr(select, "poll"):
            return self._closed
        poll = select.poll()
        # POLLHUP and POLLERR come unasked; POLLRDHUP is Linux's. A pipe to read from hangs up when no more
        # will come, a socket when neither side will send more: what was sent before can still be received.
        # An error where we receive says more: a connection was reset, a device is gone.
        if half:
            poll.register(self._write_descriptor, 0)
        poll.register(self._descriptor, getattr(select, "POLLRDHUP", 0) if half else 0)
        return any(half or events & select.POLLERR for _, events in poll.poll(0))

    def _check_open(self) -> None:
        if self._closed:
            raise anyio.ClosedResourceError

    def _read_again(self, view: memoryview) -> int:
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        return self._read_into(view)

    # Lending

    @override
    async def _lend_source(self) -> Source | None:
        if self._closed or self._failure is not None:
            return None
        self._receiving.__enter__()
        self._source = _Source(self)
        return self._source

    @override
    async def _lend_sink(self) -> Sink | None:
        if self._closed:
            return None
        self._sending.__enter__()
        self._sink = _Sink(self)
        self._sink.send_eof = self._shut_down
        return self._sink

    def _begin_closing(self) -> None:
        """Mark it closed, and take back what is lent."""
        self._closed = True
        if self._source is not None:
            self._source.revoke()
        if self._sink is not None:
            self._sink.revoke()


async def part_from(*descriptors: FileDescriptorLike) -> None:
    """Wake who waits for these descriptors, and see that they are awake before the numbers can be used again.

    On asyncio, a wait of anyio's that ends takes back whatever wait there is for its number by then: it may
    be one for another descriptor, which would never end.
    """
    for descriptor in descriptors:
        anyio.notify_closing(descriptor)
    await cancel_shielded_checkpoint()


class _Source(Source):
    __slots__ = ("_read_into", "_transport")

    def __init__(self, transport: DescriptorTransport) -> None:
        super().__init__(transport._descriptor, transport._bare_socket)
        self._transport = transport
        self._read_into = transport._read_into

    @override
    def read(self, buffer: memoryview) -> memoryview:
        return buffer[: self._read_into(buffer)]

    @override
    def give_back(self, error: Exception | None) -> None:
        self._transport._failure = error
        self._transport._source = None
        self._transport._receiving.__exit__(None, None, None)


class _Sink(Sink):
    __slots__ = ("_transport",)

    def __init__(self, transport: DescriptorTransport) -> None:
        super().__init__(transport._write_descriptor, transport._write, transport._bare_socket)
        self._transport = transport

    @override
    def give_back(self, unsent: bytes) -> bytes:
        self._transport._sink = None
        self._transport._sending.__exit__(None, None, None)
        return unsent
