"""``stdio:``: streams that are shared with other programs, and stay as those expect them."""

from __future__ import annotations

import os
import pty
import random
import socket
import stat
import sys
import threading
import tty
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

import serialnet
from serialnet import EndpointError, TransportAttribute
from serialnet.transports import stdio
from serialnet.transports.stdio import StdioListener, StdioTransport

from ..fake_ends import descriptors
from ..interop.tools import until
from .test_tcp import flood

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")

BACKENDS: list[Any] = ["asyncio", "trio", ("asyncio", {"use_uvloop": True})]


@pytest.fixture(params=BACKENDS, ids=["asyncio", "trio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


class Ends:
    """What a program finds as its standard streams, and the far end of them."""

    def __init__(self, stdin: int, stdout: int, far_in: int, far_out: int) -> None:
        self.stdin, self.stdout = stdin, stdout
        self.far_in, self.far_out = far_in, far_out
        self._open = {stdin, stdout, far_in, far_out}

    def end_input(self) -> None:
        if stat.S_ISSOCK(os.fstat(self.far_in).st_mode):
            with socket.socket(fileno=os.dup(self.far_in)) as sock:
                sock.shutdown(socket.SHUT_WR)
        else:
            self.close(self.far_in)

    def close(self, *descriptors: int) -> None:
        for descriptor in descriptors or tuple(self._open):
            self._open.discard(descriptor)
            os.close(descriptor)


def pipes() -> Ends:
    stdin, far_in = os.pipe()
    far_out, stdout = os.pipe()
    return Ends(stdin, stdout, far_in, far_out)


def sockets() -> Ends:
    near, far = (end.detach() for end in socket.socketpair())
    return Ends(near, os.dup(near), far, os.dup(far))


def terminal() -> Ends:
    far, near = pty.openpty()
    tty.setraw(near)
    return Ends(near, os.dup(near), far, os.dup(far))


@pytest.fixture(params=[pipes, sockets, terminal, "threads"], ids=["pipes", "sockets", "terminal", "threads"])
def ends(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ends]:
    make: Callable[[], Ends] = request.param
    if request.param == "threads":
        make = pipes

        def refuse(descriptor: int, mode: int) -> int:
            raise PermissionError

        monkeypatch.setattr(stdio, "_opened_once_more", refuse)
    elif sys.platform != "linux" and make is not sockets:
        pytest.skip("there are threads between")
    ends = make()
    yield ends
    ends.close()


async def in_thread(function: Callable[..., Any], *arguments: object) -> Any:
    return await anyio.to_thread.run_sync(function, *arguments)


async def test_bytes_go_both_ways(ends: Ends) -> None:
    async with StdioTransport(ends.stdin, ends.stdout) as transport:
        os.write(ends.far_in, b"hello")
        assert await transport.receive() == b"hello"
        await transport.send(b"world")
        assert await in_thread(os.read, ends.far_out, 100) == b"world"


async def test_they_are_shared_and_stay_blocking(ends: Ends) -> None:
    async with StdioTransport(ends.stdin, ends.stdout) as transport:
        os.write(ends.far_in, b"x")
        await transport.receive()
        with anyio.move_on_after(0.05):
            await transport.receive()
        if not isinstance(transport._sockets.get(transport._descriptor), socket.socket):
            assert os.get_blocking(ends.stdin)
            assert os.get_blocking(ends.stdout)
    assert os.get_blocking(ends.stdin)  # uvloop's doing with sockets was undone
    assert os.get_blocking(ends.stdout)


async def test_a_clogged_reader_blocks_nobody_else_and_nothing_is_lost(ends: Ends) -> None:
    data = random.Random(1).randbytes(3_000_000)
    received = bytearray()

    def read_all() -> None:
        while len(received) < len(data):
            received.extend(os.read(ends.far_out, 65536))

    async with StdioTransport(ends.stdin, ends.stdout) as transport:
        sent = 0
        with anyio.move_on_after(0.3):
            while True:
                sent += await transport.send_some(data[sent:])
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(in_thread, read_all)
            while sent < len(data):
                with anyio.move_on_after(0.001):
                    sent += await transport.send_some(data[sent:])
    assert received == data


async def test_the_end_of_the_input(ends: Ends) -> None:
    async with StdioTransport(ends.stdin, ends.stdout) as transport:
        os.write(ends.far_in, b"last")
        if os.isatty(ends.stdin):
            assert await transport.receive() == b"last"
            ends.close(ends.far_in, ends.far_out)
            with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await transport.receive()
            return
        ends.end_input()
        assert await transport.receive() == b"last"
        with pytest.raises(anyio.EndOfStream):
            await transport.receive()
        await transport.send(b"still")
        assert await in_thread(os.read, ends.far_out, 100) == b"still"


async def test_a_half_close_ends_the_output(ends: Ends) -> None:
    async with StdioTransport(ends.stdin, ends.stdout) as transport:
        await transport.send(b"last")
        ends.close(ends.stdout)  # as the program does: see _take()
        await transport.send_eof()
        assert await in_thread(os.read, ends.far_out, 100) == b"last"
        if not os.isatty(ends.stdin):
            assert await in_thread(os.read, ends.far_out, 100) == b""
        with pytest.raises(anyio.BrokenResourceError):
            await transport.send(b"more")
        os.write(ends.far_in, b"still")
        assert await transport.receive() == b"still"


async def test_what_waits_is_told_of_the_close(ends: Ends) -> None:
    transport = StdioTransport(ends.stdin, ends.stdout)

    async def receive() -> None:
        with pytest.raises(anyio.ClosedResourceError):
            await transport.receive()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(receive)
        await anyio.wait_all_tasks_blocked()
        await transport.aclose()
        await transport.aclose()


async def test_cancelled_receives_and_sends_lose_nothing() -> None:
    rng = random.Random(1)
    data = rng.randbytes(500_000)
    stdin, far_out = os.pipe()
    far_in, stdout = os.pipe()
    async with StdioTransport(stdin, stdout) as near, StdioTransport(far_in, far_out) as far:
        for descriptor in (stdin, stdout, far_in, far_out):
            os.close(descriptor)
        with anyio.fail_after(20):
            assert await flood(near, far, data, rng) == data


async def test_files(tmp_path: Path) -> None:
    source, sink = tmp_path / "in", tmp_path / "out"
    source.write_bytes(b"skipped read")
    with source.open("rb") as stdin, sink.open("wb", buffering=0) as stdout:
        stdin.seek(8)
        stdout.write(b"before ")
        async with StdioTransport(stdin.fileno(), stdout.fileno()) as transport:
            assert await transport.receive() == b"read"
            with pytest.raises(anyio.EndOfStream):
                await transport.receive()
            await transport.send(b"after")
    assert sink.read_bytes() == b"before after"


async def test_the_null_device() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    try:
        async with StdioTransport(null, null) as transport:
            with pytest.raises(anyio.EndOfStream):
                await transport.receive()
            await transport.send(b"x")
    finally:
        os.close(null)


async def test_a_hang_up_is_seen_without_reading() -> None:
    ends = pipes()
    try:
        async with StdioTransport(ends.stdin, ends.stdout) as transport:
            os.write(ends.far_in, b"unread")
            assert not transport._hung_up(half=True)
            ends.close(ends.far_in)
            assert transport._hung_up(half=True)
            ends.close(ends.far_out)
            assert transport._hung_up(half=True)
            assert not transport._hung_up()  # what it sent is still to be received
    finally:
        ends.close()


async def test_a_listener_has_one_client() -> None:
    ends = pipes()
    try:
        listener = StdioListener(StdioTransport(ends.stdin, ends.stdout))
        client = await listener.accept()
        assert listener.urls == ["stdio:"]
        assert client.extra(TransportAttribute.peer) == "stdio:"
        with anyio.move_on_after(0.05) as scope:
            await listener.accept()
        assert scope.cancelled_caught

        async def accept() -> None:
            with pytest.raises(anyio.ClosedResourceError):
                await listener.accept()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(accept)
            await anyio.wait_all_tasks_blocked()
            await listener.aclose()
        await client.aclose()
    finally:
        ends.close()


async def test_nothing_is_left_open(ends: Ends) -> None:
    await in_thread(str)  # the worker thread stays
    ends.end_input()
    before = descriptors(), threading.active_count()
    async with StdioListener(StdioTransport(ends.stdin, ends.stdout)):
        pass
    await until(lambda: (descriptors(), threading.active_count()) == before)


@pytest.mark.parametrize("url", ["stdio://x", "stdio:///x", "stdio://x:1", "stdio:?a=1"])
async def test_nothing_stands_behind_it(url: str) -> None:
    for open_ in (serialnet.connect, serialnet.listen):
        with pytest.raises(EndpointError, match=r"nothing behind it|no option"):
            await open_(url)
