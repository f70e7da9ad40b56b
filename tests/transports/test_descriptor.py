"""What transports on descriptors share."""

from __future__ import annotations

import os
import tty
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from serialnet.transports._pipes import PipeTransport

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
