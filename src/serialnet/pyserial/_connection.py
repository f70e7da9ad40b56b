"""A transport on the background loop, for threads that wait."""

from __future__ import annotations

import asyncio
import atexit
import errno
import os
import threading
import weakref
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager, suppress
from time import monotonic
from typing import TypeVar

import anyio
import anyio.lowlevel
from serial import SerialException
from typing_extensions import ParamSpec

from ..core.errors import LineUnsupportedError
from ..core.line import Line
from ..core.opening import connect
from ..core.transport import Transport, TransportAttribute
from ..values.settings import LineSettings, Purge
from ..wire.patience import Patience
from . import _background
from ._buffers import CAPACITY, Incoming, Outgoing

__all__ = ["Connection", "connect_ahead", "connected", "is_any_open"]

P = ParamSpec("P")
T = TypeVar("T")

# While the line is asked something, the answer may stand behind this much that nobody reads.
READ_AHEAD = 8 << 20
# How long bytes may make no progress before settings fail, or a close gives up.
PATIENCE = 1.0
# How long a close may take after that.
FAREWELL = 5.0
# How long a stream without a line may go on delivering what was on its way when that was to be dropped.
DISCARDING = 0.1
# Outputs that are changed within so many seconds are changed without a pause between.
AT_ONCE = 0.01
# So many requests may be under way at a time.
MOST_BEGUN = 32
# How long the answers to the last of them may take.
LAST_ANSWERS = 3.0


class Connection:
    """An open transport: what is received waits in :attr:`incoming`, what is to be sent in :attr:`outgoing`.

    Nothing passes before it is started.

    :param url: what to connect to
    :raises SerialException: if it cannot be opened
    """

    transport: Transport
    found: LineSettings | None = None
    """What was in force when the port was opened."""

    def __init__(self, url: str) -> None:
        self._background = _background.borrow()
        self._forked = False
        self._is_closed = threading.Lock()  # taken by who closes it first, for ever
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._closing = asyncio.Event()
        self._asking = 0
        self._begun: set[asyncio.Future[object]] = set()
        self._change: asyncio.Future[object] | None = None  # the last of the outputs
        self._changed_at = self._in_force_at = 0.0
        self._sending: anyio.CancelScope | None = None
        self.patience: Patience | None = None
        self._started = asyncio.Event()
        self._deadline_moved = asyncio.Event()
        wake = self._background.loop.call_soon_threadsafe
        self.incoming = Incoming(lambda: wake(self._room.set))
        self.outgoing = Outgoing(lambda: wake(self._news.set))
        opened: Future[None] = Future()
        self._task = self._background.portal.start_task_soon(self._run, url, opened)
        try:
            opened.result()
        except BaseException as error:
            self._task.cancel()
            self._background.give_back()
            if isinstance(error, Exception):
                raise explained(error) from error
            raise
        _open.add(self)

    def start(self, prepare: Callable[[Transport], Awaitable[None]], *, flash_assist: bool) -> None:
        """Let bytes pass.

        :param prepare: called with the transport on the event loop before anything is received
        :param flash_assist: keep a flasher waiting while the answer of a chip far away is under way
        :raises SerialException: if that fails; it is closed then
        """
        try:
            if self.line is not None:
                self.found = self.line.settings
            if flash_assist:
                self.patience = Patience()
                if (round_trip := self.transport.extra(TransportAttribute.round_trip, None)) is not None:
                    self.patience.measured(round_trip)
            self.call(prepare, self.transport)
        except BaseException:
            self.close()
            raise
        self._background.loop.call_soon_threadsafe(self._started.set)

    @property
    def line(self) -> Line | None:
        """The line, if the transport has one."""
        return self.transport.line

    def call(self, func: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Await something on the event loop.

        :raises SerialException: if it fails, or the connection is lost
        """
        if self.incoming.ended:
            raise SerialException(self.incoming.ended)

        async def ask() -> T:
            return await self._ask(func(*args, **kwargs))

        future = self._background.portal.start_task_soon(ask)
        try:
            return future.result()
        except CancelledError:
            raise SerialException("the port was closed") from None
        except Exception as error:
            raise explained(error) from error
        except BaseException:
            future.cancel()
            raise

    def begin(self, func: Callable[P, Awaitable[object]], *args: P.args, **kwargs: P.kwargs) -> None:
        """Ask for something on the event loop; wait for the answer only if the line has it so, or many are.

        What is asked for later is asked for after it, and what is written later is sent after it. If it fails
        later, the connection has ended: nobody knows what is in force.

        :raises SerialException: if it fails at once, or the connection is lost
        """
        if self.line is None or not self.line._pipelines:
            self.call(func, *args, **kwargs)
            return

        async def begin() -> None:
            while len(self._begun) >= MOST_BEGUN:
                await asyncio.wait(self._begun, return_when=asyncio.FIRST_COMPLETED)
            answer = asyncio.ensure_future(self._ask(func(*args, **kwargs)))
            self._begun.add(answer)
            answer.add_done_callback(self._has_answer)
            await asyncio.sleep(0)  # by then, it has asked

        self.call(begin)

    def close(self) -> None:
        """Send what is to be sent, as long as that makes progress, and close; once only counts."""
        # At the interpreter's end, an atexit handler does so before the garbage collector.
        if not self._is_closed.acquire(blocking=False):
            return
        _open.discard(self)
        if self._forked:
            self.incoming.close()
            return
        if not self._background.is_here:
            with suppress(SerialException):
                self.outgoing.wait_until_empty(None, PATIENCE)
        for event in (self._started, self._closing):
            self._background.loop.call_soon_threadsafe(event.set)
        for buffer in (self.incoming, self.outgoing):
            buffer.end("the port was closed")
        if not self._background.is_here:
            with suppress(Exception):
                self._task.result(FAREWELL)
            self._task.cancel()
        self.incoming.close()
        self._background.give_back()

    def after_fork(self) -> None:
        """Say, in a forked process, that this is the parent's."""
        self._forked = True
        for buffer in (self.incoming, self.outgoing):
            buffer.after_fork()
            buffer.end("the port was opened by the process that this one was forked from: open it again")

    def set_outputs(self, **outputs: bool) -> None:
        """Change the lines, by which the chip may be reset.

        The pauses between changes are what tells a chip what to do. On the way they would become shorter or
        longer; so after one, what was changed before it must be in force for as long.

        :raises SerialException: if that fails, or the connection is lost
        """
        self.call(self._keep_pause, monotonic() - self._changed_at)
        self.begin(self._set_outputs, **outputs)
        self._changed_at = monotonic()

    async def _keep_pause(self, pause: float) -> None:
        if pause > AT_ONCE and self._change is not None:
            await asyncio.wait([self._change])
            await anyio.sleep(max(0.0, self._in_force_at + pause - monotonic()))

    async def _set_outputs(self, **outputs: bool) -> None:
        assert self.line is not None
        if self.patience:
            self.patience.forget()
        self._change = asyncio.current_task()
        await self.line.set_outputs(**outputs)
        self._in_force_at = monotonic()

    async def purge_received(self) -> None:
        """Throw away what was received, and what is on its way."""
        self.incoming.clear()
        if self.line is None:
            # Nobody tells where that ends. What is here comes at once.
            with anyio.move_on_after(DISCARDING):
                while True:
                    await anyio.lowlevel.checkpoint()
                    await anyio.lowlevel.checkpoint()
                    if not len(self.incoming):
                        break
                    self.incoming.clear()
            self.incoming.clear()
            return
        begin, alone = anyio.current_time(), self._asking == 1
        await self.line.purge(Purge.RECEIVED)
        if self.patience and alone:  # not behind what takes its time itself, such as a reset
            self.patience.measured(anyio.current_time() - begin)
        if not self.line._pipelines:  # else what came meanwhile was sent after the answer
            self.incoming.clear()

    async def purge_unsent(self) -> None:
        """Throw away what was not sent."""
        self.outgoing.clear()
        if self._sending and self.transport.native_send_some:  # else nobody knows how much of it went out
            self._sending.cancel()
        if self.line is not None:
            await self.line.purge(Purge.UNSENT)

    # On the event loop.

    async def _ask(self, asked: Awaitable[T]) -> T:
        self._asking += 1
        self._room.set()
        try:
            return await asked
        finally:
            self._asking -= 1

    async def _run(self, url: str, opened: Future[None]) -> None:
        try:
            async with connect(url) as self.transport:
                opened.set_result(None)
                await self._started.wait()
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._receive)
                    tasks.start_soon(self._send)
                    if self.patience:
                        tasks.start_soon(self._assist, self.patience)
                    await self._closing.wait()
                    await self._end_what_was_begun()
                    tasks.cancel_scope.cancel()
        except Exception as error:
            if opened.done():
                raise
            opened.set_exception(error)

    async def _end_what_was_begun(self) -> None:
        """Hear the last answers: hung up on before, a server might not carry out what it was asked for."""
        if self._begun:
            await asyncio.wait(self._begun, timeout=LAST_ANSWERS)
        if self._begun:
            for answer in self._begun:
                answer.cancel()
            await asyncio.wait(self._begun)

    def _has_answer(self, answer: asyncio.Future[object]) -> None:
        self._begun.discard(answer)
        error = None if answer.cancelled() else answer.exception()
        if isinstance(error, Exception):
            self._lose(str(explained(error)))

    async def _receive(self) -> None:
        buffer = memoryview(bytearray(CAPACITY))
        with self._until_lost():
            while True:
                room = self.incoming.room(READ_AHEAD if self._asking else CAPACITY)
                if room > 0:
                    n = await self.transport.receive_into(buffer[:room])
                    if self.patience:
                        self.patience.received(buffer[:n])
                    self.incoming.put(buffer[:n])
                else:
                    await self._room.wait()
                    self._room.clear()

    async def _send(self) -> None:
        with self._until_lost():
            while True:
                if data := self.outgoing.first():
                    with anyio.CancelScope() as self._sending:
                        n = await self.transport.send_some(data)
                        if self.patience:
                            self.patience.sent(data[:n], anyio.current_time())
                            self._deadline_moved.set()
                        self.outgoing.sent(n)
                else:
                    await self._news.wait()
                    self._news.clear()

    async def _assist(self, patience: Patience) -> None:
        while True:
            await self._deadline_moved.wait()
            self._deadline_moved.clear()
            while patience.deadline is not None:
                if anyio.current_time() < patience.deadline:
                    await anyio.sleep_until(patience.deadline)
                else:
                    self.incoming.put(memoryview(patience.expire(anyio.current_time())))

    @contextmanager
    def _until_lost(self) -> Iterator[None]:
        try:
            yield
        except anyio.EndOfStream:
            reason = "the other end closed the connection"
        except Exception as error:  # noqa: BLE001  # whatever it is, those who wait must hear of it
            reason = str(explained(error))
        else:
            return
        self._lose(reason)

    def _lose(self, reason: str) -> None:
        self.incoming.end(reason)
        self.outgoing.end(reason)
        self._closing.set()


def is_any_open() -> bool:
    """Whether this process has a port open."""
    return bool(_open)


_ahead: dict[str, Connection] = {}


def connect_ahead(url: str) -> Connection:
    """Connect, for who opens the URL next.

    :raises SerialException: if that fails
    """
    connection = _ahead[url] = Connection(url)
    return connection


def connected(url: str) -> Connection:
    """Connect, unless somebody did ahead.

    :raises SerialException: if that fails
    """
    return _ahead.pop(url, None) or Connection(url)


def explained(error: Exception) -> SerialException:
    """What pyserial's users expect in place of an error of ours."""
    match error:
        case anyio.ClosedResourceError():
            return SerialException("the port was closed")
        case anyio.BrokenResourceError():
            return SerialException(str(error) or "the connection was lost")
        case LineUnsupportedError():  # as from an ioctl on what is no serial port
            return SerialException(errno.ENOTTY, str(error))
        case OSError() if error.errno is not None:
            return SerialException(error.errno, error.strerror or str(error))
    return SerialException(str(error) or repr(error))


_open: weakref.WeakSet[Connection] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for connection in list(_open):
        connection.close()


def _after_fork() -> None:
    for connection in list(_open):
        connection.after_fork()
    _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
