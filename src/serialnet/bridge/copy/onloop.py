"""A poller in the event loop's own thread: for taps, which run a user's code."""

from __future__ import annotations

import anyio

from . import poller as poller_module
from .poller import Poller

__all__ = ["drive"]


async def drive(poller: Poller) -> None:
    """Drive a poller's lanes, for ever."""
    import asyncio  # not at the top: most programs that import this library need it only later, if at all

    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        await _drive_anywhere(poller)
        return
    # Waiting anew each time would cost ten times what this does.
    loop.add_reader(poller.fileno(), poller.dispatch, 0)
    try:
        while True:
            await anyio.sleep(poller_module.STALLED_AFTER / poller_module.LOOKS)
            poller.dispatch(0)  # stalls are noticed so
    finally:
        loop.remove_reader(poller.fileno())


async def _drive_anywhere(poller: Poller) -> None:
    while True:
        with anyio.move_on_after(poller_module.STALLED_AFTER / poller_module.LOOKS):
            await anyio.wait_readable(poller.fileno())
        poller.dispatch(0)
