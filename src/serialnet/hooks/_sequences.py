"""Reset sequences played when clients come and go."""

from __future__ import annotations

import logging

import anyio

from .. import resets
from ..bridge import Bridge, BridgeEnd, Forward, Hook
from ..core.errors import LineError
from ..core.line import Line

__all__ = ["OnConnect", "OnDisconnect", "OnFirstData"]

logger: logging.Logger = logging.getLogger("serialnet.hooks")


class _Play(Hook):
    def __init__(self, sequence: str) -> None:
        resets.parse_sequence(sequence)
        self.sequence = sequence
        self._line: Line | None = None

    async def opened(self, bridge: Bridge) -> None:
        """Remember the line."""
        self._line = bridge.line

    async def _play(self) -> None:
        if self._line is None:
            logger.warning("cannot play %s: the port has no lines", self.sequence)
            return
        try:
            await resets.play(self._line, self.sequence)
        except (LineError, anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            logger.warning("cannot play %s: %s", self.sequence, error)


class OnConnect(_Play):
    """Plays a reset sequence on the port when a client comes, before its first byte passes.

    :param sequence: a name in :data:`serialnet.resets.SEQUENCES` (``dtr-pulse``, ``esp-bootloader``,
        ``esp-reset`` ...) or a sequence in esptool's mini-language
    :raises ValueError: if it is neither
    """

    async def opened(self, bridge: Bridge) -> None:
        """Play the sequence."""
        await super().opened(bridge)
        await self._play()


class OnFirstData(_Play):
    """Plays a reset sequence on the port when a client's first bytes come, before they pass.

    :param sequence: a name in :data:`serialnet.resets.SEQUENCES` (``dtr-pulse``, ``esp-bootloader``,
        ``esp-reset`` ...) or a sequence in esptool's mini-language
    :raises ValueError: if it is neither
    """

    async def opened(self, bridge: Bridge) -> None:
        """Wait for the first bytes."""
        await super().opened(bridge)
        self.awaits_data: bool = True

    async def before_data(self, forward: Forward) -> None:
        """Play the sequence."""
        await self._play()


class OnDisconnect(_Play):
    """Plays a reset sequence on the port when the client has gone.

    :param sequence: a name in :data:`serialnet.resets.SEQUENCES` (``dtr-pulse``, ``esp-bootloader``,
        ``esp-reset`` ...) or a sequence in esptool's mini-language
    :raises ValueError: if it is neither
    """

    async def closed(self, end: BridgeEnd) -> None:
        """Play the sequence."""
        await self._play()
