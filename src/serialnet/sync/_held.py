"""What is open on the background loop, for threads that wait."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import weakref
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError, Future
from contextlib import AbstractAsyncContextManager, suppress
from inspect import signature
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import anyio
from typing_extensions import ParamSpec

from ..pyserial import _background

__all__ = ["Held", "Resource", "opened_as"]

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")

# How long what is being closed, or was cancelled, may take to end.
PATIENCE = 10.0


class Task(Generic[R]):
    """A task on the background loop, which can be waited for once it was cancelled, too."""

    def __init__(self, background: _background.BackgroundLoop, func: Callable[[], Awaitable[R]]) -> None:
        if background.is_here:
            raise RuntimeError("this would wait for itself: what runs on the event loop is asynchronous")
        self._ended: Future[None] = Future()
        self._future: Future[R] = background.portal.start_task_soon(self._run, func)

    async def _run(self, func: Callable[[], Awaitable[R]]) -> R:
        try:
            return await func()
        finally:
            self._ended.set_result(None)

    def result(self, timeout: float | None = None) -> R:
        """Wait for its end; when that is interrupted, or takes longer, it is cancelled."""
        try:
            return self._future.result(timeout)
        except CancelledError:
            raise anyio.ClosedResourceError from None
        finally:
            self.cancel()

    def cancel(self) -> None:
        """Cancel it, unless it has ended, and wait until it has."""
        if not self._future.done():
            self._future.cancel()
            with suppress(TimeoutError):
                self._ended.result(PATIENCE)


class Held(Generic[T]):
    """What an asynchronous context manager gives: entered and left by one task of the background loop.

    :param manager: entered at once
    """

    value: T

    def __init__(self, manager: AbstractAsyncContextManager[T]) -> None:
        self._process = os.getpid()
        self._manager = manager
        self._closing = asyncio.Event()
        self._is_closed = threading.Lock()  # taken by who closes it first, for ever
        self._opened: Future[None] = Future()
        self._background = _background.borrow()
        try:
            self._task = Task(self._background, self._run)
            try:
                self._opened.result()
            except BaseException:
                self._task.cancel()
                raise
        except BaseException:
            self._background.give_back()
            raise
        _open.add(self)

    async def _run(self) -> None:
        try:
            async with self._manager as self.value:
                self._opened.set_result(None)
                await self._closing.wait()
        except Exception as error:
            if self._opened.done():
                raise
            self._opened.set_exception(error)

    def call(
        self, timeout: float | None, func: Callable[P, Awaitable[R]], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Await something on the event loop.

        :raises TimeoutError: if it takes longer; it was cancelled then
        :raises ~anyio.ClosedResourceError: if this is closed, or was opened before the process was forked
        """

        async def run() -> R:
            with anyio.move_on_after(timeout):
                return await func(*args, **kwargs)
            raise TimeoutError(f"not done within {timeout:g} s")

        if self._is_closed.locked() or self._process != os.getpid():
            raise anyio.ClosedResourceError
        return Task(self._background, run).result()

    def close(self) -> None:
        """Leave the context manager; once only counts."""
        _open.discard(self)
        if self._process != os.getpid() or not self._is_closed.acquire(blocking=False):
            return
        try:
            self._background.loop.call_soon_threadsafe(self._closing.set)
            with suppress(TimeoutError):
                self._task.result(PATIENCE)
        finally:
            self._background.give_back()


_open: weakref.WeakSet[Held[Any]] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for held in list(_open):
        with suppress(Exception):
            held.close()


class Resource(Generic[T]):
    """Something open: ``with`` closes it at its end."""

    def __init__(self, held: Held[T]) -> None:
        self._held = held

    def close(self) -> None:
        """Close it; once only counts. What waits on it in other threads raises ``ClosedResourceError``."""
        self._held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        self.close()


def opened_as(
    open_: Callable[P, AbstractAsyncContextManager[T]],
) -> Callable[[Callable[[Held[T]], R]], Callable[P, R]]:
    """Make a blocking function of an asynchronous one, whose parameters it has.

    What is decorated wraps what the asynchronous one has opened, and has the documentation.
    """

    def decorate(wrap: Callable[[Held[T]], R]) -> Callable[P, R]:
        def opened(*args: P.args, **kwargs: P.kwargs) -> R:
            return wrap(Held(open_(*args, **kwargs)))

        for name in ("__name__", "__qualname__", "__module__", "__doc__"):
            setattr(opened, name, getattr(wrap, name))
        opened.__signature__ = signature(open_).replace(  # type: ignore[attr-defined]
            return_annotation=signature(wrap).return_annotation
        )
        return opened

    return decorate
