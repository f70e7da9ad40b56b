"""The serial transport, and esptool, on a simulated board with modem lines."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream
from typing_extensions import override

from serialnet.chips import Board, Mode
from serialnet.testing.pty import SimulatedPort, host_board
from serialnet.values.events import InputsChanged, LineErrors
from serialnet.values.settings import Inputs, LineSettings, Outputs, Parity, StopBits

CLIENT = """
import sys, anyio, fcntl, struct, termios
from serialnet.core.endpoint import Endpoint
from serialnet.core.errors import *
from serialnet.core.options import parse_options
from serialnet.transports.serial import factory, SerialOptions
from serialnet.values.settings import *

async def main():
    options = parse_options(SerialOptions, OPTIONS, "serial")
    port = await factory.connect(Endpoint.parse(sys.argv[1]), options, None)
    line = port.line
    try:
        await use(port, line)
    finally:
        await port.aclose()

def tell(value):
    print(value, flush=True)

def hear():
    return anyio.to_thread.run_sync(sys.stdin.readline)
"""


class RecordingBoard(Board):
    """A board that writes down what its host does."""

    def __init__(self, chip: str = "esp32") -> None:
        super().__init__(chip)
        self.record: list[Outputs | LineSettings | bytes] = []

    @property
    def driven(self) -> list[Outputs]:
        return [entry for entry in self.record if isinstance(entry, Outputs)]

    @override
    def receive_data(self, data: bytes | bytearray | memoryview, now: float) -> None:
        if self.record and isinstance(last := self.record[-1], bytes):
            self.record[-1] = last + bytes(data)
        else:
            self.record.append(bytes(data))
        super().receive_data(data, now)

    @override
    def set_outputs(self, outputs: Outputs, now: float) -> None:
        self.record.append(outputs)
        super().set_outputs(outputs, now)

    @override
    def configure(self, settings: LineSettings, now: float) -> None:
        self.record.append(settings)
        super().configure(settings, now)


class Client:
    """A program that uses the serial transport, in a process of its own."""

    def __init__(self, process: Process) -> None:
        assert process.stdout is not None
        assert process.stdin is not None
        self._stdout = BufferedByteReceiveStream(process.stdout)
        self._stdin = process.stdin
        self._process = process

    async def told(self) -> str:
        return (await self._stdout.receive_until(b"\n", 10_000)).decode()

    async def tell(self) -> None:
        await self._stdin.send(b"\n")

    async def wait(self) -> None:
        assert await self._process.wait() == 0


def environment(port: SimulatedPort, shim: str) -> Mapping[str, str]:
    return {**os.environ, **port.environment, "LD_PRELOAD": shim}


@asynccontextmanager
async def run_client(port: SimulatedPort, shim: str, use: str, **options: object) -> AsyncIterator[Client]:
    body = "".join(f"    {text}\n" for text in use.strip().splitlines())
    script = f"OPTIONS = {options!r}\n{CLIENT}\nasync def use(port, line):\n{body}\nanyio.run(main)\n"
    async with await anyio.open_process(
        [sys.executable, "-c", script, port.path], env=environment(port, shim), stderr=None
    ) as process:
        yield Client(process)


BOTH = Outputs(dtr=True, rts=True)


async def test_opening_and_closing_make_no_edge_of_their_own(shim: str) -> None:
    board = RecordingBoard()
    async with host_board(board) as port:
        async with run_client(port, shim, "tell(line.outputs)") as client:
            assert await client.told() == str(BOTH)
            await client.wait()
        assert board.driven == [BOTH]
        async with run_client(port, shim, "tell(line.outputs)", dtr=False, rts=False) as client:
            assert await client.told() == str(Outputs())
            await client.wait()
        assert board.driven == [BOTH, Outputs()]
    assert board.boots == []


async def test_hupcl(shim: str) -> None:
    board = RecordingBoard()
    async with host_board(board) as port:
        async with run_client(port, shim, "pass", hupcl=True) as client:
            await client.wait()
        with anyio.fail_after(5):
            while board.driven != [BOTH, Outputs()]:  # noqa: ASYNC110  # the kernel tells it later
                await anyio.sleep(0.001)


async def test_outputs_change_in_one_step(shim: str) -> None:
    board = RecordingBoard()
    use = """
await line.set_outputs(dtr=False, rts=True)
await line.set_outputs(dtr=True, rts=False)
await line.set_outputs(brk=True)
tell(await line.set_outputs(dtr=False, rts=False, brk=False))
await line.set_outputs(brk=True)
"""
    async with host_board(board) as port, run_client(port, shim, use) as client:
        assert await client.told() == str(Outputs())
        await client.wait()
        assert board.driven == [
            BOTH,
            Outputs(dtr=False, rts=True),
            Outputs(dtr=True, rts=False),
            Outputs(dtr=True, rts=False, brk=True),
            Outputs(dtr=True, rts=False),
            Outputs(),
            Outputs(brk=True),
            Outputs(),  # closing releases it
        ]


async def test_settings_and_bytes_keep_their_order(shim: str) -> None:
    board = RecordingBoard()
    use = """
await port.send(b"A" * 3000)
tell(await line.configure(LineSettings(9600, 7, Parity.EVEN, StopBits.TWO)))
await port.send(b"B" * 3000)
tell(await line.configure(LineSettings(12345)))
await port.send(b"C" * 3000)
await line.drain()
"""
    first = LineSettings(9600, 7, Parity.EVEN, StopBits.TWO)
    async with host_board(board) as port, run_client(port, shim, use) as client:
        assert await client.told() == str(first)
        assert await client.told() == str(LineSettings(12345))
        await client.wait()
    assert board.record[-6:] == [
        LineSettings(),
        b"A" * 3000,
        first,
        b"B" * 3000,
        LineSettings(12345),
        b"C" * 3000,
    ]


async def test_events(shim: str) -> None:
    board = Board()
    board.set_inputs(Inputs(cts=True))
    use = """
tell(await line.get_inputs())
async with line.events() as events:
    async for event in events:
        tell(event)
"""
    async with host_board(board) as port, run_client(port, shim, use) as client:
        assert await client.told() == str(Inputs(cts=True))
        assert await client.told() == str(InputsChanged(Inputs(cts=True), Inputs(cts=True)))
        board.set_inputs(Inputs(dsr=True, cd=True))
        port.wake()
        assert await client.told() == str(InputsChanged(Inputs(cts=True), Inputs(dsr=True, cd=True)))
        board.add_errors(LineErrors(1, 2, 3, 4))
        port.wake()
        assert await client.told() == str(LineErrors(1, 2, 3, 4))
        port.unplug()
        assert (await client.told()).startswith("Lost(reason='the device has gone")
        await client.wait()


async def test_a_stuck_board_can_be_reset(shim: str) -> None:
    board = Board()
    board.stalled = True
    use = """
await port.send(b"x" * 100)
try:
    await line.drain()
except LineTimeoutError as error:
    tell(error)
await line.set_outputs(dtr=False, rts=True)
await line.set_outputs(dtr=False, rts=False)
await line.drain()
tell("drained")
"""
    async with host_board(board) as port, run_client(port, shim, use) as client:
        assert "(100 bytes wait)" in await client.told()
        assert await client.told() == "drained"
        await client.wait()
    assert board.boots == [Mode.APPLICATION]


async def test_purge(shim: str) -> None:
    board = Board()
    board.stalled = True
    use = """
await port.send(b"x" * 100)
await line.purge(Purge.UNSENT)
await line.drain()
tell("nothing unsent")
await hear()
await line.purge(Purge.RECEIVED)
tell("purged")
tell(await port.receive())
"""
    async with host_board(board) as port, run_client(port, shim, use) as client:
        assert await client.told() == "nothing unsent"
        board.transmit(b"old", anyio.current_time())
        port.wake()
        await client.tell()
        assert await client.told() == "purged"
        board.transmit(b"new", anyio.current_time())
        port.wake()
        assert await client.told() == str(b"new")


async def test_waiting_for_a_change(shim: str) -> None:
    board = Board()
    use = """
async def wait():
    await anyio.to_thread.run_sync(fcntl.ioctl, port._descriptor, termios.TIOCMIWAIT, termios.TIOCM_CD)
    tell(await line.get_inputs())
async with anyio.create_task_group() as tasks:
    tasks.start_soon(wait)
    await anyio.sleep(0.05)
    tell("waiting")
"""
    async with host_board(board) as port, run_client(port, shim, use) as client:
        assert await client.told() == "waiting"
        for inputs in (Inputs(cts=True), Inputs(cts=True, cd=True)):  # the first is not waited for
            board.set_inputs(inputs)
            port.wake()
        assert await client.told() == str(Inputs(cts=True, cd=True))
        await client.wait()


# esptool


async def run_esptool(port: SimulatedPort, shim: str, chip: str, *arguments: str) -> str:
    command = [sys.executable, "-m", "esptool", "--port", port.path, "--chip", chip]
    result = await anyio.run_process(
        [*command, "--connect-attempts", "1", *arguments],
        env=environment(port, shim),
        check=False,
        stderr=subprocess.STDOUT,
    )
    output = result.stdout.decode()
    assert result.returncode == 0, output
    return output


@pytest.mark.parametrize("capacitor", [1e-6, 1e-7])
@pytest.mark.parametrize("chip", ["esp32", "esp32s2", "esp32c3"])
async def test_esptool_connects_at_the_first_attempt(shim: str, chip: str, capacitor: float) -> None:
    board = Board(chip, capacitor=capacitor)
    async with host_board(board) as port:
        assert "Hard resetting" in await run_esptool(port, shim, chip, "flash-id")
    assert board.boots == [Mode.DOWNLOAD, Mode.APPLICATION]


async def test_esptool_writes_and_reads(shim: str, tmp_path: Path) -> None:
    board = Board()
    image, copy = tmp_path / "image", tmp_path / "copy"
    image.write_bytes(random.Random(1).randbytes(64 << 10))
    async with host_board(board) as port:
        output = await run_esptool(
            port, shim, "esp32", "--baud", "460800", "write-flash", "0x10000", str(image)
        )
        assert "Hash of data verified" in output
        assert board.flash.read(0x10000, 64 << 10) == image.read_bytes()
        await run_esptool(
            port, shim, "esp32", "--baud", "921600", "read-flash", "0x10000", "0x10000", str(copy)
        )
    assert copy.read_bytes() == image.read_bytes()
