"""The figures of a session: whoever copies the bytes, at any moment, and as values."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable

import anyio
import pytest

from serialnet import Bridge, BridgeStats

from .core_ends import tcp


def of_dict(stats: BridgeStats) -> BridgeStats:
    return BridgeStats(**{**dataclasses.asdict(stats), "line_errors": stats.line_errors})


def unpickled(stats: BridgeStats) -> BridgeStats:
    loaded = pickle.loads(pickle.dumps(stats))
    assert isinstance(loaded, BridgeStats)
    return loaded


@pytest.mark.parametrize("taken", [copy.copy, copy.deepcopy, dataclasses.replace, of_dict, unpickled])
async def test_a_copy_is_of_the_moment(taken: Callable[[BridgeStats], BridgeStats]) -> None:
    async with tcp() as (a, beyond_a), tcp() as (b, beyond_b), anyio.create_task_group() as tasks:
        bridge = Bridge(a, b)
        tasks.start_soon(bridge.run)
        await beyond_a.send(b"abc")
        assert await beyond_b.receive() == b"abc"
        stats = taken(bridge.stats)
        assert stats == bridge.stats
        assert repr(stats) == repr(bridge.stats)
        assert repr(stats).startswith("BridgeStats(bytes_a_to_b=3, bytes_b_to_a=0, ")
        await beyond_a.send(b"d")
        assert await beyond_b.receive() == b"d"
        assert (stats.bytes_a_to_b, bridge.stats.bytes_a_to_b) == (3, 4)
        assert stats != bridge.stats
        tasks.cancel_scope.cancel()


async def test_bytes_are_counted_once_whoever_has_them() -> None:
    """The thread, then the loop, then the thread again, and nobody."""
    async with tcp() as (a, beyond_a), tcp() as (b, beyond_b):
        bridge = Bridge(a, b)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bridge.run)
            for number in range(1, 6):
                await beyond_a.send(b"abc")
                assert await beyond_b.receive() == b"abc"
                assert bridge.stats.bytes_a_to_b == 3 * number
                if (passage := bridge._to_port.passage) is not None:
                    passage.stop()
                assert bridge.stats.bytes_a_to_b == 3 * number
            await beyond_a.send_eof()
            await beyond_b.send_eof()
        assert bridge.stats.bytes_a_to_b == 15
