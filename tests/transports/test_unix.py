"""``unix://``: sockets in the file system, which nobody's file has to make way for."""

# ruff: noqa: ASYNC240  # files of a temporary directory
from __future__ import annotations

import os
import random
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

import serialnet
from serialnet import EndpointError, LineSettings, OpenError, Transport, TransportAttribute
from serialnet.transports import unix

from ..fake_ends import cancelled_everywhere, descriptors
from .test_tcp import flood

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")


@asynccontextmanager
async def pair(url: str, **options: object) -> AsyncIterator[tuple[Transport, Transport]]:
    async with (
        serialnet.listen(url, **options) as listener,
        serialnet.connect(listener.urls[0]) as client,
        await listener.accept() as server,
    ):
        yield client, server


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "board.sock"


async def test_bytes_go_both_ways_and_each_way_ends_alone(path: Path) -> None:
    async with pair(f"unix://{path}") as (client, server):
        await client.send(b"hello")
        assert await server.receive() == b"hello"
        await client.send_eof()
        with pytest.raises(anyio.EndOfStream):
            await server.receive()
        await server.send(b"world")
        assert await client.receive() == b"world"
        with pytest.raises(anyio.BrokenResourceError):
            await client.send(b"more")


async def test_cancelled_receives_and_sends_lose_nothing(path: Path) -> None:
    rng = random.Random(1)
    data = rng.randbytes(1_000_000)
    async with pair(f"unix://{path}") as (client, server):
        with anyio.fail_after(20):
            assert await flood(server, client, data, rng) == data


@pytest.mark.skipif(not hasattr(socket, "SO_PEERCRED"), reason="the system does not tell")
async def test_each_end_knows_the_other(path: Path) -> None:
    async with pair(f"unix://{path}") as ends:
        for end in ends:
            assert end.extra(TransportAttribute.peer) == f"unix:pid={os.getpid()},uid={os.getuid()}"
            assert end.extra(TransportAttribute.url) == f"unix://{path}"


async def test_a_path_may_have_any_name(tmp_path: Path) -> None:
    url = f"unix://{tmp_path}/a%20b%3f%23%25.sock"
    async with serialnet.listen(url) as listener, serialnet.connect(listener.urls[0]):
        assert (tmp_path / "a b?#%.sock").is_socket()


async def test_rfc2217_over_it_in_both_roles(path: Path) -> None:
    async with (
        serialnet.serve("loop:", f"rfc2217+unix://{path}") as server,
        serialnet.connect(f"{server.urls[0]}?baudrate=9600&rts=on") as port,
    ):
        assert server.urls == [f"rfc2217+unix://{path}"]
        assert port.line is not None
        assert port.line.settings == LineSettings(9600)
        await port.send(b"\xff\x00abc")
        received = b""
        while len(received) < 5:
            received += await port.receive()
        assert received == b"\xff\x00abc"
        assert (await port.line.get_inputs()).cts


# The file


@pytest.mark.parametrize("mode", ["600", "660", "606"])
async def test_who_may_connect(path: Path, mode: str) -> None:
    before = os.umask(0o077)
    try:
        async with serialnet.listen(f"unix://{path}?mode={mode}"):
            assert stat.S_IMODE(path.stat().st_mode) == int(mode, 8)
    finally:
        os.umask(before)


async def test_by_default_only_its_owner(path: Path) -> None:
    async with serialnet.listen(f"unix://{path}"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_the_file_goes_with_the_listener(path: Path) -> None:
    async with serialnet.listen(f"unix://{path}"):
        assert path.is_socket()
    assert not path.exists()


async def test_but_not_one_that_has_taken_its_place(path: Path) -> None:
    async with serialnet.listen(f"unix://{path}"):
        path.unlink()
        path.write_text("precious")
    assert path.read_text() == "precious"
    path.unlink()
    async with serialnet.listen(f"unix://{path}") as listener:
        path.unlink()
        await listener.aclose()  # all the same


async def test_a_socket_that_nobody_has_any_more_is_replaced(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as crashed:
        crashed.bind(str(path))
        crashed.listen()
    assert path.is_socket()
    with pytest.raises(OpenError, match=r"cannot connect to .*: Connection refused"):
        await serialnet.connect(f"unix://{path}")
    async with pair(f"unix://{path}"):
        pass


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
@pytest.mark.parametrize("listens", [True, False])
async def test_a_live_socket_is_left_alone_and_not_even_disturbed(
    path: Path, kind: socket.SocketKind, listens: bool
) -> None:
    with socket.socket(socket.AF_UNIX, kind) as live:
        live.bind(str(path))
        if listens and kind == socket.SOCK_STREAM:
            live.listen()
        with pytest.raises(OpenError, match=r"cannot listen on .*board\.sock: another program listens there"):
            await serialnet.listen(f"unix://{path}")
        assert path.is_socket()
        live.setblocking(False)
        if listens and kind == socket.SOCK_STREAM:
            with pytest.raises(BlockingIOError):
                live.accept()


async def test_what_is_no_socket_is_left_alone(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("precious")
    path.symlink_to(target)
    for there in (path, target, tmp_path):
        with pytest.raises(OpenError, match="there is a file of that name already, and it is no socket"):
            await serialnet.listen(f"unix://{there}")
    assert path.is_symlink()
    assert target.read_text() == "precious"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("unix:", "expected unix:///PATH"),
        ("unix://", "expected unix:///PATH"),
        ("unix:///", "expected unix:///PATH"),
        ("unix://run/x.sock", "expected unix:///PATH, .* with three '/'"),
        ("unix:///run/x?mode=abc", "three octal digits, as 660, not 'abc'"),
        ("unix:///run/x%00y", "without a byte 0"),
        (f"unix:///{'x' * unix.MOST_PATH}", f"{unix.MOST_PATH} bytes at most, not of {unix.MOST_PATH + 1}"),
    ],
)
async def test_what_is_no_path(url: str, message: str) -> None:
    for open_ in (serialnet.connect, serialnet.listen):
        with pytest.raises(EndpointError, match=message):
            await open_(url)


async def test_a_mode_is_for_listening(path: Path) -> None:
    with pytest.raises(EndpointError, match="'mode' is for listening"):
        await serialnet.connect(f"unix://{path}?mode=666")


async def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(OpenError, match=r"cannot connect to .*: No such file"):
        await serialnet.connect(f"unix://{tmp_path}/none")
    with pytest.raises(OpenError, match=r"cannot listen on .*: No such file"):
        await serialnet.listen(f"unix://{tmp_path}/none/x")


async def test_a_full_backlog_is_waited_for_but_not_for_ever(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as busy:
        busy.bind(str(path))
        busy.listen(0)
        with socket.socket(socket.AF_UNIX) as first:
            first.connect(str(path))
            with pytest.raises(OpenError, match=r"nobody accepted within 0\.1 s"):
                await serialnet.connect(f"unix://{path}?connect_timeout=0.1")
            connected = anyio.Event()

            async def connect() -> None:
                async with serialnet.connect(f"unix://{path}"):
                    connected.set()

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(connect)
                await anyio.sleep(0.1)
                assert not connected.is_set()
                busy.accept()[0].close()
                with anyio.fail_after(5):
                    await connected.wait()


async def test_nothing_is_left_open(path: Path) -> None:
    async def session() -> None:
        async with pair(f"unix://{path}") as (client, server):
            await client.send(b"x")
            await server.receive()

    await session()
    before = descriptors()
    await cancelled_everywhere(session)
    assert descriptors() == before
    assert not path.exists()
