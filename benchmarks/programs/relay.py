"""Our relay in an application: on another event loop, with a tap, or with work beside it.

python -m benchmarks.programs.relay FAR [--loop asyncio|uvloop|trio] [--tap] [--apart]
    [--busy] [--busy-in-c] [--half-busy]
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

import serialnet

from .busy import in_c, in_python, keep_busy, work_now_and_then

LOOPS = {"asyncio": ("asyncio", {}), "uvloop": ("asyncio", {"use_uvloop": True}), "trio": ("trio", {})}


class Tap(serialnet.Hook):
    """Sees every byte, and counts the chunks."""

    def __init__(self) -> None:
        self.chunks = 0

    def data(self, direction: serialnet.Direction, view: memoryview) -> None:
        self.chunks += 1


async def main(options: argparse.Namespace) -> None:
    far = f"tcp://127.0.0.1:{options.far}"
    relay = apart(far) if options.apart else within(far, [Tap] if options.tap else [])
    async with relay, anyio.create_task_group() as tasks:
        if options.busy:
            tasks.start_soon(keep_busy, in_python)
        if options.busy_in_c:
            tasks.start_soon(keep_busy, in_c)
        if options.half_busy:
            tasks.start_soon(work_now_and_then)
        with anyio.open_signal_receiver(signal.SIGTERM) as signals:
            async for _ in signals:
                tasks.cancel_scope.cancel()


@asynccontextmanager
async def within(far: str, hooks: list[type[Tap]]) -> AsyncIterator[None]:
    """In this process."""
    async with serialnet.link("listen:tcp://127.0.0.1:0", far, hooks=hooks) as link:
        print(f"listening on {link.urls[0]}", flush=True)
        yield


@asynccontextmanager
async def apart(far: str) -> AsyncIterator[None]:
    """In a process of its own, which says where it listens."""
    command = [sys.executable, "-m", "serialnet", "link", "listen:tcp://127.0.0.1:0", far]
    async with await anyio.open_process(command, stdout=None, stderr=None) as process:
        try:
            yield
        finally:
            process.terminate()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("far", type=int)
    parser.add_argument("--loop", choices=LOOPS, default="asyncio")
    parser.add_argument("--tap", action="store_true")
    parser.add_argument("--apart", action="store_true")
    parser.add_argument("--busy", action="store_true")
    parser.add_argument("--busy-in-c", action="store_true")
    parser.add_argument("--half-busy", action="store_true")
    options = parser.parse_args()
    backend, backend_options = LOOPS[options.loop]
    anyio.run(main, options, backend=backend, backend_options=backend_options)
