"""The line: the small interface to all that a serial port has beside its bytes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

from ..values.events import LineEvent
from ..values.settings import Inputs, LineSettings, Outputs, Purge

__all__ = ["Line"]


class Line(ABC):
    """What a transport offers through which a port can be controlled.

    A call may read up to 64 KiB ahead for its own answer, so nobody has to be receiving meanwhile. All
    methods raise :exc:`~anyio.ClosedResourceError` once the transport is closed and
    :exc:`~anyio.BrokenResourceError` when the device has gone.
    """

    _pipelines: bool = False
    """Whether calls may be made while earlier ones wait for answers: they take effect in order, at their
    place among the bytes sent."""

    @property
    @abstractmethod
    def settings(self) -> LineSettings:
        """The settings in force, as last read back."""

    @property
    @abstractmethod
    def outputs(self) -> Outputs:
        """What is driven now."""

    @abstractmethod
    async def configure(self, settings: LineSettings) -> LineSettings:
        """Put settings in force, after the bytes sent before them have left.

        Settings that are in force already are no change and wait for nothing.

        :return: the settings in force: the baud rate may be the nearest that the device has
        :raises LineTimeoutError: if the bytes before made no progress for 1 s; nothing was changed
        :raises LineError: if the device refuses; nothing was changed
        """

    @abstractmethod
    async def set_outputs(
        self, *, dtr: bool | None = None, rts: bool | None = None, brk: bool | None = None
    ) -> Outputs:
        """Drive DTR, RTS and BREAK; all that are named in one step, at once, without a drain.

        :return: the outputs in force
        :raises LineUnsupportedError: if the device cannot do it (BREAK, on many USB devices)
        """

    @abstractmethod
    async def get_inputs(self) -> Inputs:
        """Read CTS, DSR, RI and CD now."""

    @abstractmethod
    async def purge(self, what: Purge) -> None:
        """Throw away received bytes, unsent bytes or both, those in our own buffers included."""

    @abstractmethod
    async def drain(self) -> None:
        """Wait until all that was sent has left.

        :raises LineTimeoutError: after 1 s without progress
        """

    @abstractmethod
    def events(self) -> AbstractAsyncContextManager[AsyncIterator[LineEvent]]:
        """Watch the line: ``async with line.events() as events: async for event in events: ...``.

        The first event is an :class:`~serialnet.InputsChanged` that tells the state. Watching starts and
        ends with the block; nobody is polled before or after.
        """
