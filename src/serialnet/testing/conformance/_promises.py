"""How a check says which rule was broken, and what it needs to watch a call from beside."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeAlias

import anyio
from anyio.lowlevel import checkpoint

from ...core.transport import Transport

__all__ = [
    "PATIENCE",
    "QUIET",
    "Beside",
    "Call",
    "beside",
    "cancelled_after",
    "expect",
    "promised",
    "raises",
    "receive_exactly",
    "together",
]

Call: TypeAlias = Callable[[], Coroutine[Any, Any, object]]

#: Seconds that anything may take.
PATIENCE = 5.0
#: Seconds without progress after which something is taken to wait.
QUIET = 0.2


class ContractError(AssertionError):
    """A broken rule that was named already."""


@contextmanager
def promised(rule: str, patience: float = PATIENCE) -> Iterator[None]:
    """Whatever goes wrong in the block breaks this rule."""
    try:
        with anyio.fail_after(patience):
            yield
    except Exception as error:  # noqa: BLE001  # raised on, in other words
        cause = _leaf(error)
        if isinstance(cause, ContractError):
            raise cause from cause.__cause__
        raise ContractError(f"a Transport promises: {rule}. But {_told(cause, patience)}") from cause


@contextmanager
def raises(*kinds: type[BaseException]) -> Iterator[None]:
    """The block must raise one of these."""
    expected = " or ".join(kind.__name__ for kind in kinds)
    try:
        yield
    except kinds:
        return
    except Exception as error:
        raise AssertionError(f"it raised {error!r} in place of {expected}") from error
    raise AssertionError(f"it did not raise {expected}")


def expect(true: object, otherwise: str) -> None:
    """Fail with ``otherwise`` unless something is true; ``assert`` may be switched off."""
    if not true:
        raise AssertionError(otherwise)


async def together(*calls: Call) -> None:
    """Run calls beside each other, to the end of all; the first error ends them."""
    try:
        async with anyio.create_task_group() as tasks:
            for call in calls:
                tasks.start_soon(call)
    except ExceptionGroup as group:
        raise _leaf(group) from None


class Beside:
    """A call that runs beside the check."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._scope = anyio.CancelScope()
        self.finished = anyio.Event()
        self.result: object = None
        self.error: Exception | None = None

    async def run(self) -> None:
        """Run the call, and keep what comes of it."""
        with self._scope:
            try:
                self.result = await self._call()
            except Exception as error:  # noqa: BLE001  # the check looks at it
                self.error = error
        self.finished.set()

    async def cancel(self) -> None:
        """Cancel the call, and wait for its end."""
        self._scope.cancel()
        await self.finished.wait()

    async def outcome(self) -> object:
        """Wait for the call's end; return or raise what it did."""
        await self.finished.wait()
        if self.error is not None:
            raise self.error
        return self.result


@asynccontextmanager
async def beside(call: Call) -> AsyncIterator[Beside]:
    """Start a call, and give it the time to get where it waits; cancel it at the end of the block."""
    running = Beside(call)
    failure: Exception | None = None  # out of the task group's wrapping
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(running.run)
        with anyio.move_on_after(QUIET / 4):
            await running.finished.wait()
        try:
            yield running
        except Exception as error:  # noqa: BLE001  # raised below
            failure = error
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def receive_exactly(transport: Transport, size: int) -> bytes:
    """Receive so many bytes."""
    data = bytearray()
    while len(data) < size:
        data += await transport.receive(size - len(data))
    return bytes(data)


async def cancelled_after(steps: int, call: Call, delay: float = 0) -> None:
    """Cancel a call when the event loop has gone round so many times, and a while later."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call)
        for _ in range(steps):
            await checkpoint()
        if delay:
            await anyio.sleep(delay)
        tasks.cancel_scope.cancel()


def _leaf(error: Exception) -> Exception:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def _told(error: Exception, patience: float) -> str:
    if type(error) is TimeoutError:
        return f"nothing happened for {patience:g} s"
    return str(error) if type(error) is AssertionError else f"it raised {error!r}"
