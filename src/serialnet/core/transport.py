"""Transports and listeners: what carries bytes, and what waits for them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

import anyio
import anyio.abc
from anyio import TypedAttributeSet, typed_attribute
from typing_extensions import Buffer, override

from ..values.events import LineEvent
from ..values.requests import LineRequest
from .line import Line
from .loan import Sink, Source

__all__ = ["STREAM_ERRORS", "AskingTransport", "Listener", "Transport", "TransportAttribute"]

# What streams raise, but at the end of file.
STREAM_ERRORS = (
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    anyio.BusyResourceError,
    OSError,
)


class TransportAttribute(TypedAttributeSet):
    """What a transport tells of itself through :meth:`Transport.extra`."""

    #: the URL of the other end, without secrets
    url: str = typed_attribute()
    #: who is at the other end: ``host:port``; without a network between, ``unix:pid=1,uid=0`` or ``stdio:``
    peer: str = typed_attribute()
    #: vendor and product of the USB device behind a port
    usb: tuple[int, int] = typed_attribute()
    #: the USB socket that the device hangs on, as ``1-1.2``, with the interface if it has several
    location: str = typed_attribute()
    #: seconds that the end with the line took to answer when the connection was made
    round_trip: float = typed_attribute()


class Transport(anyio.abc.ByteStream):
    """A two-way byte stream which may have a line.

    An author overrides one of each pair, and gets the other:

    - :meth:`receive_into` or :meth:`receive`
    - :meth:`send_some` or :meth:`send`

    Cancelling a receive loses nothing. A ``send_some`` of its own, cancelled, has accepted nothing; one
    that is derived from ``send`` breaks the transport when cancelled, for nobody knows how much went out.

    The errors are anyio's: ``EndOfStream`` when the other end is done sending, ``BrokenResourceError``
    when the connection failed, ``ClosedResourceError`` after :meth:`aclose`, ``BusyResourceError`` when
    two tasks receive (or send) at once.
    """

    line: Line | None = None
    """The line through which a port can be controlled, if this transport offers one."""

    can_send_eof: bool = True
    """Whether :meth:`send_eof` can tell the other end that nothing more will come."""

    native_send_some: bool = False
    """Whether a cancelled :meth:`send_some` has accepted nothing; follows from what a class overrides."""

    _broken_by_cancellation: bool = False
    _lends: bool = False  # whether it ever lends its halves

    def __init_subclass__(cls, *, abstract: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for pair in (("receive_into", "receive"), ("send_some", "send")):
            if not abstract and all(getattr(cls, name) is getattr(Transport, name) for name in pair):
                raise TypeError(f"{cls.__name__} must override {pair[0]}() or {pair[1]}()")
        cls.native_send_some = cls.send_some is not Transport.send_some

    async def receive_into(self, buffer: Buffer) -> int:
        """Receive at least one byte into a writable buffer.

        :return: how many bytes were put at its start
        :raises ValueError: if the buffer has no room
        :raises ~anyio.EndOfStream: if the other end has sent all that it will send
        """
        with memoryview(buffer).cast("B") as view:
            if not view:
                raise ValueError("the buffer must have room for one byte at least")
            data = await self.receive(len(view))
            view[: len(data)] = data
            return len(data)

    @override
    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Receive at least one byte.

        :param max_bytes: the most bytes to return
        :raises ~anyio.EndOfStream: if the other end has sent all that it will send
        """
        if max_bytes < 1:
            raise ValueError(f"max_bytes must be 1 or more, not {max_bytes}")
        buffer = bytearray(min(max_bytes, 65536))
        n = await self.receive_into(buffer)
        return bytes(memoryview(buffer)[:n])

    async def send_some(self, data: Buffer) -> int:
        """Send at least one byte of ``data``, and as many as is possible without another wait.

        :param data: not empty; the caller may use it again once this returns
        :return: how many bytes were accepted
        :raises ValueError: if ``data`` is empty
        """
        if self._broken_by_cancellation:
            raise anyio.BrokenResourceError("a send was cancelled half-way: what went out is not known")
        with memoryview(data).cast("B") as view:
            if not view:
                raise ValueError("there must be one byte at least to send")
            try:
                await self.send(bytes(view))
            except anyio.get_cancelled_exc_class():
                self._broken_by_cancellation = True
                raise
            return len(view)

    @override
    async def send(self, item: Buffer) -> None:
        """Send all of ``item``, any buffer of bytes."""
        with memoryview(item).cast("B") as view:
            sent = 0
            while sent < len(view):
                sent += await self.send_some(view[sent:])
            if not view:
                await anyio.lowlevel.checkpoint()

    @override
    async def send_eof(self) -> None:
        """Tell the other end that nothing more will be sent, and go on receiving.

        :raises NotImplementedError: if :attr:`can_send_eof` is false
        """
        raise NotImplementedError(f"{type(self).__name__} cannot half-close")

    @override
    @abstractmethod
    async def aclose(self) -> None:
        """Close the transport; once only counts. What waits on it raises ``ClosedResourceError``."""

    def _hung_up(self, *, half: bool = False) -> bool:
        """Whether the other end is gone, without reading; a bridge asks when it cannot read on.

        :param half: whether it counts, too, that it will send no more
        """
        return False

    def _close_at_once(self) -> bool:
        """Close it, if that can be done without waiting; return whether it is closed."""
        return False

    async def _lend_source(self) -> Source | None:
        """Lend the receiving half, if it can be lent now."""
        return None

    async def _lend_sink(self) -> Sink | None:
        """Lend the sending half, if it can be lent now."""
        return None


class AskingTransport(Transport, abstract=True):
    """A transport behind which a program asks for line changes: an RFC 2217 session, a PTY's master.

    Whoever reads it as a plain byte stream refuses all requests.
    """

    @abstractmethod
    async def receive_event(self, buffer: Buffer) -> int | LineRequest:
        """Receive bytes into a writable buffer, or the request that stands next in the stream.

        Nothing from beyond a request is handed out until that was answered.

        :return: how many bytes were put at the buffer's start, or the request
        :raises ~anyio.EndOfStream: if the other end has sent all that it will send
        """

    @abstractmethod
    async def notify(self, event: LineEvent) -> None:
        """Tell the asker what happened to the line; this has no place in the byte order.

        :class:`~serialnet.SettingsChanged` also tells a new session what is in force.
        """

    @override
    async def receive_into(self, buffer: Buffer) -> int:
        while True:
            event = await self.receive_event(buffer)
            if isinstance(event, int):
                return event
            await event.refuse()


class Listener(anyio.abc.Listener[Transport]):
    """Waits for transports to come in."""

    @property
    @abstractmethod
    def urls(self) -> Sequence[str]:
        """Where it listens, with the port that was chosen."""

    @abstractmethod
    async def accept(self) -> Transport:
        """Wait for the next transport.

        :raises ~anyio.ClosedResourceError: if the listener is closed
        """

    @override
    async def serve(
        self,
        handler: Callable[[Transport], Any],
        task_group: anyio.abc.TaskGroup | None = None,
    ) -> None:
        """Call ``handler`` with each transport that comes in, each in a task of its own, for ever."""
        async with AsyncExitStack() as stack:
            if task_group is None:
                task_group = await stack.enter_async_context(anyio.create_task_group())
            while True:
                task_group.start_soon(handler, await self.accept())

    @property
    @override
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return {}
