"""What the tests of the blocking face share: servers in threads of their own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TypeAlias

import pytest
from anyio.from_thread import start_blocking_portal

import serialnet
from serialnet import Endpoint, Hook, Transport

Serve: TypeAlias = Callable[..., AbstractContextManager[str]]


@contextmanager
def serve(
    port: str | Endpoint | Transport = "loop:", *, hooks: Sequence[Hook] = (), listen: str = "rfc2217"
) -> Iterator[str]:
    """Share a port, by default one with a loopback plug; its URL."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(
            serialnet.serve(port, f"{listen}://127.0.0.1:0", hooks=hooks, auto_reset=False)
        ) as server,
    ):
        yield server.urls[0]


class Peer:
    """The far end of a raw TCP connection."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self._connection: socket.socket | None = None

    @property
    def connection(self) -> socket.socket:
        if self._connection is None:
            self._listener.settimeout(10)
            self._connection, _ = self._listener.accept()
            self._connection.settimeout(10)
        return self._connection

    def accept(self) -> None:
        _ = self.connection

    def hang_up(self) -> None:
        self.connection.close()
        self._connection = None

    def send_in_background(self, data: bytes) -> threading.Thread:
        thread = threading.Thread(target=self.connection.sendall, args=(data,))
        thread.start()
        return thread

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._listener.close()


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.close()


@pytest.fixture(autouse=True)
def _no_thread_left() -> Iterator[None]:
    yield
    assert [thread for thread in threading.enumerate() if thread.name == "serialnet.pyserial"] == []
