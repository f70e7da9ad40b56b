"""The 1200-baud touch, for clients that set 1200 baud and leave."""

from __future__ import annotations

import logging

import anyio

from .. import resets
from ..bridge import Bridge, BridgeEnd, Direction, Forward, Hook
from ..core.errors import LineError
from ..values.requests import Configure, InForce, LineRequest
from ..wire.touch import TOUCH_BAUDRATE, TouchWatch

__all__ = ["Touch"]

logger: logging.Logger = logging.getLogger("serialnet.hooks")


class Touch(Hook):
    """Plays the 1200-baud touch when a client sets 1200 baud and leaves: :func:`serialnet.resets.touch`.

    A local port does that when it is closed, but a server keeps its port open. A client that has sent
    anything at 1200 baud, or stays for more than 5 s, works at that rate: nothing happens when it leaves. One
    that drops DTR itself has its touch by that; then the board is waited for before the next client comes.

    It keeps state: give a bridge the class itself.
    """

    def __init__(self) -> None:
        self._watch = TouchWatch()
        self._bridge: Bridge | None = None
        self._sent = 0

    async def opened(self, bridge: Bridge) -> None:
        """Remember the bridge."""
        self._bridge = bridge

    async def request(self, request: LineRequest, forward: Forward) -> InForce:
        """See whether it begins a touch."""
        if isinstance(request, Configure) and self._bridge is not None and self._bridge.line is not None:
            outputs, now = self._bridge.line.outputs, anyio.current_time()
            if self._watch.configure(request.settings, request.unchanged, outputs, now):
                self._sent = _bytes_to_port(self._bridge)
        return await forward(request)

    async def closed(self, end: BridgeEnd) -> None:
        """Play it, if it was one."""
        bridge, before = self._bridge, self._watch.before(anyio.current_time())
        if bridge is None or bridge.line is None or before is None:
            return
        has_left = end.by == ("a" if bridge.to_port is Direction.A_TO_B else "b")
        is_set = bridge.line.settings.baudrate == TOUCH_BAUDRATE  # else refused, or the board has obeyed
        if not has_left or not is_set or _bytes_to_port(bridge) != self._sent:
            return
        logger.info("a 1200-baud touch: the board may restart into its boot loader")
        settings, outputs = before
        try:
            await resets.touch(bridge.line, settings=settings, outputs=outputs)
        except (LineError, anyio.ClosedResourceError) as error:
            logger.warning("cannot play the 1200-baud touch: %s", error)


def _bytes_to_port(bridge: Bridge) -> int:
    stats = bridge.stats
    return stats.bytes_a_to_b if bridge.to_port is Direction.A_TO_B else stats.bytes_b_to_a
