"""A session that runs, and the one place that sessions have where only one can run."""

from __future__ import annotations

from typing import Generic, TypeVar

import anyio

from ..bridge import Bridge

__all__ = ["Seat", "Session"]

# A client that has closed its connection may be noticed a moment after the next one is there.
GRACE = 0.1
# How long a session that is ending may keep the next client waiting.
HANDOVER = 20.0
MOST_WAITING = 8


class Session:
    """A bridge that runs.

    :param name: whose it is
    """

    def __init__(self, name: str, bridge: Bridge) -> None:
        self.name = name
        self.bridge = bridge
        self.is_over: bool = False
        self._over: anyio.Event | None = None  # if somebody waits for it

    async def is_ending(self) -> bool:
        """Wait for its end, unless it goes on: then return false."""
        if not self.bridge.lingering:
            with anyio.move_on_after(GRACE):
                await self.wait()
        if self.bridge.lingering:
            self.bridge.hurry()
            await self.wait()
        return self.is_over

    async def wait(self) -> None:
        """Wait for its end."""
        if not self.is_over:
            self._over = self._over or anyio.Event()
            await self._over.wait()

    def end(self) -> None:
        """Say that it is over."""
        self.is_over = True
        if self._over is not None:
            self._over.set()


S = TypeVar("S", bound=Session)


class Seat(Generic[S]):
    """Who has the one place, and how long the next waits for it."""

    def __init__(self) -> None:
        self.session: S | None = None
        self._waiting = 0

    async def taken(self) -> S | None:
        """The session that goes on; those that are ending are waited for, one after the other."""
        if self._waiting < MOST_WAITING:
            self._waiting += 1
            try:
                with anyio.move_on_after(HANDOVER):
                    while self.session is not None and await self.session.is_ending():
                        pass
            finally:
                self._waiting -= 1
        return self.session

    def leave(self, session: S) -> None:
        """Say that a session is over."""
        if self.session is session:
            self.session = None
        session.end()
