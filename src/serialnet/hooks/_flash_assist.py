"""Flashing over any distance."""

from __future__ import annotations

import anyio

from ..bridge import Bridge, Direction, Forward, Hook
from ..values.requests import InForce, LineRequest, PurgeRequest, SetOutputs
from ..values.settings import Purge
from ..wire.patience import Patience

__all__ = ["FlashAssist"]


class FlashAssist(Hook):
    """Lets esptool, and tools of its kind, flash over any distance; it stands at the end near the tool.

    :class:`serialnet.wire.patience.Patience` says how. Give a bridge the class itself.
    """

    def __init__(self) -> None:
        self._patience = Patience()
        self._sent = False  # anything that a purge could still find unsent
        self._bridge: Bridge | None = None

    async def opened(self, bridge: Bridge) -> None:
        """Learn which end is the chip's."""
        self._bridge = bridge

    async def request(self, request: LineRequest, forward: Forward) -> InForce:
        """See how long the far end takes, and forget all when DTR or RTS may reset the chip."""
        if isinstance(request, PurgeRequest) and Purge.UNSENT in request.what:
            if request.what is Purge.UNSENT and (not self._sent or self._patience.ends_in_sync):
                # On a PTY, what a tool sends is thrown away by its next purge while this one is on its way.
                # Nor does a SYNC matter that gets through: a chip answers each, and tools skip answers.
                return request.what
            self._sent = False
        begin = anyio.current_time()
        in_force = await forward(request)
        # Other requests may be answered on the way, and purges come before each SYNC.
        if isinstance(request, PurgeRequest) and self._bridge is not None and self._bridge.line is not None:
            self._patience.measured(anyio.current_time() - begin)
        if isinstance(request, SetOutputs):
            self._patience.forget()
        self.deadline = self._patience.deadline
        return in_force

    def data(self, direction: Direction, view: memoryview) -> None:
        """Look at the bytes."""
        if self._bridge is None:
            return
        if direction is self._bridge.to_port:
            self._sent = True
            self._patience.sent(view, anyio.current_time())
        else:
            self._patience.received(view)
        self.deadline = self._patience.deadline

    async def timeout(self, forward: Forward) -> None:
        """Keep the tool waiting."""
        if self._bridge is not None and (data := self._patience.expire(anyio.current_time())):
            self._bridge.inject(data)
        self.deadline = self._patience.deadline
