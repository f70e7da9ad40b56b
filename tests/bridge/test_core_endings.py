"""Bridges between any two ends with descriptors that break or are cancelled, whatever they are doing."""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum
from itertools import product

import anyio
import psutil
import pytest

from serialnet import Direction
from serialnet.bridge.copy.lane import SENDING
from serialnet.bridge.copy.passage import Passage
from serialnet.transports._descriptor import DescriptorTransport
from serialnet.transports.tcp import TCPTransport

from ..interop.tools import SOAK, until
from .core_bridges import ENDS, PAIRS, Flooded, Session, bridged, flood, name
from .core_ends import End, tcp, tty_port, unix


class State(Enum):
    """What a bridge is doing."""

    READING = "nothing is on its way"
    FLOWING = "both ends send and receive as much as they can"
    HOLDING_FOR_A = "the copying thread, or its pipe, has bytes that the end a does not take"
    HOLDING_FOR_B = "the same, the other way"
    STALLED = "the ends take nothing for so long that the thread has given both directions back"

    def __str__(self) -> str:
        return self.name.lower()


def is_in(state: State, session: Session, received: list[Flooded]) -> bool:
    match state:
        case State.READING:
            return True
        case State.FLOWING:
            return all(len(each.data) > 100_000 for each in received)
        case State.HOLDING_FOR_A:
            return holds(session.passage(Direction.B_TO_A))
        case State.HOLDING_FOR_B:
            return holds(session.passage(Direction.A_TO_B))
        case State.STALLED:
            return not any(map(session.passage, Direction))


def holds(passage: Passage | None) -> bool:
    """Whether there are bytes that the sink does not take, or were a moment ago."""
    return passage is None or passage.lane.state is SENDING


@asynccontextmanager
async def busy(session: Session, state: State) -> AsyncIterator[Flooded]:
    """Bring a bridge into a state for the block, which ends it; gives what is received beyond b."""
    received = [Flooded(session.beyond_a), Flooded(session.beyond_b)]
    async with anyio.create_task_group() as receiving, anyio.create_task_group() as flooding:
        await until(lambda: all(map(session.passage, Direction)))
        if state not in (State.READING, State.HOLDING_FOR_A):
            flooding.start_soon(flood, session.beyond_a)
        if state not in (State.READING, State.HOLDING_FOR_B):
            flooding.start_soon(flood, session.beyond_b)
        if state is State.FLOWING:
            for each in received:
                receiving.start_soon(each.receive)
        await until(lambda: is_in(state, session, received))
        yield received[1]
        await session.over.wait()
        flooding.cancel_scope.cancel()
    if state is not State.FLOWING:
        await received[1].receive()


async def reset(session: Session, state: State) -> None:
    """Close what is beyond a, so that a hears of a reset; a PTY hangs up."""
    beyond = session.beyond_a
    assert isinstance(beyond, DescriptorTransport)
    if isinstance(beyond, TCPTransport):
        beyond._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    elif state in (State.READING, State.HOLDING_FOR_B):  # for a Unix socket, something has to be unread
        await session.beyond_b.send(b"unheard")
        await anyio.wait_readable(beyond._descriptor)
    await beyond.aclose()


@pytest.mark.parametrize("seed", [None, 1, 2], ids=["calm", "stormy", "gusty"])
@pytest.mark.parametrize("state", State, ids=str)
@pytest.mark.parametrize("ends", list(product([tcp, unix, tty_port], ENDS)), ids=name)
async def test_a_reset_ends_it(ends: tuple[End, End], state: State, seed: int | None) -> None:
    async with bridged(ends, seed) as session, busy(session, state) as received:
        await reset(session, state)
    if ends[0] is not tty_port:  # its hang-up throws away what is on its way within the kernel
        assert received.is_genuine()
    assert session.end is not None
    assert session.end.by == "a"
    if state in (State.READING, State.HOLDING_FOR_B):  # else who sends may have met the error, and taken it
        assert isinstance(session.end.error, anyio.BrokenResourceError)


async def cancel(session: Session) -> None:
    session.scope.cancel()
    await session.over.wait()
    for end in (session.a, session.b):
        with pytest.raises(anyio.ClosedResourceError):
            await end.receive()


@pytest.mark.parametrize("state", State, ids=str)
@pytest.mark.parametrize("ends", PAIRS, ids=name)
async def test_cancelling_it_leaves_nothing(ends: tuple[End, End], state: State) -> None:
    process = psutil.Process()
    before = process.num_fds()
    async with bridged(ends) as session, busy(session, state) as received:
        await cancel(session)
    assert received.is_genuine()
    assert process.num_fds() <= before + 8  # pipes and wakers that are kept


@pytest.mark.parametrize("ends", PAIRS, ids=name)
async def test_cancelling_it_at_any_moment_leaves_nothing(ends: tuple[End, End]) -> None:
    rng = random.Random(1)
    process = psutil.Process()
    before = 0
    for number in range(100 if SOAK else 4):
        async with bridged(ends, seed=number) as session, anyio.create_task_group() as tasks:
            for beyond in (session.beyond_a, session.beyond_b):
                tasks.start_soon(flood, beyond)
            await anyio.sleep(rng.random() * 0.03)
            await cancel(session)
            tasks.cancel_scope.cancel()
        if number == 1:
            before = process.num_fds()
    assert process.num_fds() <= before + 8
