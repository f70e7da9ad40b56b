"""What transports on descriptors share."""

from __future__ import annotations

import os
import tty
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

import serialnet
from serialnet import Transport
from serialnet.transports._descriptor import DescriptorTransport
from serialnet.transports._pipes import PipeTransport


async def tcp_pair() -> tuple[Transport, Transport]:
    async with serialnet.listen("tcp://127.0.0.1:0") as listener:
        return await serialnet.connect(listener.urls[0]), await listener.accept()


async def pipes() -> tuple[Transport, Transport]:
    ends = [*os.pipe(), *os.pipe()]
    for descriptor in ends:
        os.set_blocking(descriptor, False)
    return PipeTransport(ends[0], ends[3]), PipeTransport(ends[2], ends[1])


BACKENDS: list[Any] = ["asyncio", "trio", ("asyncio", {"use_uvloop": True})]


@pytest.mark.parametrize("anyio_backend", BACKENDS, indirect=True)
async def test_what_is_called_ready_in_vain_can_be_cancelled() -> None:
    """The master of a PTY that was closed takes nothing, and each wait for it is over at once."""
    master, slave = os.openpty()
    tty.setraw(slave)
    os.set_blocking(master, False)
    async with PipeTransport(os.dup(master), master) as transport:
        with anyio.move_on_after(0.1):  # until nothing goes
            await transport.send(bytes(1_000_000))
        os.close(slave)
        for turns in range(10):  # it depends on what the loop is about to do
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(transport.send_some, b"x")
                for _ in range(turns):
                    await checkpoint()
                tasks.cancel_scope.cancel()


@pytest.mark.parametrize("anyio_backend", BACKENDS, indirect=True)
@pytest.mark.parametrize("pair", [tcp_pair, pipes])
async def test_its_number_can_be_used_again_at_once(
    pair: Callable[[], Awaitable[tuple[Transport, Transport]]],
) -> None:
    """Who waits for it is awake by then, and ends no wait for what has the number now."""
    transport, beyond = await pair()
    assert isinstance(transport, DescriptorTransport)
    async with beyond, anyio.create_task_group() as tasks:

        async def receive() -> None:
            with pytest.raises(anyio.ClosedResourceError):
                await transport.receive()

        tasks.start_soon(receive)
        await anyio.wait_all_tasks_blocked()
        number = transport._descriptor
        reading, writing = os.pipe()

        async def write() -> None:
            await anyio.wait_all_tasks_blocked()
            os.write(writing, b"x")

        await transport.aclose()
        os.dup2(reading, number)
        os.close(reading)
        with anyio.fail_after(5):
            async with anyio.create_task_group() as waiting:
                waiting.start_soon(write)
                await anyio.wait_readable(number)
        os.close(number)
        os.close(writing)
