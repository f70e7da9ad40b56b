"""A poller in the event loop's own thread: for taps, which run a user's code."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import anyio
from typing_extensions import override

from . import poller as poller_module
from .poller import Poller
from .readiness import IN, OUT

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

__all__ = ["LoopPoller"]


class LoopPoller(Poller):
    """A poller for the task that makes it; :meth:`run` is to run beside."""

    def __init__(self) -> None:
        import asyncio  # not at the top: most programs that import this library need it only later, if at all

        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        # A loop that waits for epoll, which waits for the descriptors, would do everything twice.
        super().__init__(None if loop is None else _LoopReadiness(loop, self.handle))
        self._is_told = loop is not None
        self._sends = anyio.Event()

    async def run(self) -> None:
        """Drive the lanes, for ever."""
        async with anyio.create_task_group() as tasks:
            if not self._is_told:
                tasks.start_soon(self._wait)
            while True:
                await self._sends.wait()
                self._sends = anyio.Event()
                while self.is_sending:
                    await anyio.sleep(poller_module.STALLED_AFTER / poller_module.LOOKS)
                    self.dispatch()

    async def _wait(self) -> None:
        while True:
            await anyio.wait_readable(self.fileno())
            self.dispatch()

    @override
    def _sending_begins(self) -> None:
        self._sends.set()


class _LoopReadiness:
    """What :class:`select.epoll` does, by asyncio's event loop, which waits for descriptors anyway.

    :param ready: called with a descriptor and its events
    """

    def __init__(self, loop: AbstractEventLoop, ready: Callable[[int, int], None]) -> None:
        self._loop = loop
        self._ready = ready
        self._masks: dict[int, int] = {}

    def register(self, descriptor: int, mask: int) -> None:
        before = self._masks.get(descriptor, 0)
        if mask & ~before & IN:
            self._loop.add_reader(descriptor, self._ready, descriptor, IN)
        elif before & ~mask & IN:
            self._loop.remove_reader(descriptor)
        if mask & ~before & OUT:
            self._loop.add_writer(descriptor, self._ready, descriptor, OUT)
        elif before & ~mask & OUT:
            self._loop.remove_writer(descriptor)
        self._masks[descriptor] = mask

    modify = register

    def unregister(self, descriptor: int) -> None:
        self.register(descriptor, 0)
        del self._masks[descriptor]

    def poll(self, timeout: float | None, maxevents: int) -> list[tuple[int, int]]:
        return []

    def fileno(self) -> int:
        return -1

    def close(self) -> None:
        for descriptor in list(self._masks):
            self.unregister(descriptor)
