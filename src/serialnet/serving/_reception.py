"""What ``serve`` and ``link`` share: listeners, who may come in, who is told of it, and the end of it all."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from ..core.transport import Listener, Transport, TransportAttribute
from .access import Access

__all__ = ["ClientRefused", "Reception", "Stats", "one_error_alone"]

MOST_EVENTS = 64


@dataclass(slots=True)
class Stats:
    """What was done so far."""

    sessions: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class ClientRefused:
    """A client was turned away."""

    client: str
    reason: str


E = TypeVar("E")


class Reception(ABC, Generic[E]):
    """Takes clients in, each in a task of its own, until it is over."""

    def __init__(
        self, listeners: Sequence[Listener], access: Access, stats: Stats, logger: logging.Logger
    ) -> None:
        self._listeners = listeners
        self._access = access
        self._stats = stats
        self._logger = logger
        self._watchers: list[
            tuple[
                MemoryObjectSendStream[E | ClientRefused],
                MemoryObjectReceiveStream[E | ClientRefused],
            ]
        ] = []
        self._over = anyio.Event()

    @property
    def urls(self) -> list[str]:
        """Where the listeners listen, with the ports that were chosen."""
        return [url for listener in self._listeners for url in listener.urls]

    @asynccontextmanager
    async def events(self) -> AsyncIterator[AsyncIterator[E | ClientRefused]]:
        """Watch clients come and go: ``async with server.events() as events: async for event in events``.

        Whoever falls behind by more than 64 events misses the oldest.
        """
        send, receive = anyio.create_memory_object_stream[E | ClientRefused](MOST_EVENTS)
        with send, receive:
            self._watchers.append((send, receive))
            try:
                yield receive
            finally:
                self._watchers.remove((send, receive))

    async def run(self) -> None:
        """Take clients in until it is over."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._meanwhile)
            for listener in self._listeners:
                tasks.start_soon(listener.serve, partial(self._receive, listener), tasks)
            await self._over.wait()
            tasks.cancel_scope.cancel()
        for listener in self._listeners:  # lest clients wait for nothing
            await listener.aclose()

    @abstractmethod
    async def _meanwhile(self) -> None:
        """Do what is to be done whether or not clients come."""

    @abstractmethod
    async def _client(self, client: Transport, name: str, listener: Listener) -> None:
        """Do what a client came for; it is closed after that."""

    async def _receive(self, listener: Listener, client: Transport) -> None:
        peer = client.extra(TransportAttribute.peer, None)
        name = peer or "a client"
        try:
            if self._access.permits(peer):
                await self._client(client, name, listener)
            else:
                self._refuse(name, "its address is in none of the networks that may connect")
        except Exception:
            self._logger.exception("the session of %s failed", name)
        finally:
            if not client._close_at_once():
                await anyio.aclose_forcefully(client)

    def _refuse(self, name: str, reason: str) -> None:
        self._stats.refused += 1
        self._logger.warning("refused %s: %s", name, reason)
        self._tell(ClientRefused(name, reason))

    def _tell(self, event: E | ClientRefused) -> None:
        for send, receive in self._watchers:
            try:
                send.send_nowait(event)
            except anyio.WouldBlock:
                receive.receive_nowait()
                send.send_nowait(event)


@contextmanager
def one_error_alone() -> Iterator[None]:
    """Take what the caller's block raised out of the task group's wrapping."""
    try:
        yield
    except BaseExceptionGroup as group:
        if len(group.exceptions) > 1:
            raise
        error = group.exceptions[0]
        raise error from error.__cause__
