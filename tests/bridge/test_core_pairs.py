"""The copy core between any two ends with descriptors, in bad weather: what goes in comes out."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import combinations_with_replacement
from typing import TypeAlias

import anyio
import psutil
import pytest

from serialnet import Bridge, BridgeEnd, Transport
from serialnet.bridge import bridge as bridge_module
from serialnet.transports import exec as exec_module
from serialnet.transports._descriptor import DescriptorTransport

from .core_ends import End, command, exchange, receive_hashed, send_random, stdio, tcp, tty_port, unix

SOAK = bool(os.environ.get("SERIALNET_SOAK"))
SIZE = 1 << 30 if SOAK else 1 << 20
# Of what each call is disturbed, a hundredth of that will do.
STORMY_SIZE = SIZE // 100 if SOAK else SIZE // 4
PAIRS = list(combinations_with_replacement([tcp, unix, stdio, command, tty_port], 2))
HALVES = [pair for pair in PAIRS if tty_port not in pair]


def name(ends: tuple[End, End]) -> str:
    return "-".join(end.__name__ for end in ends)


@pytest.fixture(autouse=True)
def linger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge_module, "LINGER", 0.02)
    monkeypatch.setattr(exec_module, "GRACE", 0.2)


class Session:
    end: BridgeEnd


Joined: TypeAlias = tuple[Transport, Transport, Session]


@asynccontextmanager
async def bridged(ends: tuple[End, End], seed: int | None = None) -> AsyncIterator[Joined]:
    """Join two ends, and give what is beyond them.

    :param seed: of the disturbances, if there shall be any
    """
    session = Session()
    with anyio.fail_after(3600 if SOAK else 50):
        async with ends[0]() as (a, beyond_a), ends[1]() as (b, beyond_b):
            if seed is not None:
                disturb(a, seed)
                disturb(b, seed + 1)
            bridge = Bridge(a, b)

            async def run() -> None:
                session.end = await bridge.run()

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(run)
                yield beyond_a, beyond_b, session
                await beyond_a.aclose()
                await beyond_b.aclose()


def disturb(transport: Transport, seed: int) -> None:
    """Let each system call do less than it could, and often nothing."""
    assert isinstance(transport, DescriptorTransport)
    rng = random.Random(seed)

    def some(call: Callable[[memoryview], int]) -> Callable[[memoryview], int]:
        def called(view: memoryview) -> int:
            if rng.random() < 0.5:
                raise BlockingIOError
            return call(view[: int(len(view) ** rng.random()) + 1])

        return called

    transport._read_into = some(transport._read_into)  # type: ignore[method-assign, assignment]
    transport._write = some(transport._write)  # type: ignore[method-assign, assignment]
    transport._bare_socket = None


@pytest.mark.parametrize("ends", PAIRS, ids=name)
async def test_all_bytes_arrive_both_ways(ends: tuple[End, End]) -> None:
    async with bridged(ends) as (beyond_a, beyond_b, _):
        await exchange(beyond_a, beyond_b, SIZE)


@pytest.mark.parametrize("ends", PAIRS, ids=name)
async def test_short_calls_and_false_alarms_lose_nothing(ends: tuple[End, End]) -> None:
    async with bridged(ends, seed=1) as (beyond_a, beyond_b, _):
        await exchange(beyond_a, beyond_b, STORMY_SIZE)


@pytest.mark.parametrize("seed", [None, 1], ids=["calm", "stormy"])
@pytest.mark.parametrize("ends", HALVES, ids=name)
async def test_each_half_closes_by_itself(ends: tuple[End, End], seed: int | None) -> None:
    async with bridged(ends, seed) as (beyond_a, beyond_b, session):
        for sender, receiver in ((beyond_a, beyond_b), (beyond_b, beyond_a)):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(send_random, sender, 300_000, 1)
                await receive_hashed(receiver, 300_000, 2)
            await sender.send_eof()
            with pytest.raises(anyio.EndOfStream):
                await receiver.receive()
    assert (session.end.by, session.end.error) == ("a", None)


@pytest.mark.parametrize("ends", PAIRS, ids=name)
async def test_cancelling_it_in_any_state_leaves_nothing(ends: tuple[End, End]) -> None:
    rng = random.Random(1)
    process = psutil.Process()
    before = 0

    async def flood(beyond: Transport) -> None:
        try:
            while True:
                await beyond.send(bytes(50_000))
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass

    for number in range(100 if SOAK else 4):
        with anyio.fail_after(20):
            async with (
                ends[0]() as (a, beyond_a),
                ends[1]() as (b, beyond_b),
                anyio.create_task_group() as tasks,
            ):
                disturb(a, number)
                disturb(b, number)
                for beyond in (beyond_a, beyond_b):
                    tasks.start_soon(flood, beyond)
                with anyio.move_on_after(rng.random() * 0.03):
                    await Bridge(a, b).run()
                for end in (a, b):
                    with pytest.raises(anyio.ClosedResourceError):
                        await end.receive()
                tasks.cancel_scope.cancel()
        if number == 1:
            before = process.num_fds()
    assert process.num_fds() <= before + 8  # pipes and wakers that are kept
