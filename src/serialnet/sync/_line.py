"""The line of a port, for threads that wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import resets
from ..core import line as asynchronous
from ..values.events import LineEvent
from ..values.settings import Inputs, LineSettings, Outputs, Purge
from ._events import Events
from ._held import Held
from ._received import Received

if TYPE_CHECKING:
    from ..core.transport import Transport

__all__ = ["Line"]


class Line:
    """Controls a port: what :class:`serialnet.Line` does, and waits for it."""

    def __init__(self, held: Held[Transport], line: asynchronous.Line, received: Received) -> None:
        self._held = held
        self._line = line
        self._received = received

    @property
    def settings(self) -> LineSettings:
        """The settings in force, as last read back."""
        return self._line.settings

    @property
    def outputs(self) -> Outputs:
        """What is driven now."""
        return self._line.outputs

    def configure(self, settings: LineSettings, *, timeout: float | None = None) -> LineSettings:
        """Put settings in force; see :meth:`serialnet.Line.configure`."""
        return self._held.call(timeout, self._line.configure, settings)

    def set_outputs(
        self,
        *,
        dtr: bool | None = None,
        rts: bool | None = None,
        brk: bool | None = None,
        timeout: float | None = None,
    ) -> Outputs:
        """Drive DTR, RTS and BREAK; see :meth:`serialnet.Line.set_outputs`."""
        return self._held.call(timeout, self._line.set_outputs, dtr=dtr, rts=rts, brk=brk)

    def get_inputs(self, *, timeout: float | None = None) -> Inputs:
        """Read CTS, DSR, RI and CD now."""
        return self._held.call(timeout, self._line.get_inputs)

    def purge(self, what: Purge, *, timeout: float | None = None) -> None:
        """Throw away received bytes, unsent bytes or both, those in our own buffers included."""
        self._held.call(timeout, self._line.purge, what)
        if Purge.RECEIVED in what:
            self._received.clear()

    def drain(self, *, timeout: float | None = None) -> None:
        """Wait until all that was sent has left; see :meth:`serialnet.Line.drain`."""
        self._held.call(timeout, self._line.drain)

    def play(self, sequence: str, *, timeout: float | None = None) -> None:
        """Play a reset sequence; see :func:`serialnet.resets.play`."""
        self._held.call(timeout, resets.play, self._line, sequence)

    def events(self) -> Events[LineEvent]:
        """Watch the line: ``with line.events() as events: for event in events: ...``."""
        return Events(Held(self._line.events()))
