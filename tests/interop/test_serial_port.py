"""esptool through ``serialnet serve`` on a device: our POSIX ioctls, on a PTY with modem lines."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import anyio
import pytest
from anyio.streams.text import TextReceiveStream

from serialnet.chips import Board, Mode
from serialnet.testing.pty import host_board

from .tools import python, times

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="uses inotify")

IMAGE = bytes([0xE9]) + bytes(23) + b"serialnet-app:through a device\0" + bytes(range(256)) * 32
COMMANDS = {
    "chip-id": (),
    "flash-id": (),
    "write-flash": ("0x1000", "image.bin"),
    "write-flash --no-stub": ("0x1000", "image.bin"),
    "read-flash": ("0x1000", str(len(IMAGE)), "read.bin"),
}


async def flash(
    command: str, query: str, capacitor: float, shim: str, directory: Path, scheme: str = ""
) -> None:
    await anyio.Path(directory).mkdir()
    await anyio.Path(directory, "image.bin").write_bytes(IMAGE)
    board = Board(capacitor=capacitor)
    board.flash.write(0x1000, IMAGE)
    if command.startswith("write-flash"):
        board.flash.erase(0, 0x10000)
    name, *flags = command.split()
    async with host_board(board) as port:
        environment = {**os.environ, **port.environment, "LD_PRELOAD": shim}
        listen = ["--listen", "rfc2217://127.0.0.1:0"]
        serve = [sys.executable, "-m", "serialnet", "serve", f"{scheme}{port.path}", *listen]
        async with await anyio.open_process(serve, env=environment, stderr=None) as server:
            assert server.stdout is not None
            line = await TextReceiveStream(server.stdout).receive()
            url = line.split()[2]
            esptool = await python(
                *("-m", "esptool", "--port", url + query, "--connect-attempts", "1"),
                *flags,
                *(name, *COMMANDS[command]),
                directory=directory,
                timeout=150,
            )
            assert esptool.status == 0, esptool
            server.send_signal(signal.SIGINT)
            assert await server.wait() == 0
    assert board.boots == [Mode.DOWNLOAD, Mode.APPLICATION]
    if name == "write-flash":
        assert board.flash.read(0x1000, len(IMAGE)) == IMAGE
    if name == "read-flash":
        assert await anyio.Path(directory, "read.bin").read_bytes() == IMAGE


@pytest.mark.timeout(times(240, 7200))
@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # of the board; the server has a process of its own
async def test_esptool_at_a_device(anyio_backend: str, shim: str, tmp_path: Path) -> None:
    room = anyio.Semaphore(5)

    async def run(number: int, command: str, query: str, capacitor: float) -> None:
        async with room:
            await flash(command, query, capacitor, shim, tmp_path / str(number))

    cells = [
        (command, query, capacitor)
        for command in COMMANDS
        for query in ("", "?ign_set_control")
        for capacitor in (1e-6, 1e-7)
    ]
    if times(1, 20) == 1:  # each command once, each of the others twice and more
        cells = [cell for number, cell in enumerate(cells) if number % 4 == number // 4 % 4]
    async with anyio.create_task_group() as tasks:
        for number, cell in enumerate(cells * times(1, 20)):
            tasks.start_soon(run, number, *cell)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_esptool_at_a_device_by_way_of_pyserial(anyio_backend: str, shim: str, tmp_path: Path) -> None:
    await flash("write-flash", "", 1e-6, shim, tmp_path / "flash", scheme="pyserial:")
