"""Ends of bridges that have descriptors, and what is beyond them."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import shlex
import tempfile
import termios
import tty
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import anyio
import psutil
from anyio.to_thread import run_sync
from typing_extensions import override

import serialnet
from serialnet import Transport
from serialnet.transports._descriptor import DescriptorTransport
from serialnet.transports._pipes import PipeTransport
from serialnet.transports.rfc2217 import RFC2217Session, RFC2217Transport
from serialnet.transports.stdio import StdioTransport

# What is sent are pieces of this, from anywhere in it: no two are alike, and none costs more than to hash it.
BLOCK = memoryview(random.Random(0).randbytes(1 << 20) + b"\xff" * (1 << 18))
# Bytes in a piece.
MOST = 250_000
# What a test of pauses may set for the poller's patience.
STALLED_AFTER = 0.02

End: TypeAlias = Callable[[], AbstractAsyncContextManager[tuple[Transport, Transport]]]
"""Makes an end of a bridge and what is beyond it."""


class Master(DescriptorTransport):
    """The master side of a PTY: the hardware, as it were."""

    can_send_eof = False

    @override
    def _read_into(self, view: memoryview) -> int:
        try:
            return os.readv(self._descriptor, [view])
        except OSError as error:
            if error.errno == errno.EIO:
                return 0
            raise

    @override
    def _write(self, view: memoryview) -> int:
        return os.write(self._descriptor, view)

    @override
    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            anyio.notify_closing(self._descriptor)
            os.close(self._descriptor)


@asynccontextmanager
async def tcp() -> AsyncIterator[tuple[Transport, Transport]]:
    async with (
        serialnet.listen("tcp://127.0.0.1:0") as listener,
        serialnet.connect(listener.urls[0]) as beyond,
        await listener.accept() as end,
    ):
        yield end, beyond


@asynccontextmanager
async def unix() -> AsyncIterator[tuple[Transport, Transport]]:
    with tempfile.TemporaryDirectory() as directory:
        async with (
            serialnet.listen(f"unix://{directory}/socket") as listener,
            serialnet.connect(listener.urls[0]) as beyond,
            await listener.accept() as end,
        ):
            yield end, beyond


@asynccontextmanager
async def stdio() -> AsyncIterator[tuple[Transport, Transport]]:
    """Two pipes, as a program has them for its standard input and output."""
    (stdin, towards), (back, stdout) = os.pipe(), os.pipe()
    for descriptor in (back, towards):
        os.set_blocking(descriptor, False)
    end = StdioTransport(stdin, stdout)
    os.close(stdin)
    os.close(stdout)
    async with end, PipeTransport(back, towards) as beyond:
        yield end, beyond


@asynccontextmanager
async def command() -> AsyncIterator[tuple[Transport, Transport]]:
    """A process between two named pipes and its standard input and output."""
    with tempfile.TemporaryDirectory() as directory:
        towards, back = Path(directory, "towards"), Path(directory, "back")
        os.mkfifo(towards)
        os.mkfifo(back)
        script = shlex.quote(f"cat {towards} & exec cat > {back}")
        async with serialnet.connect(f"exec:sh -c {script}") as end:
            writing = await run_sync(os.open, towards, os.O_WRONLY)
            reading = await run_sync(os.open, back, os.O_RDONLY)
            for descriptor in (reading, writing):
                os.set_blocking(descriptor, False)
            async with PipeTransport(reading, writing) as beyond:
                yield end, beyond


@asynccontextmanager
async def tty_port() -> AsyncIterator[tuple[Transport, Transport]]:
    master, slave = os.openpty()
    tty.setraw(slave, termios.TCSANOW)
    os.set_blocking(master, False)
    async with Master(master) as beyond:
        try:
            port = serialnet.connect(os.ttyname(slave))
            async with port as end:
                os.close(slave)
                slave = -1
                yield end, beyond
        finally:
            if slave >= 0:
                os.close(slave)


@asynccontextmanager
async def asking() -> AsyncIterator[tuple[Transport, Transport]]:
    """An RFC 2217 session, whose client just sends data."""
    async with tcp() as (end, beyond):
        yield RFC2217Session(end), RFC2217Transport(beyond)


@asynccontextmanager
async def far_port() -> AsyncIterator[tuple[Transport, Transport]]:
    """An RFC 2217 client, whose server refuses all requests."""
    async with tcp() as (end, beyond):
        yield RFC2217Transport(end), RFC2217Session(beyond)


async def exchange(beyond_a: Transport, beyond_b: Transport, size: int) -> None:
    """Send as much both ways, with pauses, and see that it arrives."""
    hashes: dict[str, str] = {}

    async def note(name: str, work: Coroutine[None, None, str]) -> None:
        hashes[name] = await work

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(note, "sent a", send_random(beyond_a, size, 1))
        tasks.start_soon(note, "sent b", send_random(beyond_b, size, 2))
        tasks.start_soon(note, "received b", receive_hashed(beyond_b, size, 3))
        tasks.start_soon(note, "received a", receive_hashed(beyond_a, size, 4))
    assert hashes["sent a"] == hashes["received b"]
    assert hashes["sent b"] == hashes["received a"]


async def send_random(to: Transport, size: int, seed: int) -> str:
    """Send random data in pieces of random sizes, with pauses; returns its hash."""
    rng = random.Random(seed)
    hashed = hashlib.sha256()
    left = size
    while left:
        n = min(left, random_size(rng))
        begin = rng.randrange(len(BLOCK) - n)
        piece = BLOCK[begin : begin + n]
        hashed.update(piece)
        await to.send(piece)
        left -= n
        await pause(rng, n)
    return hashed.hexdigest()


async def receive_hashed(from_: Transport, size: int, seed: int) -> str:
    """Receive so many bytes in pieces of random sizes, with pauses; returns their hash."""
    rng = random.Random(seed)
    hashed = hashlib.sha256()
    buffer = memoryview(bytearray(MOST))
    left = size
    while left:
        room = MOST if rng.random() < 0.5 else random_size(rng)
        n = await from_.receive_into(buffer[: min(left, room)])
        hashed.update(buffer[:n])
        left -= n
        await pause(rng, n)
    return hashed.hexdigest()


async def offer_to_stalled(from_: Transport, to: Transport, offered: int) -> None:
    """Send to who does not read: little memory is used for it, and all that was taken arrives later."""
    process = psutil.Process()
    async with anyio.create_task_group() as tasks:  # as much memory as it takes to copy
        tasks.start_soon(from_.send, bytes(100_000))
        await receive_hashed(to, 100_000, 1)
    before = process.memory_info().rss
    sent = 0
    chunk = bytes(65536)
    with anyio.move_on_after(0.5):
        while sent < offered:
            sent += await from_.send_some(chunk)
    assert sent < offered
    assert process.memory_info().rss - before <= 1 << 20
    await receive_hashed(to, sent, 2)


def random_size(rng: random.Random) -> int:
    """Give a size: as often some tens of bytes as some ten thousands."""
    return int(MOST ** rng.random())


async def pause(rng: random.Random, size: int) -> None:
    """Pause about once in each mebibyte: mostly for a moment, sometimes so long that it is a stall."""
    if rng.random() < size / (1 << 20):
        await anyio.sleep(2 * STALLED_AFTER * rng.random() ** 3)
