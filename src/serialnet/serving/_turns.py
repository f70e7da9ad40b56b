"""Who uses a shared port, who waits for it, and who has lent it to somebody."""

from __future__ import annotations

from collections import deque

import anyio
from typing_extensions import override

from ..bridge import Bridge
from ..core.transport import Transport
from ..transports._news import News
from ._session import Seat, Session
from ._suspendable import SuspendableLease
from .sharing import Role

__all__ = ["Turn", "Turns"]

# How often it is looked whether who waits is still there.
HANG_UP_CHECK = 2.0


class Turn(Session):
    """A session that uses the port, or has lent it to one that does.

    :param name: whose it is
    :param lease: its port
    :param role: as what
    :param lender: who has lent it
    """

    def __init__(
        self, name: str, bridge: Bridge, lease: SuspendableLease, role: Role, lender: Turn | None = None
    ) -> None:
        super().__init__(name, bridge)
        self.lease = lease
        self.role = role
        self.lender = lender


class Turns(Seat[Turn]):
    """The one place at the port, and the queue for it."""

    def __init__(self) -> None:
        super().__init__()
        self._queue: deque[Transport] = deque()
        self._news = News()

    @property
    def is_free(self) -> bool:
        """Whether nobody has the port, or waits for it."""
        return self.session is None and not self._queue

    async def wait(self, client: Transport, timeout: float, most: int) -> str | None:
        """Wait for a turn, which is to be taken at once.

        :param timeout: how long, in seconds
        :param most: how many may wait
        :return: why there is none
        """
        if len(self._queue) >= most:
            return f"{most} others wait for the port"
        self._queue.append(client)
        try:
            with anyio.move_on_after(timeout):
                while self.session is not None or self._queue[0] is not client:
                    await self._news.wait(anyio.current_time() + HANG_UP_CHECK)
                    if client._hung_up(half=True):
                        return "it left while it waited"
                return None
            return f"its turn did not come within {timeout:g} s"
        finally:
            self._queue.remove(client)
            self._news.tell()

    @override
    def leave(self, session: Turn) -> None:
        super().leave(session)
        lender = session.lender
        if self.session is None and lender is not None and not lender.is_over:
            self.session = lender
        self._news.tell()
