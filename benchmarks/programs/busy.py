"""Work that keeps an event loop busy."""

from __future__ import annotations

import time

import anyio
import anyio.lowlevel

__all__ = ["keep_busy"]

SHARE = 0.9
SLICE = 0.001


async def keep_busy() -> None:
    """Work for a millisecond at a time, for nine tenths of the time."""
    start, worked = time.perf_counter(), 0.0
    while True:
        began = now = time.perf_counter()
        while now < began + SLICE:
            now = time.perf_counter()
        worked += now - began
        if worked < SHARE * (now - start):
            await anyio.lowlevel.checkpoint()
        else:
            await anyio.sleep(SLICE / 4)
