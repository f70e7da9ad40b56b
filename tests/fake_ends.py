"""The ends of bridges in tests: a port that writes down what it gets, an asker that asks by a script."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TypeAlias

import anyio
import anyio.lowlevel
import psutil
from typing_extensions import Buffer, override

from serialnet import (
    AskingTransport,
    InForce,
    Inputs,
    InputsChanged,
    Line,
    LineEvent,
    LineRequest,
    LineSettings,
    Outputs,
    Purge,
    SetOutputs,
    Transport,
)
from serialnet.transports._news import News

Entry: TypeAlias = bytes | LineSettings | Outputs | Purge | str

FOREVER = float("inf")


class FakeLine(Line):
    """Grants all it is asked for, unless told otherwise."""

    def __init__(self, port: FakePort) -> None:
        self._port = port
        self._settings = LineSettings()
        self._outputs = Outputs()
        self.inputs = Inputs()
        #: raised by the method of that name
        self.errors: dict[str, Exception] = {}
        #: awaited by the method of that name before it does anything
        self.waits: dict[str, Callable[[], Awaitable[object]]] = {}
        self.queued: deque[LineEvent] = deque()
        self.watchers = 0

    @property
    @override
    def settings(self) -> LineSettings:
        return self._settings

    @property
    @override
    def outputs(self) -> Outputs:
        return self._outputs

    async def _called(self, name: str) -> None:
        await anyio.lowlevel.checkpoint()
        self._port.check_open()
        if name in self.waits:
            await self.waits[name]()
        if name in self.errors:
            raise self.errors[name]

    @override
    async def configure(self, settings: LineSettings) -> LineSettings:
        await self._called("configure")
        self._settings = settings
        self._port.log.append(settings)
        return settings

    @override
    async def set_outputs(
        self, *, dtr: bool | None = None, rts: bool | None = None, brk: bool | None = None
    ) -> Outputs:
        await self._called("set_outputs")
        self._outputs = SetOutputs(dtr, rts, brk, unchanged=self._outputs).asked
        self._port.log.append(self._outputs)
        return self._outputs

    @override
    async def get_inputs(self) -> Inputs:
        await self._called("get_inputs")
        return self.inputs

    @override
    async def purge(self, what: Purge) -> None:
        await self._called("purge")
        self._port.log.append(what)

    @override
    async def drain(self) -> None:
        await self._called("drain")
        self._port.log.append("drain")

    def happen(self, event: LineEvent) -> None:
        self.queued.append(event)
        self._port.news.tell()

    @override
    def events(self) -> contextlib.AbstractAsyncContextManager[AsyncIterator[LineEvent]]:
        return self._events()

    @asynccontextmanager
    async def _events(self) -> AsyncIterator[AsyncIterator[LineEvent]]:
        await self._called("events")
        self.watchers += 1

        async def watch() -> AsyncGenerator[LineEvent, None]:
            yield InputsChanged(self.inputs, self.inputs)
            while True:
                while not self.queued:
                    self._port.check_open()
                    await self._port.news.wait()
                yield self.queued.popleft()

        try:
            async with contextlib.aclosing(watch()) as events:
                yield events
        finally:
            self.watchers -= 1


class FakePort(Transport):
    """A port that writes down, in one list, the bytes that it took and what was done to its line.

    :param room: how many bytes it takes before it takes no more
    """

    can_send_eof = False

    def __init__(self, *, line: bool = True, room: float = FOREVER) -> None:
        self.log: list[Entry] = []
        self.news = News()
        self.room = room
        self.incoming = bytearray()
        self.ended: Exception | None = None
        self.send_error: Exception | None = None
        self.closed = False
        self.fake_line = FakeLine(self)
        self.line = self.fake_line if line else None

    @property
    def written(self) -> bytes:
        return b"".join(entry for entry in self.log if isinstance(entry, bytes))

    @property
    def story(self) -> list[Entry]:
        """The log, with neighbouring bytes joined."""
        story: list[Entry] = []
        for entry in self.log:
            if isinstance(entry, bytes) and story and isinstance(last := story[-1], bytes):
                story[-1] = last + entry
            else:
                story.append(entry)
        return story

    def feed(self, data: bytes) -> None:
        self.incoming += data
        self.news.tell()

    def end(self, error: Exception | None = None) -> None:
        self.ended = error or anyio.EndOfStream()
        self.news.tell()

    def take(self, more: float = FOREVER) -> None:
        self.room += more
        self.news.tell()

    async def until(self, done: Callable[[], object]) -> None:
        while not done():
            await self.news.wait(anyio.current_time() + 0.005)

    def check_open(self) -> None:
        if self.closed:
            raise anyio.ClosedResourceError

    @override
    async def receive_into(self, buffer: Buffer) -> int:
        with memoryview(buffer).cast("B") as view:
            await anyio.lowlevel.checkpoint()
            while True:
                self.check_open()
                if n := min(len(view), len(self.incoming)):
                    view[:n] = self.incoming[:n]
                    del self.incoming[:n]
                    return n
                if self.ended is not None:
                    raise self.ended
                await self.news.wait()

    @override
    async def send_some(self, data: Buffer) -> int:
        with memoryview(data).cast("B") as view:
            await anyio.lowlevel.checkpoint()
            while True:
                self.check_open()
                if self.send_error is not None:
                    raise self.send_error
                if n := int(min(len(view), self.room)):
                    self.room -= n
                    self.log.append(bytes(view[:n]))
                    self.news.tell()
                    return n
                await self.news.wait()

    @override
    async def send_eof(self) -> None:
        if not self.can_send_eof:
            await super().send_eof()
        await anyio.lowlevel.checkpoint()
        self.log.append("eof")
        self.news.tell()

    @override
    async def aclose(self) -> None:
        self.closed = True
        self.news.tell()
        await anyio.lowlevel.checkpoint()


class FakeAsker(AskingTransport):
    """Sends a script of bytes and requests, and writes down what it is told."""

    can_send_eof = True

    def __init__(self, *script: bytes | LineRequest) -> None:
        self.script: deque[bytes | LineRequest] = deque(script)
        self.news = News()
        self.answers: list[InForce] = []
        self.events: list[LineEvent] = []
        self.received = bytearray()
        self.ended: Exception | None = None
        self.send_error: Exception | None = None
        self.room: float = FOREVER
        self.eof = False
        self.closed = False
        self.pending: LineRequest | None = None
        self.handed_out = 0

    def add(self, *script: bytes | LineRequest) -> None:
        self.script += script
        self.news.tell()

    def end(self, error: Exception | None = None) -> None:
        self.ended = error or anyio.EndOfStream()
        self.news.tell()

    async def until(self, done: Callable[[], object]) -> None:
        while not done():
            await self.news.wait(anyio.current_time() + 0.005)

    @override
    async def receive_event(self, buffer: Buffer) -> int | LineRequest:
        with memoryview(buffer).cast("B") as view:
            await anyio.lowlevel.checkpoint()
            while True:
                if self.closed:
                    raise anyio.ClosedResourceError
                if self.script and self.pending is None:
                    item = self.script.popleft()
                    if not isinstance(item, bytes):
                        self.pending = item
                        return replace(item, answerer=partial(self._answer, item))
                    n = min(len(view), len(item))
                    view[:n] = item[:n]
                    self.handed_out += n
                    if item[n:]:
                        self.script.appendleft(item[n:])
                    return n
                if self.ended is not None and not self.script:
                    raise self.ended
                await self.news.wait()

    async def _answer(self, request: LineRequest, in_force: InForce) -> None:
        assert self.pending is request, "answered twice"
        self.pending = None
        self.answers.append(in_force)
        self.news.tell()
        await anyio.lowlevel.checkpoint()

    @override
    async def notify(self, event: LineEvent) -> None:
        await anyio.lowlevel.checkpoint()
        self.events.append(event)
        self.news.tell()

    @override
    async def send_some(self, data: Buffer) -> int:
        with memoryview(data).cast("B") as view:
            await anyio.lowlevel.checkpoint()
            while not (n := int(min(len(view), self.room))):
                if self.send_error is not None:
                    raise self.send_error
                await self.news.wait()
            if self.send_error is not None:
                raise self.send_error
            self.room -= n
            self.received += view[:n]
            self.news.tell()
            return n

    @override
    async def send_eof(self) -> None:
        await anyio.lowlevel.checkpoint()
        self.eof = True
        self.news.tell()

    @override
    async def aclose(self) -> None:
        self.closed = True
        self.news.tell()
        await anyio.lowlevel.checkpoint()


def descriptors() -> int:
    return psutil.Process().num_fds()


async def cancelled_at(step: int, run: Callable[[], Awaitable[object]]) -> bool:
    """Cancel ``run`` when the event loop has gone round ``step`` times; false if it was done before."""
    done = False
    async with anyio.create_task_group() as tasks:
        scope = anyio.CancelScope()

        async def cancel() -> None:
            for _ in range(step):
                await anyio.lowlevel.checkpoint()
            scope.cancel()

        tasks.start_soon(cancel)
        with scope:
            await run()
            done = True
        tasks.cancel_scope.cancel()
    return not done


async def cancelled_everywhere(run: Callable[[], Awaitable[object]], most: int = 2000) -> int:
    """Cancel ``run`` at its first await, at its second, ... until it gets through; count the steps."""
    step = 1
    while await cancelled_at(step, run):
        step += 1
        assert step < most, "this never gets through"
    return step
