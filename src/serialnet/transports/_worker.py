"""A thread of its own for what may block long: anyio's forty threads would run out."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import TypeVar

import anyio
from anyio.lowlevel import current_token

__all__ = ["Worker", "call_soon"]

T = TypeVar("T")


def call_soon(function: Callable[[], object]) -> Callable[[], None]:
    """Make of a function one that any thread may call: it is run on this event loop soon."""
    native = current_token().native_token  # asyncio's loop, or trio's token
    schedule = getattr(native, "call_soon_threadsafe", None) or getattr(native, "run_sync_soon", None)
    assert schedule is not None

    def call() -> None:
        with suppress(RuntimeError):  # the event loop has ended
            schedule(function)

    return call


class Worker:
    """Runs functions one after another. The thread is a daemon: a call that hangs holds nobody up.

    No executor: Python waits for an executor's threads when it exits.
    """

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    async def call(self, function: Callable[[], T]) -> T:
        """Run a function after all that were given before; cancelled, it is run all the same."""
        done = anyio.Event()
        results: list[T] = []
        errors: list[BaseException] = []
        tell = call_soon(done.set)

        def job() -> None:
            try:
                results.append(function())
            except BaseException as error:  # noqa: BLE001  # the caller raises it
                errors.append(error)
            tell()

        self._jobs.put(job)
        await done.wait()
        if errors:
            raise errors.pop()
        return results.pop()

    def end(self, last: Callable[[], object]) -> None:
        """Run one last function, in its turn, and end the thread."""

        def job() -> None:
            with suppress(Exception):
                last()

        self._jobs.put(job)
        self._jobs.put(None)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
