"""What an asker wants of a line: typed requests, each answered exactly once."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, TypeAlias, TypeVar

from .settings import Inputs, LineSettings, Outputs, Purge

__all__ = ["Configure", "GetInputs", "InForce", "LineRequest", "PurgeRequest", "SendBreak", "SetOutputs"]

InForce: TypeAlias = LineSettings | Outputs | Inputs | Purge | None
"""What a request is answered with: settings for settings, outputs for outputs, ..."""

T = TypeVar("T", LineSettings, Outputs, Inputs, Purge, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request(Generic[T]):
    """What all requests have.

    ``unchanged`` is the value in force when the asker asked: the answer that refuses.
    """

    unchanged: T
    answerer: Callable[[T], Awaitable[None]] | None = field(default=None, repr=False, compare=False)

    async def answer(self, in_force: T) -> None:
        """Tell the asker what is in force now. To be called exactly once.

        :raises RuntimeError: if the request came from no asker, or was answered before
        """
        if self.answerer is None:
            raise RuntimeError("this request came from no asker: there is nobody to answer")
        await self.answerer(in_force)

    async def refuse(self) -> None:
        """Tell the asker that nothing has changed."""
        await self.answer(self.unchanged)


@dataclass(frozen=True, slots=True)
class Configure(Request[LineSettings]):
    """Put these settings in force; answered with the settings in force."""

    settings: LineSettings
    unchanged: LineSettings = field(default=LineSettings(), kw_only=True)


@dataclass(frozen=True, slots=True)
class SetOutputs(Request[Outputs]):
    """Drive DTR, RTS and BREAK, all named ones in one step (``None`` = leave alone)."""

    dtr: bool | None = None
    rts: bool | None = None
    brk: bool | None = None
    unchanged: Outputs = field(default=Outputs(), kw_only=True)

    @property
    def asked(self) -> Outputs:
        """The outputs as they are once this request is granted."""
        old = self.unchanged
        return Outputs(
            old.dtr if self.dtr is None else self.dtr,
            old.rts if self.rts is None else self.rts,
            old.brk if self.brk is None else self.brk,
        )


@dataclass(frozen=True, slots=True)
class PurgeRequest(Request[Purge]):
    """Throw away bytes that are on their way; answered with what was thrown away."""

    what: Purge
    unchanged: Purge = field(default=Purge(0), kw_only=True)


@dataclass(frozen=True, slots=True)
class GetInputs(Request[Inputs]):
    """Read the modem status lines; answered with their state."""

    unchanged: Inputs = field(default=Inputs(), kw_only=True)


@dataclass(frozen=True, slots=True)
class SendBreak(Request[None]):
    """Send a BREAK of this many seconds; answered with ``None`` when it is over."""

    duration: float = 0.25
    unchanged: None = field(default=None, kw_only=True)


LineRequest: TypeAlias = Configure | SetOutputs | PurgeRequest | GetInputs | SendBreak
