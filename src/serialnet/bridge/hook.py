"""Hooks: middleware on a bridge."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

from ..values.events import LineEvent
from ..values.requests import InForce, LineRequest

if TYPE_CHECKING:
    from .bridge import Bridge
    from .stats import BridgeEnd

__all__ = ["Direction", "Forward", "Hook", "HookFactory"]

Forward: TypeAlias = Callable[[LineRequest], Awaitable[InForce]]
"""Hands a request on to the next hook, at last to the line; returns what is in force then."""


class Direction(Enum):
    """Which way bytes go through a bridge."""

    A_TO_B = "a to b"
    B_TO_A = "b to a"


class Hook:
    """Looks on at a bridge, and may have its say; every method may be left out.

    A hook that keeps state is given to a bridge as a factory (its class, say), so that each session has its
    own. The first hook is the outermost: it sees a request first and its answer last. While a hook works,
    only the asking direction waits.
    """

    deadline: float | None = None
    """When :meth:`timeout` is to be called (:func:`anyio.current_time`); looked at after each request,
    and after each call of :meth:`data`."""

    awaits_data: bool = False
    """Whether :meth:`before_data` is to be called before more of the client's bytes go on to the port;
    looked at after :meth:`opened`, and after each request."""

    async def opened(self, bridge: Bridge) -> None:
        """Act at the start, before any byte or request of the asker's passes."""

    async def request(self, request: LineRequest, forward: Forward) -> InForce:
        """Let a request pass, change it, refuse it or answer it.

        :return: what the asker is told is in force: ``await forward(request)``, or ``request.unchanged``
        """
        return await forward(request)

    async def timeout(self, forward: Forward) -> None:
        """Act at :attr:`deadline`, which is ``None`` again."""

    async def before_data(self, forward: Forward) -> None:
        """Act when bytes of the client's have come; :attr:`awaits_data` is False again."""

    async def event(self, event: LineEvent) -> None:
        """Hear what happened to the line."""

    def data(self, direction: Direction, view: memoryview) -> memoryview | None:
        """Tap the bytes.

        :return: what is to pass in their place; ``None`` for ``view`` itself
        """
        return None

    async def closed(self, end: BridgeEnd) -> None:
        """Act at the end of the session, while the line is still there."""


HookFactory: TypeAlias = Callable[[], Hook]


def make_hooks(hooks: Sequence[Hook | HookFactory]) -> list[Hook]:
    """Make one session's hooks."""
    return [hook if isinstance(hook, Hook) else hook() for hook in hooks]


def overrides(hook: Hook, name: str) -> bool:
    """Whether a hook has a method of its own."""
    return getattr(type(hook), name) is not getattr(Hook, name)
