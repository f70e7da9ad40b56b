"""What in-process transports wait on: something has changed, look again."""

from __future__ import annotations

import anyio

__all__ = ["News"]


class News:
    """Wakes all that wait, each time."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    def tell(self) -> None:
        """Wake all that wait now."""
        event, self._event = self._event, anyio.Event()
        event.set()

    async def wait(self, deadline: float | None = None) -> None:
        """Wait until somebody tells, or until ``deadline`` (:func:`anyio.current_time`)."""
        with anyio.move_on_at(float("inf") if deadline is None else deadline):
            await self._event.wait()
