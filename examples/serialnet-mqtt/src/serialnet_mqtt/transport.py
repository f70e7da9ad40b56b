"""A byte stream in MQTT messages.

The first byte of a message says what it is. ``D`` and ``E`` carry a number that counts up from 0, four bytes
in network order, so that a message which a broker loses or repeats is noticed::

    D number bytes    data
    E number          the end of the data
    A number          acknowledges all data messages below this number: they were received by the program
    C                 closed
    L                 lost: the other end's last will, which its broker publishes

No more than WINDOW data messages are under way or unread, each of CHUNK bytes at most. That is 64 KiB in each
direction, whatever the speed of the readers, and few enough messages for the queues of any broker.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import uuid4

import anyio
from anyio.lowlevel import cancel_shielded_checkpoint, checkpoint, checkpoint_if_cancelled
from typing_extensions import Buffer, override

from serialnet import Listener, OpenError, Transport, TransportAttribute

from .client import Client

WINDOW = 16
CHUNK = 4096
# Callers that may wait to be accepted; more are not heard.
BACKLOG = 16


class MqttTransport(Transport):
    """A connection through a broker.

    :param url: of the other end, as :attr:`~serialnet.TransportAttribute.url` shows it
    :param outgoing: the topic that the other end reads
    """

    def __init__(self, url: str, outgoing: str, login: Mapping[str, str | None]) -> None:
        self._url = url
        self._outgoing = outgoing
        self._client = Client(self._receive_message, self._lose, (outgoing, b"L"), **login)
        self._unread: deque[memoryview] = deque()
        self._expected = 0  # the number of the next message to come in
        self._read = 0  # how many data messages the program has received
        self._sent = 0
        self._acknowledged = 0
        self._eof_sent = False
        self._ended: Exception | None = None  # what receive raises when all was read
        self._broken: str | None = None  # what send raises
        self._closed = False
        self._answered = anyio.Event()
        self._news = anyio.Event()
        self._receiving = anyio.ResourceGuard("receiving from")
        self._sending = anyio.ResourceGuard("sending to")

    async def open(self, host: str, port: int, incoming: str, timeout: float) -> None:
        """Connect to the broker."""
        await self._client.connect(host, port, incoming, timeout)

    async def call(self, topic: str, session: str, timeout: float) -> None:
        """Ask the listener at a topic to accept this session."""
        self._client.publish(topic, session.encode())
        try:
            with anyio.fail_after(timeout):
                await self._answered.wait()
        except BaseException as error:
            await self.aclose()
            if isinstance(error, TimeoutError):
                raise OpenError(f"nobody listens at the topic {topic!r} (for {timeout:g} s)") from None
            raise

    def accept(self) -> None:
        """Tell the caller that we are here."""
        self._client.publish(self._outgoing, b"A" + bytes(4))

    @override
    async def receive_into(self, buffer: Buffer) -> int:
        with self._receiving, memoryview(buffer).cast("B") as view:
            if not view:
                raise ValueError("the buffer must have room for one byte at least")
            await checkpoint()
            while True:
                self._check_open()
                if self._unread:
                    # From here to the return nothing waits: a cancelled receive has lost nothing.
                    first = self._unread[0]
                    n = min(len(view), len(first))
                    view[:n] = first[:n]
                    self._unread[0] = first[n:]
                    if n == len(first):
                        self._unread.popleft()
                        self._read += 1
                        self._client.publish(self._outgoing, b"A" + self._read.to_bytes(4))
                    return n
                if self._ended is not None:
                    raise self._ended
                await self._news.wait()

    @override
    async def send_some(self, data: Buffer) -> int:
        with self._sending, memoryview(data).cast("B") as view:
            if not view:
                raise ValueError("there must be one byte at least to send")
            await checkpoint()
            while True:
                self._check_can_send()
                if self._sent - self._acknowledged < WINDOW:
                    chunk = bytes(view[:CHUNK])
                    self._client.publish(self._outgoing, b"D" + self._sent.to_bytes(4) + chunk)
                    self._sent += 1
                    return len(chunk)
                await self._news.wait()

    @override
    async def send_eof(self) -> None:
        with self._sending:
            await checkpoint_if_cancelled()
            self._check_can_send()
            self._eof_sent = True
            self._client.publish(self._outgoing, b"E" + self._sent.to_bytes(4))
            await cancel_shielded_checkpoint()

    @override
    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            self._client.publish(self._outgoing, b"C")
            self._tell()
            await self._client.aclose()
        await checkpoint()

    @property
    @override
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return {TransportAttribute.url: lambda: self._url}

    def _receive_message(self, payload: bytes) -> None:
        kind, number = payload[:1], int.from_bytes(payload[1:5])
        if kind == b"A":
            self._answered.set()
            self._acknowledged = max(self._acknowledged, min(number, self._sent))
        elif kind == b"L":
            self._lose("the other end has gone: its broker says so")
        elif kind == b"C":
            self._end(anyio.EndOfStream(), "the other end has closed")
        elif kind in (b"D", b"E") and number == self._expected and len(self._unread) < WINDOW:
            if kind == b"D":
                self._expected += 1
                self._unread.append(memoryview(payload)[5:])
            else:
                self._end(anyio.EndOfStream(), None)
        elif number >= self._expected:  # else it is a repeated one
            self._lose("the broker has lost a message")
        self._tell()

    def _lose(self, reason: str) -> None:
        self._end(anyio.BrokenResourceError(reason), reason)
        self._tell()

    def _end(self, ended: Exception, broken: str | None) -> None:
        self._ended = self._ended or ended
        self._broken = self._broken or broken

    def _tell(self) -> None:
        self._news.set()
        self._news = anyio.Event()

    def _check_open(self) -> None:
        if self._closed:
            raise anyio.ClosedResourceError

    def _check_can_send(self) -> None:
        self._check_open()
        if self._eof_sent:
            raise anyio.ClosedResourceError
        if self._broken is not None:
            raise anyio.BrokenResourceError(self._broken)


class MqttListener(Listener):
    """Hears who calls at a topic; each caller gets a connection to the broker of its own."""

    def __init__(
        self, url: str, host: str, port: int, topic: str, login: Mapping[str, str | None], timeout: float
    ) -> None:
        self._url, self._host, self._port, self._topic = url, host, port, topic
        self._login, self._timeout = login, timeout
        self._callers: deque[str] = deque()
        self._news = anyio.Event()
        self._ended: Exception | None = None
        self._accepting = anyio.ResourceGuard("accepting from")
        self._client = Client(self._hear, self._lose, **login)

    async def open(self) -> None:
        """Connect to the broker."""
        await self._client.connect(self._host, self._port, self._topic, self._timeout)

    @property
    @override
    def urls(self) -> Sequence[str]:
        return [self._url]

    @override
    async def accept(self) -> Transport:
        with self._accepting:
            await checkpoint()
            while not self._callers:
                if self._ended is not None:
                    raise self._ended
                await self._news.wait()
            below = f"{self._topic}/{self._callers.popleft()}"
            transport = MqttTransport(self._url, f"{below}/down", self._login)
            await transport.open(self._host, self._port, f"{below}/up", self._timeout)
            transport.accept()
            return transport

    @override
    async def aclose(self) -> None:
        self._end(anyio.ClosedResourceError())
        await self._client.aclose()
        await checkpoint()

    def _hear(self, payload: bytes) -> None:
        caller = payload.decode(errors="replace")
        if caller.isalnum() and len(caller) == len(new_session()) and len(self._callers) < BACKLOG:
            self._callers.append(caller)
            self._tell()

    def _lose(self, reason: str) -> None:
        self._end(anyio.BrokenResourceError(reason))

    def _end(self, error: Exception) -> None:
        self._ended = self._ended or error
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = anyio.Event()


def new_session() -> str:
    """Make a name that no other caller has."""
    return uuid4().hex
