"""Bridges whose copying thread cannot start, or fails: the event loops do its work, and none hangs."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import pytest

from serialnet import Bridge, Transport
from serialnet.bridge.copy import passage, pools, socket_lane, thread, turns, waker

from ..interop.tools import until
from .core_ends import tcp


def no_thread(patch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start

    def refused(started: threading.Thread) -> None:
        if started.name == "serialnet-copy":
            raise RuntimeError("can't start new thread")
        start(started)

    patch.setattr(threading.Thread, "start", refused)


def no_descriptor(patch: pytest.MonkeyPatch) -> None:
    def refused() -> tuple[int, int]:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    patch.setattr(waker, "_idle", [])
    patch.setattr(waker, "_open", refused)


def no_descriptor_for_the_thread(patch: pytest.MonkeyPatch) -> None:
    def refused() -> thread._Poller:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    patch.setattr(thread, "_Poller", refused)


def no_memory(patch: pytest.MonkeyPatch) -> None:
    """In the thread."""

    def refused() -> memoryview:
        if threading.current_thread().name == "serialnet-copy":
            raise MemoryError
        return memoryview(bytearray(pools.SCRATCH_SIZE))

    patch.setattr(socket_lane, "pop_scratch", refused)


@asynccontextmanager
async def bridged() -> AsyncIterator[tuple[Bridge, Transport, Transport]]:
    async with tcp() as (a, beyond_a), tcp() as (b, beyond_b), anyio.create_task_group() as tasks:
        bridge = Bridge(a, b)
        tasks.start_soon(bridge.run)
        yield bridge, beyond_a, beyond_b
        tasks.cancel_scope.cancel()


async def converse(*beyond: Transport) -> None:
    for _ in range(3):
        for sender, receiver in (beyond, beyond[::-1]):
            await sender.send(b"a word")
            assert await receiver.receive() == b"a word"


@pytest.mark.parametrize("scarcity", [no_thread, no_descriptor, no_descriptor_for_the_thread, no_memory])
async def test_bytes_pass_all_the_same(
    scarcity: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thread, "IDLE", 0.05)
    await until(lambda: thread._poller is None)
    with anyio.fail_after(10):
        async with bridged() as (bridge, *beyond):
            with pytest.MonkeyPatch.context() as patch:
                scarcity(patch)
                await converse(*beyond)
            await converse(*beyond)
            assert (bridge.stats.bytes_a_to_b, bridge.stats.bytes_b_to_a) == (36, 36)
        async with bridged() as (_, *beyond):
            await converse(*beyond)
            assert thread._poller is not None


async def test_a_bridge_that_cannot_be_woken_does_not_take_others_along() -> None:
    def refuse() -> None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    with anyio.fail_after(10):
        async with bridged() as (_, *beyond), bridged() as (deaf, *beyond_deaf), bridged() as (_, *others):
            await converse(*beyond)
            await converse(*others)
            await converse(*beyond_deaf)
            for pump in (deaf._to_port, deaf._to_user):
                assert isinstance(pump.passage, passage.Passage)
                pump.passage.lane.wake = refuse
            await beyond_deaf[0].send_eof()
            await beyond_deaf[0].send_eof()
            with pytest.raises(anyio.EndOfStream):
                await beyond_deaf[1].receive()
            await converse(*beyond)
            await converse(*others)


async def test_who_is_interrupted_while_taking_a_direction_back_may_try_again() -> None:
    def interrupted(turns: object) -> None:
        raise KeyboardInterrupt

    with anyio.fail_after(10):
        async with bridged() as (bridge, *beyond):
            await converse(*beyond)
            direction = bridge._to_port.passage
            assert direction is not None
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(turns.Turns, "next", interrupted)
                with pytest.raises(KeyboardInterrupt):
                    direction.stop()
            assert not direction.is_over
            direction.stop()
            assert direction.is_over
            await converse(*beyond)
