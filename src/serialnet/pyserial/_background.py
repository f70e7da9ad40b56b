"""The event loop behind the blocking ports: one thread for all of them, as long as one is open."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import Future

import anyio
from anyio.from_thread import BlockingPortal

__all__ = ["BackgroundLoop", "borrow"]


# How long who uses it last waits for its end, which a name server that says nothing can delay.
PATIENCE = 1.0


class BackgroundLoop:
    """An asyncio event loop in a thread of its own."""

    portal: BlockingPortal
    loop: asyncio.AbstractEventLoop

    def __init__(self) -> None:
        self.users: int = 0
        started: Future[None] = Future()
        # A daemon, as are the worker threads that anyio starts from it: none keeps the interpreter from
        # its end. What is open then is closed by an atexit handler.
        self._thread = threading.Thread(
            target=anyio.run, args=(self._run, started), name="serialnet.pyserial", daemon=True
        )
        self._thread.start()
        started.result()

    async def _run(self, started: Future[None]) -> None:
        async with BlockingPortal() as self.portal:
            self.loop = asyncio.get_running_loop()
            started.set_result(None)
            await self.portal.sleep_until_stopped()

    @property
    def is_here(self) -> bool:
        """Whether the caller runs on this loop, where it must not wait for it."""
        return threading.current_thread() is self._thread

    def give_back(self) -> None:
        """Use it no longer; the last user ends it."""
        global _shared
        with _lock:
            self.users -= 1
            if self.users:
                return
            if _shared is self:
                _shared = None
        if self.is_here:
            self.loop.create_task(self.portal.stop())
        else:
            self.portal.start_task_soon(self.portal.stop)
            self._thread.join(PATIENCE)


_shared: BackgroundLoop | None = None
# Re-entrant: the garbage collector may close a port anywhere.
_lock = threading.RLock()


def borrow() -> BackgroundLoop:
    """Get the loop, and start it if nobody uses it; to be given back."""
    global _shared
    with _lock:
        if _shared is None:
            _shared = BackgroundLoop()
        _shared.users += 1
        return _shared


def _after_fork() -> None:
    """Forget the loop: its thread is the parent's."""
    global _shared, _lock
    _shared, _lock = None, threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
