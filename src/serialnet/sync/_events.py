"""Events, for threads that wait for them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Self, TypeVar

from typing_extensions import override

from ._held import Resource

__all__ = ["Events"]

E = TypeVar("E")


class Events(Resource[AsyncIterator[E]], Iterator[E]):
    """What happens, one after another: ``with server.events() as events: for event in events: ...``.

    Watching begins when it is made, and ends when it is closed.
    """

    @override
    def __iter__(self) -> Self:
        return self

    @override
    def __next__(self) -> E:
        return self.next()

    def next(self, *, timeout: float | None = None) -> E:
        """Wait for the next event.

        :raises TimeoutError: if none comes in time
        :raises StopIteration: if none will come any more
        """
        try:
            return self._held.call(timeout, self._next)
        except _Over:
            raise StopIteration from None

    async def _next(self) -> E:
        # A future cannot carry a StopAsyncIteration.
        try:
            return await anext(self._held.value)
        except StopAsyncIteration:
            raise _Over from None


class _Over(Exception):
    pass
