"""Bridges between any two ends with descriptors, in good and in bad weather."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import combinations_with_replacement

import anyio
import pytest

from serialnet import Bridge, BridgeEnd, Direction, Transport
from serialnet.bridge import bridge as bridge_module
from serialnet.bridge.copy import poller
from serialnet.bridge.copy.passage import Passage
from serialnet.transports import exec as exec_module
from serialnet.transports._descriptor import DescriptorTransport

from ..interop.tools import SOAK
from .core_ends import BLOCK, STALLED_AFTER, End, command, stdio, tcp, tty_port, unix

ENDS = [tcp, unix, stdio, command, tty_port]
PAIRS = list(combinations_with_replacement(ENDS, 2))

STREAM_ERRORS = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)


def name(ends: tuple[End, End]) -> str:
    return "-".join(end.__name__ for end in ends)


class Session:
    """A bridge that runs beside the test; cancelling its scope cancels it."""

    end: BridgeEnd | None = None

    def __init__(self, a: Transport, b: Transport, beyond_a: Transport, beyond_b: Transport) -> None:
        self.a, self.b = a, b
        self.beyond_a, self.beyond_b = beyond_a, beyond_b
        self.bridge = Bridge(a, b)
        self.scope = anyio.CancelScope()
        self.over = anyio.Event()

    async def run(self) -> None:
        with self.scope:
            self.end = await self.bridge.run()
        self.over.set()

    def passage(self, direction: Direction) -> Passage | None:
        """How the copying thread has a direction, if it has it."""
        bridge = self.bridge
        return (bridge._to_port if bridge.to_port is direction else bridge._to_user).passage


@asynccontextmanager
async def bridged(ends: tuple[End, End], seed: int | None = None) -> AsyncIterator[Session]:
    """Run an impatient bridge beside the block; it ends when what is beyond is closed.

    :param seed: of the disturbances, if there shall be any: of all calls, if it is odd
    """
    with anyio.fail_after(1200 if SOAK else 50), pytest.MonkeyPatch.context() as patch:
        patch.setattr(poller, "STALLED_AFTER", STALLED_AFTER)
        patch.setattr(bridge_module, "LINGER", 0.02)
        patch.setattr(bridge_module, "HANG_UP_CHECK", 0.02)
        patch.setattr(exec_module, "GRACE", 0.2)
        patch.setattr(exec_module, "EXIT_DELAY", 0.05)
        async with ends[0]() as (a, beyond_a), ends[1]() as (b, beyond_b):
            if seed is not None:
                for number, end in enumerate((a, b)):
                    disturb(end, seed + number, reads=bool(seed % 2))
                if hasattr(os, "splice"):
                    patch.setattr(os, "splice", disturbed_splice(seed + 2))
            session = Session(a, b, beyond_a, beyond_b)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(session.run)
                yield session
                await beyond_a.aclose()
                await beyond_b.aclose()


def disturb(transport: Transport, seed: int, *, reads: bool) -> None:
    """Let each system call do less than it could, and often nothing.

    :param reads: also the reads from sockets, as if there were something between them and the bytes: the
        lane between bare ones relies on it that they give all
    """
    transport = getattr(transport, "_over", transport)  # of an RFC 2217 session
    assert isinstance(transport, DescriptorTransport)
    rng = random.Random(seed)

    def some(call: Callable[[memoryview], int]) -> Callable[[memoryview], int]:
        def called(view: memoryview) -> int:
            return call(view[: less(rng, len(view))])

        return called

    transport._read_into = some(transport._read_into)  # type: ignore[method-assign, assignment]
    transport._write = some(transport._write)  # type: ignore[method-assign, assignment]
    if sock := transport._bare_socket:
        transport._bare_socket = None if reads else DisturbedSocket(sock, rng)  # type: ignore[assignment]


class DisturbedSocket:
    """A socket that takes less than it could, and often nothing."""

    def __init__(self, sock: socket.socket, rng: random.Random) -> None:
        self._socket = sock
        self._rng = rng
        self.family = sock.family
        self.recv_into = sock.recv_into

    def send(self, view: memoryview, flags: int) -> int:
        return self._socket.send(view[: less(self._rng, len(view))], flags)


def disturbed_splice(seed: int) -> Callable[..., int]:
    rng = random.Random(seed)
    splice = os.splice

    def called(source: int, sink: int, count: int, *, flags: int) -> int:
        return splice(source, sink, less(rng, count), flags=flags)

    return called


def less(rng: random.Random, size: int) -> int:
    """Give a smaller size, or refuse: the system call would have blocked."""
    if rng.random() < 0.5:
        raise BlockingIOError
    return int(size ** rng.random())


async def flood(beyond: Transport) -> None:
    """Send the same block again and again, as long as that is possible."""
    try:
        while True:
            await beyond.send(BLOCK)
    except STREAM_ERRORS:
        pass


class Flooded:
    """Receives what somebody floods, as long as that is possible."""

    def __init__(self, beyond: Transport) -> None:
        self.beyond = beyond
        self.data = bytearray()

    async def receive(self) -> None:
        try:
            while True:
                self.data += await self.beyond.receive()
        except STREAM_ERRORS:
            pass

    def is_genuine(self) -> bool:
        """Whether what came is the beginning of what was sent."""
        return self.data == (bytes(BLOCK) * (len(self.data) // len(BLOCK) + 1))[: len(self.data)]
