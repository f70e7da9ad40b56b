"""Stock esptool borrows the port of a stock monitor, again and again, and many watch."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

import serialnet
from serialnet import Transport
from serialnet.chips import Board
from serialnet.transports.sim import SimulatedTransport

from ..fake_ends import FakePort
from .tools import python, times, until

RFC2217 = "rfc2217://127.0.0.1:0"
BACKENDS: list[Any] = [("asyncio", {"use_uvloop": True}), "trio"]


class Monitor:
    """A program that shows what a port says."""

    def __init__(self, process: anyio.abc.Process) -> None:
        self._process = process
        self.shown = b""

    async def run(self) -> None:
        assert self._process.stdout is not None
        async for text in self._process.stdout:
            self.shown += text

    async def until(self, text: bytes) -> None:
        """Wait until it shows a text."""
        await until(lambda: text in self.shown)

    async def type(self, text: bytes) -> None:
        assert self._process.stdin is not None
        await self._process.stdin.send(text)


@asynccontextmanager
async def monitor(url: str) -> AsyncIterator[Monitor]:
    program = Path(__file__).with_name("pyserial_monitor.py")
    async with (
        await anyio.open_process([sys.executable, str(program), url], stderr=subprocess.STDOUT) as process,
        anyio.create_task_group() as tasks,
    ):
        shown = Monitor(process)
        tasks.start_soon(shown.run)
        await until(lambda: b"attached" in shown.shown, 30)
        yield shown
        tasks.cancel_scope.cancel()
        process.kill()


def image(name: bytes) -> bytes:
    """An application that esptool takes for one; the board says its name when it starts."""
    return bytes([0xE9, 1, 2, 0x20]) + bytes(20) + b"serialnet-app:" + name + bytes(4000)


@pytest.mark.skipif(importlib.util.find_spec("esptool") is None, reason="esptool is not installed")
@pytest.mark.timeout(times(200, 3600))
@pytest.mark.parametrize("anyio_backend", BACKENDS, ids=["uvloop", "trio"])
async def test_esptool_flashes_while_a_monitor_is_attached(anyio_backend: object, tmp_path: Path) -> None:
    board = Board("esp32")
    async with (
        SimulatedTransport(board) as port,
        serialnet.serve(port, RFC2217, f"{RFC2217}?role=borrow") as server,
        monitor(server.urls[0]) as attached,
    ):
        for number in range(times(1, 20)):
            name = b"round %d" % number
            (tmp_path / "image.bin").write_bytes(image(name))
            attached.shown = b""
            esptool = await python(
                *("-m", "esptool", "--port", server.urls[1], "--connect-attempts", "1"),
                *("--baud", "460800", "write-flash", "0x1000", "image.bin"),
                directory=tmp_path,
            )
            assert esptool.status == 0, esptool
            await attached.until(name)
            await attached.type(b"echo\n")
            await attached.until(b"echo\n")
            # The boot log, all of it, and nothing that was meant for esptool.
            assert attached.shown.startswith(b"ets "), attached.shown
            assert attached.shown.count(b"ets ") == 1
            assert port.line.settings.baudrate == 115200
        assert server.stats.refused == 0


async def test_a_stock_client_watches() -> None:
    """It opens its port, with all that it asks for then, and changes nothing."""
    port = FakePort()
    async with (
        serialnet.serve(port, RFC2217, f"{RFC2217}?role=watch") as server,
        serialnet.connect(server.urls[0]) as writer,
        monitor(server.urls[1]) as attached,
    ):
        assert writer.line is not None
        assert port.log == []
        await writer.line.configure(serialnet.LineSettings(baudrate=57600))
        await attached.type(b"never\n")
        port.feed(b"said")
        await attached.until(b"said")
        assert port.log == [serialnet.LineSettings(baudrate=57600)]


async def test_a_stock_client_waits_for_its_turn_as_long_as_it_says() -> None:
    port = FakePort()
    sharing = serialnet.Sharing(serialnet.NextWriter.WAIT)
    async with serialnet.serve(port, RFC2217, sharing=sharing) as server, anyio.create_task_group() as tasks:
        first = await serialnet.connect(server.urls[0])

        async def leave() -> None:
            await until(lambda: bool(server._seat._queue), 30)
            await anyio.sleep(3.5)  # longer than pyserial waits of its own accord
            await first.aclose()

        tasks.start_soon(leave)
        async with monitor(f"{server.urls[0]}?timeout=30") as attached:
            port.feed(b"said")
            await attached.until(b"said")
        assert (server.stats.sessions, server.stats.refused) == (2, 0)


# What a watcher process does: it reads, and says at the end how much it got.
WATCHER = """
import socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as connection:
    count, last = 0, b""
    print("attached", flush=True)
    while not last.endswith(b"the end") and (data := connection.recv(65536)):
        count, last = count + len(data), (last + data)[-7:]
    print(count, flush=True)
"""
# Not much more: a peer that takes nothing for a minute is taken for gone.
MEGABYTES = 6


@pytest.mark.timeout(120)
async def test_nobody_notices_that_one_of_64_clients_was_stopped() -> None:
    """The other 63 lose nothing, and all goes on at their pace."""
    port = FakePort()
    sharing = serialnet.Sharing(buffer=1 << 20)
    data = bytes(range(251)) * 4178  # 1 MiB and a bit, of an odd length
    async with (
        serialnet.serve(port, "tcp://127.0.0.1:0", "tcp://127.0.0.1:0?role=watch", sharing=sharing) as server,
        AsyncExitStack() as stack,
        await anyio.open_process(
            [sys.executable, "-c", WATCHER, server.urls[1].rpartition(":")[2]]
        ) as stopped,
    ):
        assert stopped.stdout is not None
        assert await stopped.stdout.receive() == b"attached\n"
        stopped.send_signal(signal.SIGSTOP)
        others = [
            await stack.enter_async_context(serialnet.connect(server.urls[number > 0]))
            for number in range(63)
        ]
        await until(lambda: server.stats.watchers == 63 and server.stats.sessions == 1)
        for _ in range(MEGABYTES):
            port.feed(data)
            async with anyio.create_task_group() as tasks:
                for client in others:
                    tasks.start_soon(receives, client, data)
        assert server.stats.bytes_missed > 0
        stopped.send_signal(signal.SIGCONT)
        port.feed(b"the end")
        for client in others:
            await receives(client, b"the end")
        with anyio.fail_after(10):
            count = int(await stopped.stdout.receive())
        assert count + server.stats.bytes_missed == MEGABYTES * len(data) + len(b"the end")


async def receives(client: Transport, expected: bytes) -> None:
    received = bytearray()
    with anyio.fail_after(30):
        while len(received) < len(expected):
            received += await client.receive()
    assert received == expected
