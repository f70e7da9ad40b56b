"""The ways to learn which descriptors are ready: what Linux has, what macOS has, what an event loop has."""

from __future__ import annotations

import os
import select
import socket
import tty
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager

import anyio
import pytest

import serialnet
from serialnet import Bridge
from serialnet.bridge import bridge as bridge_module
from serialnet.bridge.copy import poller as poller_module
from serialnet.bridge.copy import thread
from serialnet.bridge.copy.lane import OFF, SENDING, Lane
from serialnet.bridge.copy.onloop import LoopPoller
from serialnet.bridge.copy.poller import Poller
from serialnet.bridge.copy.readiness import Notifier, SelectorsReadiness
from serialnet.core.loan import Sink, Source

from ..interop.tools import until
from .core_ends import End, asking, exchange, far_port, tcp, tty_port


@pytest.fixture
async def selectors(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Let the copying thread do without epoll."""
    monkeypatch.setattr(thread, "IDLE", 0.01)
    monkeypatch.setattr(bridge_module, "LINGER", 0.02)
    await until(lambda: thread._poller is None)
    monkeypatch.setattr(poller_module, "Readiness", SelectorsReadiness)
    yield
    await until(lambda: thread._poller is None)


@pytest.mark.parametrize(
    "ends",
    [(tcp, tcp), (tcp, tty_port), (asking, tty_port), (asking, far_port)],
    ids=lambda ends: f"{ends[0].__name__}-{ends[1].__name__}",
)
async def test_selectors_carry_all_bytes(ends: tuple[End, End], selectors: None) -> None:
    async with (
        ends[0]() as (a, beyond_a),
        ends[1]() as (b, beyond_b),
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(Bridge(a, b).run)
        await exchange(beyond_a, beyond_b, 2_000_000)
        assert isinstance(thread._poller, Poller)
        assert isinstance(thread._poller._readiness, SelectorsReadiness)
        tasks.cancel_scope.cancel()


async def test_selectors_pass_half_closes_on(selectors: None) -> None:
    async with (
        tcp() as (a, beyond_a),
        tcp() as (b, beyond_b),
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(Bridge(a, b).run)
        for sender, receiver in ((beyond_a, beyond_b), (beyond_b, beyond_a)):
            await sender.send(b"last words")
            await sender.send_eof()
            assert await receiver.receive() == b"last words"
            with pytest.raises(anyio.EndOfStream):
                await receiver.receive()


async def test_selectors_notice_stalls(selectors: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poller_module, "STALLED_AFTER", 0.05)
    async with (
        tcp() as (a, beyond_a),
        tcp() as (b, beyond_b),
        anyio.create_task_group() as tasks,
    ):
        bridge = Bridge(a, b)
        tasks.start_soon(bridge.run)
        sent = 0
        with anyio.move_on_after(0.5):
            while True:
                sent += await beyond_a.send_some(bytes(65536))
        received = 0
        buffer = bytearray(65536)
        while received < sent:
            received += await beyond_b.receive_into(buffer)
        tasks.cancel_scope.cancel()


class From(Source):
    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock.fileno())
        self.sock = sock

    def read(self, buffer: memoryview) -> memoryview:
        return buffer[: self.sock.recv_into(buffer)]

    def give_back(self, error: Exception | None) -> None:
        pass


class To(Sink):
    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, lambda view: os.write(descriptor, view))

    def give_back(self, unsent: bytes) -> bytes:
        return unsent


@contextmanager
def clogged(poller: Poller) -> Iterator[tuple[Lane, Callable[[], None]]]:
    """A lane to the master side of a PTY, whose program reads nothing; and what lets the program go."""
    master, slave = os.openpty()
    tty.setraw(slave)
    os.set_blocking(master, False)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        lane = Lane(From(ours), To(master), lambda: None)
        poller.add(lane)
        for _ in range(4):
            theirs.send(bytes(20_000))
        try:
            yield lane, lambda: os.close(slave)
        finally:
            poller.remove(lane)
            lane.stop()
            os.close(master)


@pytest.mark.parametrize("kind", [select.epoll, SelectorsReadiness])
def test_a_pty_that_has_hung_up_is_not_asked_for_ever(
    kind: Callable[[], Notifier], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is called ready to be written to, and takes nothing."""
    monkeypatch.setattr(poller_module, "STALLED_AFTER", 1000)
    with closing(Poller(kind())) as poller, clogged(poller) as (lane, hang_up):
        while lane.state is not SENDING or poller.dispatch(0.05):
            poller.dispatch(0.01)
        hang_up()
        for _ in range(100):
            if lane.state is OFF:
                break
            poller.dispatch(0.05)
        assert lane.state is OFF


async def test_nor_by_an_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poller_module, "STALLED_AFTER", 1000)
    with closing(LoopPoller()) as poller, clogged(poller) as (lane, hang_up):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(poller.run)
            await until(lambda: lane.state is SENDING)
            hang_up()
            await until(lambda: lane.state is OFF)
            tasks.cancel_scope.cancel()


async def test_an_event_loop_is_asked_for_each_direction() -> None:
    """A bridge that is tapped borrows one half, while the loop waits for the other."""

    class Tap(serialnet.Hook):
        def data(self, direction: serialnet.Direction, view: memoryview) -> None:
            pass

    async with tcp() as (a, beyond_a), tcp() as (b, beyond_b), anyio.create_task_group() as tasks:
        tasks.start_soon(Bridge(a, b, hooks=[Tap()]).run)
        await beyond_a.send(b"1")
        assert await beyond_b.receive() == b"1"
        with anyio.move_on_after(0.2):  # until nothing goes
            while True:
                await beyond_a.send(bytes(65536))
        await beyond_b.send(b"2")
        assert await beyond_a.receive() == b"2"
        tasks.cancel_scope.cancel()
