"""The ends of an RFC 2217 session as transports, beside what the conformance kit looks at."""

from __future__ import annotations

import anyio
import anyio.lowlevel

from ..bridge.core_ends import far_port


async def test_a_request_for_nothing_lets_others_have_their_turn() -> None:
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async with far_port() as (port, _), anyio.create_task_group() as tasks:
        assert port.line is not None
        await port.send(b"x")  # and what opens a session
        tasks.start_soon(take_turns)
        for _ in range(10):
            await port.line.set_outputs()
        assert turns >= 9
        tasks.cancel_scope.cancel()
