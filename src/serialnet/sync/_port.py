"""Ports, and what waits for them to come in."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import cached_property, partial
from typing import TypeVar, overload

import anyio
from typing_extensions import Buffer

from ..core import opening
from ..core.errors import LineUnsupportedError
from ..core.transport import Listener as AsyncListener
from ..core.transport import Transport, TransportAttribute
from ._held import Held, Resource, opened_as
from ._line import Line
from ._received import CAPACITY, Received, search

__all__ = ["Listener", "Port", "connect", "listen"]

M = TypeVar("M")


class Port(Resource[Transport]):
    """A two-way byte stream which may have a line: a :class:`serialnet.Transport` for threads that wait.

    One thread may receive while another sends and a third controls the line.
    """

    def __init__(self, held: Held[Transport]) -> None:
        super().__init__(held)
        self._received = Received(self.transport)

    @property
    def transport(self) -> Transport:
        """The asynchronous transport, which can be given to :func:`serve`; it lives on the event loop."""
        return self._held.value

    @cached_property
    def line(self) -> Line | None:
        """The line, if there is one."""
        line = self.transport.line
        return None if line is None else Line(self._held, line, self._received)

    @property
    def url(self) -> str:
        """The URL of the other end, without secrets; empty if it is not known."""
        return self.transport.extra(TransportAttribute.url, "")

    def send(self, data: Buffer, *, timeout: float | None = None) -> None:
        """Send all of it.

        :raises TimeoutError: if it is not accepted in time; a part of it may have been sent
        """
        self._held.call(timeout, self.transport.send, bytes(data))

    def send_eof(self, *, timeout: float | None = None) -> None:
        """Tell the other end that nothing more will be sent; see :meth:`serialnet.Transport.send_eof`."""
        self._held.call(timeout, self.transport.send_eof)

    def receive(self, max_bytes: int = CAPACITY, *, timeout: float | None = None) -> bytes:
        """Receive at least one byte.

        :param max_bytes: the most bytes to return
        :raises ~anyio.EndOfStream: if the other end has sent all that it will send
        :raises TimeoutError: if nothing comes in time
        """
        if max_bytes < 1:
            raise ValueError(f"max_bytes must be 1 or more, not {max_bytes}")
        while not (data := self._received.take(max_bytes)):
            self._held.call(timeout, self._received.receive, max_bytes)
        return data

    def read_until(
        self, separator: bytes = b"\n", timeout: float | None = None, *, max_bytes: int = CAPACITY
    ) -> bytes:
        """Receive up to a separator; what follows stays for the next call.

        :param max_bytes: the most bytes before the separator, 65536 at most
        :return: what came, with the separator
        :raises TimeoutError: if it does not come in time; what came stays
        :raises ~anyio.DelimiterNotFound: if more comes without it; that stays
        :raises ~anyio.EndOfStream: if the other end sends nothing more; what came stays
        """
        if not separator or not 0 < max_bytes <= CAPACITY:
            raise ValueError(f"expected a separator, and max_bytes from 1 to {CAPACITY}")

        def find(data: bytes) -> int | None:
            begin = data.find(separator, 0, max_bytes + len(separator))
            if begin < 0 and len(data) >= min(CAPACITY, max_bytes + len(separator)):
                raise anyio.DelimiterNotFound(max_bytes)
            return None if begin < 0 else begin + len(separator)

        return self._received.take(self._await(find, separator, timeout))

    @overload
    def expect(self, pattern: bytes | re.Pattern[bytes], timeout: float | None = None) -> re.Match[bytes]: ...

    @overload
    def expect(self, pattern: str | re.Pattern[str], timeout: float | None = None) -> re.Match[str]: ...

    def expect(
        self, pattern: bytes | str | re.Pattern[bytes] | re.Pattern[str], timeout: float | None = None
    ) -> re.Match[bytes] | re.Match[str]:
        """Receive until a regular expression is found; what follows the match stays for the next call.

        It is searched in what has come by then: ``b"[0-9]+"`` may find half of a number. Of what does not
        match, the last 32 KiB at least are kept.

        :param pattern: over bytes, or over text, which is taken for UTF-8
        :return: the match
        :raises TimeoutError: if it is not found in time; it shows the end of what came, which stays
        :raises ~anyio.EndOfStream: if the other end sends nothing more; likewise
        """
        match, end = self._await(
            search(pattern), pattern.pattern if isinstance(pattern, re.Pattern) else pattern, timeout
        )
        self._received.take(end)
        return match

    def reset(self, *, timeout: float | None = None) -> None:
        """Restart an ESP32 into its application; other boards: ``port.line.play(sequence)``.

        :raises LineUnsupportedError: if there is no line
        """
        self._line_needed().play("esp-reset", timeout=timeout)

    def enter_bootloader(self, *, timeout: float | None = None) -> None:
        """Restart an ESP32 into its serial boot loader.

        :raises LineUnsupportedError: if there is no line
        """
        self._line_needed().play("esp-bootloader", timeout=timeout)

    def _line_needed(self) -> Line:
        if self.line is None:
            raise LineUnsupportedError(f"{self.url or 'this'} carries no DTR and RTS: nothing can be reset")
        return self.line

    def _await(self, find: Callable[[bytes], M | None], what: object, timeout: float | None) -> M:
        try:
            return self._held.call(timeout, partial(self._received.until, find))
        except TimeoutError:
            raise TimeoutError(f"{what!r} did not come within {timeout:g} s; {self._received.tail}") from None
        except anyio.EndOfStream:
            raise anyio.EndOfStream(
                f"the other end closed the connection before {what!r} came; {self._received.tail}"
            ) from None


class Listener(Resource[AsyncListener]):
    """Waits for ports to come in."""

    @property
    def urls(self) -> Sequence[str]:
        """Where it listens, with the port that was chosen."""
        return self._held.value.urls

    def accept(self, *, timeout: float | None = None) -> Port:
        """Wait for the next.

        :raises TimeoutError: if nobody comes in time
        :raises ~anyio.ClosedResourceError: if the listener is closed
        """
        return Port(Held(self._accepted(timeout)))

    @asynccontextmanager
    async def _accepted(self, timeout: float | None) -> AsyncIterator[Transport]:
        transport: Transport | None = None
        with anyio.move_on_after(timeout):
            transport = await self._held.value.accept()
        if transport is None:
            raise TimeoutError(f"nobody came within {timeout:g} s")
        async with transport:
            yield transport


@opened_as(opening.connect)
def connect(held: Held[Transport]) -> Port:
    """Open an endpoint: ``with connect("/dev/ttyUSB0", baudrate=9600) as port: ...``.

    :param url: where to; see the reference of URLs
    :param options: the endpoint's options, as in the URL's query; they win over those in the URL
    :raises EndpointError: if the URL or an option cannot be used
    :raises OpenError: if the endpoint cannot be opened
    """
    return Port(held)


@opened_as(opening.listen)
def listen(held: Held[AsyncListener]) -> Listener:
    """Listen on an endpoint: ``with listen("tcp://127.0.0.1:0") as listener: ...``.

    Its parameters and errors are those of :func:`connect`.
    """
    return Listener(held)
