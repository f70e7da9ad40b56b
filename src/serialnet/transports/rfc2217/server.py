"""The server's end of an RFC 2217 session: a transport that asks for line changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from anyio.lowlevel import checkpoint
from typing_extensions import Buffer, override

from ...core.transport import AskingTransport, Listener, Transport
from ...values.events import LineEvent
from ...values.requests import InForce, LineRequest
from ...wire.comport import ComPortServer
from .stream import SessionStream

__all__ = ["RFC2217Listener", "RFC2217Session"]


class RFC2217Session(SessionStream, AskingTransport):
    """A client of ours, seen from the port: its bytes, and what it wants of the line.

    :param over: carries the session, and is closed with it
    """

    def __init__(self, over: Transport) -> None:
        self._session = ComPortServer()
        self._session.initiate()
        super().__init__(over, self._session)
        self._data = memoryview(b"")
        self._request: LineRequest | None = None

    @override
    async def receive_event(self, buffer: Buffer) -> int | LineRequest:
        with self._receiving, memoryview(buffer).cast("B") as view:
            if not view:
                raise ValueError("the buffer must have room for one byte at least")
            self._check_open()
            if self._has_event():
                await checkpoint()
            while not self._has_event():
                if n := await self._advance(view):
                    return n
            if self._request is not None:
                request, self._request = self._request, None
                return request
            n = min(len(view), len(self._data))
            view[:n] = self._data[:n]
            self._data = self._data[n:]
            return n

    @override
    async def notify(self, event: LineEvent) -> None:
        self._check_open()
        self._session.notify(event)
        await self._flush()

    @override
    async def aclose(self) -> None:
        if self._session.pending is not None:
            self._session.answer(self._session.pending.unchanged)
        await super().aclose()

    def _has_event(self) -> bool:
        """Take the next event out of the session, if there is one."""
        if self._data or self._request is not None:
            return True
        event = self._session.next_event()
        self._heed()
        if isinstance(event, bytes):
            self._data = memoryview(event)
        elif event is not None:
            answerer = partial(self._answer, event)
            self._request = replace(event, answerer=answerer)
        return event is not None

    async def _answer(self, request: LineRequest, in_force: InForce) -> None:
        self._check_open()
        if self._session.pending is not request:
            raise RuntimeError(f"{request} was answered before")
        self._session.answer(in_force)
        self._tell()
        await self._flush()

    @override
    def _digest(self) -> None:
        self._has_event()  # a RESUME may stand at the front, and a sender wait for it

    @override
    def _is_dry(self) -> bool:
        return super()._is_dry() and not self._data and self._request is None

    @override
    def _room(self) -> int:
        # What stands behind a request waits in the session until that is answered: no need for more.
        return 0 if self._session.pending is not None else max(0, super()._room() - self._session.buffered)


class RFC2217Listener(Listener):
    """Makes an RFC 2217 session of each stream that another listener accepts."""

    def __init__(self, over: Listener) -> None:
        self._over = over

    @property
    @override
    def urls(self) -> Sequence[str]:
        return [f"rfc2217+{url}".replace("rfc2217+tcp://", "rfc2217://") for url in self._over.urls]

    @override
    async def accept(self) -> Transport:
        return RFC2217Session(await self._over.accept())

    @override
    async def aclose(self) -> None:
        await self._over.aclose()
