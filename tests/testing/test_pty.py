from __future__ import annotations

import os
import sys
import termios

import anyio
import pytest
from typing_extensions import override

from serialnet.chips import Board
from serialnet.core.endpoint import Endpoint
from serialnet.core.errors import OpenError
from serialnet.testing.pty import host_board
from serialnet.transports._termios import System
from serialnet.transports.serial import SerialFactory, SerialOptions, SerialTransport
from serialnet.values.settings import LineSettings, Outputs

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="uses inotify")


async def open_port(path: str, *, hupcl: bool = False, exclusive: bool = True) -> SerialTransport:
    options = SerialOptions(hupcl=hupcl, exclusive=exclusive)
    return await SerialFactory(System()).connect(Endpoint.parse(path), options, None)


async def receive_exactly(port: SerialTransport, n: int) -> bytes:
    data = b""
    while len(data) < n:
        data += await port.receive(n - len(data))
    return data


async def test_bytes_and_the_baud_rate_need_no_shim() -> None:
    board = Board()
    async with host_board(board) as hosted, await open_port(hosted.path) as port:
        data = os.urandom(50_000)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(port.send, data)
            assert await receive_exactly(port, len(data)) == data
        await port.line.configure(LineSettings(9600))
        await port.send(b"hello")
        assert await receive_exactly(port, 5) != b"hello"  # the board is at 115200
        assert board.settings == LineSettings(9600)


async def test_it_is_raw_before_anybody_opens_it() -> None:
    async with host_board(Board()) as hosted:
        descriptor = os.open(hosted.path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            attributes = termios.tcgetattr(descriptor)
            assert attributes[0] == attributes[1] == attributes[3] == 0
            attributes[4] = attributes[5] = termios.B115200
            termios.tcsetattr(descriptor, termios.TCSANOW, attributes)
            os.write(descriptor, b"\r\n\x03\xff")
            received = b""
            while len(received) < 4:
                await anyio.wait_readable(descriptor)
                received += os.read(descriptor, 10)
            assert received == b"\r\n\x03\xff"
        finally:
            os.close(descriptor)


async def test_opening_raises_the_lines_and_the_last_close_drops_them() -> None:
    board = Board()
    async with host_board(board) as hosted:
        async with await open_port(hosted.path, hupcl=True, exclusive=False):
            async with await open_port(hosted.path, hupcl=True, exclusive=False) as port:
                await port.send(b"x")
                await port.receive()
                assert board.outputs == Outputs(dtr=True, rts=True)
            await anyio.wait_all_tasks_blocked()
            assert board.outputs == Outputs(dtr=True, rts=True)
        with anyio.fail_after(5):
            while board.outputs != Outputs():  # noqa: ASYNC110  # the kernel tells it later
                await anyio.sleep(0.001)


async def test_what_arrives_while_nobody_has_it_open_is_lost() -> None:
    board = Board()
    async with host_board(board) as hosted:
        board.transmit(b"to nobody", anyio.current_time())
        hosted.wake()
        async with await open_port(hosted.path) as port:
            hosted.wake()  # without the shim, nothing else tells the board of the settings
            board.transmit(b"unread", anyio.current_time())
            hosted.wake()
            await anyio.wait_readable(port._descriptor)
        hosted.wake()
        async with await open_port(hosted.path) as port:
            hosted.wake()
            board.transmit(b"new", anyio.current_time())
            hosted.wake()
            assert await port.receive() == b"new"


async def test_a_client_that_does_not_read_stops_nobody() -> None:
    board = Board()
    data = os.urandom(60_000)
    async with host_board(board) as hosted, await open_port(hosted.path) as port:
        hosted.wake()  # without the shim, nothing else tells the board of the settings
        board.transmit(data, anyio.current_time())
        hosted.wake()
        await anyio.wait_readable(port._descriptor)
        assert await receive_exactly(port, len(data)) == data


async def test_a_port_without_a_client_rests() -> None:
    class CountingBoard(Board):
        looks = 0

        @override
        def advance(self, now: float) -> None:
            self.looks += 1
            super().advance(now)

    board = CountingBoard()
    async with host_board(board) as hosted:
        async with await open_port(hosted.path):
            pass
        await anyio.wait_all_tasks_blocked()
        board.looks = 0
        await anyio.sleep(0.1)
        assert board.looks < 10


async def test_unplugging() -> None:
    async with host_board(Board()) as hosted:
        port = await open_port(hosted.path)
        hosted.unplug()
        with pytest.raises(anyio.BrokenResourceError):
            await port.receive()
        await port.aclose()
        with pytest.raises(OpenError, match="no such device"):
            await open_port(hosted.path)


async def test_leaving_unplugs_and_leaves_nothing() -> None:
    before = len(os.listdir("/proc/self/fd"))
    async with host_board(Board()) as hosted:
        port = await open_port(hosted.path)
    with pytest.raises(anyio.BrokenResourceError):
        await port.receive()
    await port.aclose()
    assert len(os.listdir("/proc/self/fd")) == before
