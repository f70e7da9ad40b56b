"""``loop:``: what is sent comes back, and the lines are wired to each other."""

from __future__ import annotations

import random

import anyio
import pytest

import serialnet
from serialnet import (
    Inputs,
    InputsChanged,
    LineErrors,
    LineSettings,
    Outputs,
    Parity,
    Purge,
    StopBits,
    Transport,
    TransportAttribute,
)
from serialnet.transports.loop import CAPACITY, LoopTransport


async def receive_exactly(transport: Transport, count: int) -> bytes:
    data = b""
    while len(data) < count:
        data += await transport.receive(count - len(data))
    return data


async def test_bytes_come_back() -> None:
    async with serialnet.connect("loop:") as loop:
        await loop.send(b"hello")
        assert await loop.receive(2) == b"he"
        assert await loop.receive() == b"llo"
        assert loop.extra(TransportAttribute.url) == "loop:"


async def test_it_takes_no_more_than_it_holds() -> None:
    loop = LoopTransport()
    data = random.Random(1).randbytes(3 * CAPACITY)
    assert await loop.send_some(data) == CAPACITY
    with anyio.move_on_after(0.01) as scope:
        await loop.send_some(b"x")
    assert scope.cancelled_caught
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(loop.send, data[CAPACITY:])
        assert await receive_exactly(loop, len(data)) == data


async def test_cancelled_receives_and_sends_lose_nothing() -> None:
    loop = LoopTransport()
    rng = random.Random(2)
    data = rng.randbytes(300_000)
    received = bytearray()

    async def send() -> None:
        sent = 0
        while sent < len(data):
            with anyio.move_on_after(rng.choice([0, 0.0001])):
                sent += await loop.send_some(data[sent : sent + rng.randrange(1, 5000)])

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send)
            while len(received) < len(data):
                with anyio.move_on_after(rng.choice([0, 0.0001])):
                    received += await loop.receive(rng.randrange(1, 5000))
    assert received == data


async def test_end_of_file() -> None:
    loop = LoopTransport()
    await loop.send(b"last")
    await loop.send_eof()
    with pytest.raises(anyio.ClosedResourceError):
        await loop.send(b"x")
    assert await loop.receive() == b"last"
    for _ in range(2):
        with pytest.raises(anyio.EndOfStream):
            await loop.receive()


async def test_closing_wakes_all_that_wait() -> None:
    loop = LoopTransport()

    async def receive() -> None:
        with pytest.raises(anyio.ClosedResourceError):
            await loop.receive()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(receive)
        await anyio.wait_all_tasks_blocked()
        await loop.aclose()
    await loop.aclose()
    with pytest.raises(anyio.ClosedResourceError):
        await loop.send(b"x")
    with pytest.raises(anyio.ClosedResourceError):
        await loop.line.set_outputs(dtr=True)


async def test_two_at_once() -> None:
    loop = LoopTransport()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(loop.receive)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(anyio.BusyResourceError):
            await loop.receive()
        await loop.send(b"x")


async def test_empty_buffers() -> None:
    loop = LoopTransport()
    with pytest.raises(ValueError, match="room"):
        await loop.receive_into(bytearray())
    with pytest.raises(ValueError, match="one byte"):
        await loop.send_some(b"")
    await loop.send(b"")


async def test_the_lines_are_wired_to_each_other() -> None:
    line = LoopTransport().line
    assert await line.set_outputs(dtr=True) == Outputs(dtr=True) == line.outputs
    assert await line.get_inputs() == Inputs(dsr=True, cd=True)
    assert await line.set_outputs(rts=True, dtr=False) == Outputs(rts=True)
    assert await line.get_inputs() == Inputs(cts=True)


async def test_events() -> None:
    line = LoopTransport().line
    async with line.events() as events:
        assert await anext(events) == InputsChanged(Inputs(), Inputs())
        await line.set_outputs(rts=True)
        assert await anext(events) == InputsChanged(Inputs(), Inputs(cts=True))
        await line.set_outputs(brk=True)
        assert await anext(events) == LineErrors(breaks=1)


async def test_purging() -> None:
    loop = LoopTransport()
    await loop.send(b"old")
    await loop.line.purge(Purge.RECEIVED)
    await loop.line.drain()
    await loop.send(b"new")
    assert await loop.receive() == b"new"


async def test_options() -> None:
    url = "loop:?baudrate=9600&bytesize=7&parity=e&stopbits=2&rtscts&dtr=on"
    async with serialnet.connect(url, rts=True) as loop:
        assert loop.line is not None
        assert loop.line.settings == LineSettings(
            9600, 7, Parity.EVEN, StopBits.TWO, serialnet.FlowControl.RTSCTS
        )
        assert loop.line.outputs == Outputs(True, True)
    async with serialnet.connect("loop:") as loop:
        assert loop.line is not None
        assert (loop.line.settings, loop.line.outputs) == (LineSettings(), Outputs())
