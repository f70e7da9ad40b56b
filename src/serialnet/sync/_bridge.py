"""Two ports, joined for one session."""

from __future__ import annotations

from collections.abc import Sequence

from .. import bridge as asynchronous
from ..bridge import BridgeEnd, BridgeStats, Hook
from ..bridge.hook import HookFactory
from ._port import Port

__all__ = ["Bridge"]


class Bridge:
    """Joins two open ports for one session: ``end = Bridge(a, b).run()``; see :class:`serialnet.Bridge`.

    What :meth:`Port.expect` or :meth:`Port.read_until` has received beyond its result is not passed on.

    :raises BridgeError: if both ends ask for line changes
    """

    def __init__(self, a: Port, b: Port, *, hooks: Sequence[Hook | HookFactory] = ()) -> None:
        async def make() -> asynchronous.Bridge:
            return asynchronous.Bridge(a.transport, b.transport, hooks=hooks)

        self._held = a._held
        self._bridge = self._held.call(None, make)

    @property
    def stats(self) -> BridgeStats:
        """What it has carried so far."""
        return self._bridge.stats

    def run(self, *, timeout: float | None = None) -> BridgeEnd:
        """Carry bytes and requests both ways until the session is over; closes both ports.

        :raises TimeoutError: if it is not over in time; both are closed then, too
        """
        return self._held.call(timeout, self._bridge.run)
