"""The copy core between real descriptors: what goes in comes out, whatever happens on the way."""

from __future__ import annotations

import os
import random
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import psutil
import pytest
from typing_extensions import override

from serialnet import AskingTransport, Bridge, BridgeEnd, Direction, Hook, Outputs, SetOutputs, Transport
from serialnet.bridge import bridge as bridge_module
from serialnet.bridge.copy import poller, pools
from serialnet.hooks import AutoReset

from ..interop.tools import until
from .core_ends import End, asking, exchange, far_port, offer_to_stalled, tcp, tty_port

SOAK = bool(os.environ.get("SERIALNET_SOAK"))
SIZE = 1 << 30 if SOAK else 4 << 20
OFFERED = 1 << 30 if SOAK else 64 << 20
PAIRS = [
    (tcp, tcp),
    (tcp, tty_port),
    (asking, tty_port),
    (asking, tcp),
    (tcp, far_port),
    (asking, far_port),
    (tty_port, far_port),
]


class Tap(Hook):
    """Looks at everything."""

    def __init__(self) -> None:
        self.seen = dict.fromkeys(Direction, 0)

    @override
    def data(self, direction: Direction, view: memoryview) -> memoryview | None:
        self.seen[direction] += len(view)
        return None


@pytest.fixture(autouse=True)
def linger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge_module, "LINGER", 0.02)


class Running:
    bridge: Bridge
    end: BridgeEnd | None = None


@asynccontextmanager
async def bridged(a: Transport, b: Transport, *hooks: Hook) -> AsyncIterator[Running]:
    """Run a bridge beside the block; what is beyond its ends must be closed by then."""
    result = Running()
    result.bridge = Bridge(a, b, hooks=hooks)

    async def run() -> None:
        result.end = await result.bridge.run()

    with anyio.fail_after(3600 if SOAK else 50):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            yield result


@pytest.mark.parametrize("tapped", [False, True], ids=["plain", "tapped"])
@pytest.mark.parametrize("ends", PAIRS, ids=lambda ends: f"{ends[0].__name__}-{ends[1].__name__}")
async def test_all_bytes_arrive_both_ways(ends: tuple[End, End], tapped: bool) -> None:
    tap = Tap()
    async with (
        ends[0]() as (a, beyond_a),
        ends[1]() as (b, beyond_b),
        bridged(a, b, *([tap] if tapped else [])) as running,
    ):
        await exchange(beyond_a, beyond_b, SIZE)
        assert (running.bridge.stats.bytes_a_to_b, running.bridge.stats.bytes_b_to_a) == (SIZE, SIZE)
        await beyond_a.aclose()
        await beyond_b.aclose()
    if tapped:
        assert set(tap.seen.values()) == {SIZE}


async def receive_all(from_: Transport) -> bytes:
    data = bytearray()
    try:
        while True:
            data += await from_.receive()
    except anyio.EndOfStream:
        return bytes(data)


async def test_half_closes() -> None:
    async with tcp() as (a, beyond_a), tcp() as (b, beyond_b), bridged(a, b) as running:
        await beyond_a.send(b"question")
        await beyond_a.send_eof()
        assert await receive_all(beyond_b) == b"question"
        for _ in range(100):
            await beyond_b.send(bytes(10_000))
        await beyond_b.send_eof()
        assert await receive_all(beyond_a) == bytes(1_000_000)
    assert running.end is not None
    assert (running.end.by, running.end.error) == ("a", None)


def reset(transport: Transport) -> None:
    """Close a connection so that the other end hears of a reset."""
    sock: socket.socket = transport._socket  # type: ignore[attr-defined]
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize("other", [tcp, tty_port, far_port], ids=lambda end: end.__name__)
async def test_a_reset_ends_it(other: End) -> None:
    async with tcp() as (a, beyond_a), other() as (b, _), bridged(a, b) as running:
        await beyond_a.send(b"x")
        reset(beyond_a)
        await beyond_a.aclose()
    assert running.end is not None
    assert running.end.by == "a"
    assert isinstance(running.end.error, anyio.BrokenResourceError)
    assert "reset" in running.end.reason


async def test_what_came_before_a_reset_of_the_reader_arrives() -> None:
    """The last words of an end that no longer listens, as far as they have left it when it is reset."""
    async with tcp() as (a, beyond_a), tcp() as (b, beyond_b), bridged(a, b):
        await beyond_a.send(bytes(30_000))
        await beyond_a.aclose()
        await beyond_b.send(b"nobody hears this")
        assert await receive_all(beyond_b) == bytes(30_000)
        await beyond_b.aclose()


async def test_a_hang_up_of_the_tty_ends_it() -> None:
    async with tcp() as (a, beyond_a), tty_port() as (b, beyond_b), bridged(a, b) as running:
        await beyond_b.send(b"x")
        assert await beyond_a.receive() == b"x"
        await beyond_b.aclose()
    assert running.end is not None
    assert running.end.by == "b"
    assert "the device has gone" in running.end.reason


@pytest.mark.parametrize("ends", PAIRS, ids=lambda ends: f"{ends[0].__name__}-{ends[1].__name__}")
@pytest.mark.parametrize("tapped", [False, True], ids=["plain", "tapped"])
async def test_a_stalled_reader_stops_the_source(
    ends: tuple[End, End], tapped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is offered, no more is held than a buffer or two; all of it arrives once it is read."""
    monkeypatch.setattr(poller, "STALLED_AFTER", 0.05)
    async with (
        ends[0]() as (a, beyond_a),
        ends[1]() as (b, beyond_b),
        bridged(a, b, *([Tap()] if tapped else [])),
    ):
        await offer_to_stalled(beyond_a, beyond_b, OFFERED)
        await beyond_a.aclose()
        await beyond_b.aclose()


@pytest.mark.parametrize("ends", PAIRS, ids=lambda ends: f"{ends[0].__name__}-{ends[1].__name__}")
async def test_cancelling_it_at_any_moment(ends: tuple[End, End]) -> None:
    """Both ends are closed, and their numbers can be used again at once."""
    rng = random.Random(1)
    process = psutil.Process()
    descriptors = 0
    for number in range(300 if SOAK else 12):
        async with ends[0]() as (a, beyond_a), ends[1]() as (b, beyond_b), anyio.create_task_group() as tasks:
            scope = anyio.CancelScope()

            async def run(a: Transport = a, b: Transport = b, scope: anyio.CancelScope = scope) -> None:
                with scope:
                    await Bridge(a, b).run()

            async def flood(beyond: Transport) -> None:
                try:
                    while True:
                        await beyond.send(bytes(50_000))
                except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                    pass

            tasks.start_soon(run)
            for beyond in (beyond_a, beyond_b):
                tasks.start_soon(flood, beyond)
            await anyio.sleep(rng.random() * 0.02)
            scope.cancel()
            while not (is_closed(a) and is_closed(b)):  # noqa: ASYNC110
                await anyio.sleep(0.001)
            tasks.cancel_scope.cancel()
        if number == 1:
            descriptors = process.num_fds()
    assert process.num_fds() <= descriptors + 2 * pools.MOST_IDLE + 2  # pipes and wakers that are kept


def is_closed(transport: Transport) -> bool:
    return bool(transport._closed)  # type: ignore[attr-defined]


async def test_no_data_overtakes_half_a_step() -> None:
    """Both ends lend; the hook holds a change back until bytes follow it."""
    story: list[bytes | Outputs] = []

    async def serve(far: AskingTransport) -> None:
        buffer = bytearray(1000)
        while True:
            item = await far.receive_event(buffer)
            if isinstance(item, int):
                story.append(bytes(buffer[:item]))
            elif isinstance(item, SetOutputs):
                story.append(item.asked)
                await item.answer(item.asked)
            else:
                await item.refuse()

    async with asking() as (a, client), far_port() as (b, far), bridged(a, b, AutoReset(1000)) as running:
        assert client.line is not None
        assert isinstance(far, AskingTransport)
        to_port = running.bridge._to_port
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve, far)
            for behind in (b"1", b"2", b"3"):
                while to_port.passage is None:  # it begins when neither end has anything else to say
                    await client.send(b".")
                    await anyio.sleep(0.01)
                await client.line.set_outputs(dtr=False, rts=True)
                await client.line.set_outputs(dtr=True)
                await client.send(behind)
                await until(lambda behind=behind: behind in story)  # type: ignore[misc]
                assert story[-2:] == [Outputs(True, True), behind]
            tasks.cancel_scope.cancel()
        await client.aclose()
        await far.aclose()


async def test_closing_a_lent_end_ends_the_bridge() -> None:
    async with tcp() as (a, beyond_a), tcp() as (b, _), bridged(a, b) as running:
        await beyond_a.send(b"x")
        await anyio.sleep(0.01)
        await a.aclose()
    assert running.end is not None
    assert running.end.by == "a"
    assert isinstance(running.end.error, anyio.ClosedResourceError)


async def test_a_lent_transport_is_busy() -> None:
    async with tcp() as (a, beyond_a), tcp() as (b, beyond_b), bridged(a, b):
        await beyond_a.send(b"x")
        assert await beyond_b.receive() == b"x"
        with pytest.raises(anyio.BusyResourceError):
            await a.receive()
        with pytest.raises(anyio.BusyResourceError):
            await b.send(b"y")
        await beyond_a.aclose()
        await beyond_b.aclose()
