"""Cables are pulled whatever a port does: nothing comes twice, what is held comes, nothing is left behind."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from typing import TypeAlias

import anyio
import anyio.abc
import pytest

import serialnet
from serialnet import Transport
from serialnet.testing.usb import UsbSocket

from ..board_system import UsbSystem
from ..fake_ends import descriptors
from ..interop.tools import times, until
from .test_reenumeration import s2

LISTEN = "rfc2217://127.0.0.1:0"
URL = "usb://303a:4001"


class Client:
    """Sends numbers through a session, and hears the board send them back."""

    def __init__(self, socket: UsbSocket, url: str) -> None:
        self.socket = socket
        self.board = socket.board
        self.url = url
        self.sent = 0
        self.heard = bytearray()
        self.port: Transport
        self._listening = anyio.CancelScope()

    async def connect(self, tasks: anyio.abc.TaskGroup) -> None:
        self.port = await serialnet.connect(self.url)
        self._listening = anyio.CancelScope()
        tasks.start_soon(self._listen, self.port, self._listening)

    async def close(self) -> None:
        self._listening.cancel()
        await self.port.aclose()

    async def _listen(self, port: Transport, scope: anyio.CancelScope) -> None:
        with scope:
            while True:
                self.heard += await port.receive()

    async def send(self, count: int) -> range:
        """Send so many numbers; which they are."""
        first = self.sent + 1
        await self.port.send(b"\n")  # ends whatever came before
        for self.sent in range(first, first + count):
            await self.port.send(b"%08d\n" % self.sent)
        return range(first, first + count)

    def has_heard(self, numbers: range) -> bool:
        return set(numbers) <= set(self.numbers)

    @property
    def numbers(self) -> list[int]:
        """What was heard, but for lines of which the cable took a part."""
        return [int(line) for line in bytes(self.heard).split(b"\n") if len(line) == 8 and line.isdigit()]

    # What goes on when the cable is pulled

    async def idle(self) -> None:
        await anyio.wait_all_tasks_blocked()

    async def reading(self) -> None:
        self.board.transmit(b"x" * 60_000, anyio.current_time())
        assert self.socket.port is not None
        self.socket.port.wake()
        heard = len(self.heard)
        await until(lambda: len(self.heard) > heard)

    async def writing(self) -> None:
        self.board.stalled = True
        with anyio.move_on_after(0.1):
            await self.port.send(b"y" * (1 << 18))  # more than a device takes that takes nothing

    async def draining(self) -> None:
        """Settings wait for the bytes before them."""
        self.board.stalled = True
        await self.port.send(b"z" * 100)
        assert self.port.line is not None
        with anyio.move_on_after(0.1), suppress(serialnet.LineError):
            rate = 9600 if self.port.line.settings.baudrate == 115200 else 115200
            await self.port.line.configure(serialnet.LineSettings(rate))

    async def polling(self) -> None:
        assert self.port.line is not None
        async with self.port.line.events() as events:
            await anext(events)
            for _ in range(random.randrange(5)):
                await self.port.line.get_inputs()

    async def closing(self) -> None:
        self.board.stalled = True
        await self.port.send(b"z" * 100)
        await self.close()


PHASES = [Client.idle, Client.reading, Client.writing, Client.draining, Client.polling, Client.closing]
CYCLES = times(6, 200)
GAP = 0.05


Shared: TypeAlias = serialnet.Server | serialnet.Link


@asynccontextmanager
async def sharing(how: str) -> AsyncIterator[Shared]:
    """Share the port: it stays open, or is open while a client is there."""
    if how == "serve":
        shared: AbstractAsyncContextManager[Shared] = serialnet.serve(URL, LISTEN)
    else:
        shared = serialnet.link(f"listen:{LISTEN}", URL)
    async with shared as it:
        yield it


def counted() -> dict[str, int]:
    """What a leak would have more of."""
    return {
        "descriptors": descriptors(),
        "tasks": len(anyio.get_running_tasks()),
        "threads": threading.active_count(),
    }


@pytest.mark.timeout(times(120, 3600))
@pytest.mark.parametrize("how", ["serve", "link"])
async def test_cables_are_pulled_in_every_phase(how: str, system: UsbSystem) -> None:
    chance = random.Random(how)
    async with (
        system.plugged_in(s2()) as socket,
        sharing(how) as shared,
        shared.events() as events,
        anyio.create_task_group() as tasks,
    ):
        client = Client(socket, shared.urls[0])
        await client.connect(tasks)
        before: dict[str, int] | None = None
        for cycle in range(CYCLES):
            phase = PHASES[cycle] if cycle < len(PHASES) else chance.choice(PHASES)
            await phase(client)
            socket.renames = chance.choice([False, True])
            await socket.unplug()
            client.board.stalled = False
            if phase is Client.closing:
                await socket.plug_in()
                async for event in events:
                    if isinstance(event, serialnet.ClientLeft | serialnet.SessionEnded):
                        break
                await client.connect(tasks)
                held = await client.send(20)
            else:
                held = await client.send(20)
                await anyio.sleep(chance.uniform(0, GAP))
                await socket.plug_in()
            await until(partial(client.has_heard, held))
            if cycle + 1 == len(PHASES):
                before = counted()
        assert client.numbers == sorted(set(client.numbers))
        await until(lambda: counted() == before)
        await client.close()
        tasks.cancel_scope.cancel()


# What an idle wait costs is next to nothing; what spins costs all of a processor that it can get.
IDLE = 0.3


async def test_waiting_for_a_device_costs_next_to_nothing(system: UsbSystem) -> None:
    async with system.plugged_in(s2()) as socket, sharing("serve") as server:
        client = Client(socket, server.urls[0])
        async with anyio.create_task_group() as tasks:
            await client.connect(tasks)
            await socket.unplug()
            await client.send(20)
            began, used = time.monotonic(), time.process_time()
            await anyio.sleep(1.0)
            share = (time.process_time() - used) / (time.monotonic() - began)
            await socket.plug_in()
            await until(lambda: client.has_heard(range(1, 21)))
            await client.close()
            tasks.cancel_scope.cancel()
    assert share < IDLE
