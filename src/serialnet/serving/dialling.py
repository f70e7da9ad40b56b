"""An end that is dialled, as often as it takes."""

from __future__ import annotations

import logging
from collections.abc import Callable

import anyio

from ..core.endpoint import Endpoint
from ..core.errors import OpenError
from ..core.opening import Opener
from ..core.transport import Transport
from .kept import Kept
from .policies import Gap, Reconnect
from .reopening import Reopening

__all__ = ["Dialled"]

logger: logging.Logger = logging.getLogger("serialnet.link")


class Dialled:
    """An endpoint to be opened.

    :param wait: whether one that is not there is waited for
    :raises EndpointError: if it could not be opened for what it says
    """

    def __init__(self, endpoint: Endpoint, gap: Gap, reconnect: Reconnect, wait: bool) -> None:
        self.endpoint = endpoint
        self._opener = Opener(endpoint)
        self.name: str = str(endpoint)
        self.reconnect = reconnect
        self.wait = wait
        self._gap = gap

    @property
    def patience(self) -> float:
        """Seconds for which a client is kept waiting for it."""
        return self._gap.patience if self.wait else 0.0

    async def open(self, patience: float, wanted: Callable[[], bool] = lambda: True) -> Transport:
        """Open it; a port, that is what offers a line, outlives its losses (:class:`Kept`).

        :param patience: seconds for which it is tried
        :param wanted: whether somebody still waits
        :raises OpenError: if it was not there all the time
        """
        source = Reopening(self._opener)
        transport = await self._first(source, anyio.current_time() + patience, wanted)
        if self.wait and transport.line is not None:
            return Kept(transport, source, self._gap, self.reconnect)
        return transport

    async def _first(self, source: Reopening, deadline: float, wanted: Callable[[], bool]) -> Transport:
        delays = self.reconnect.delays()
        said = False
        while True:
            try:
                return await source.open()
            except OpenError as error:
                delay = next(delays)
                if anyio.current_time() + delay > deadline or not wanted():
                    raise
                if not said:
                    logger.warning("waiting for %s: %s", self.endpoint, error)
                    said = True
            with anyio.move_on_after(delay):
                await source.changed()
