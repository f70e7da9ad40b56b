"""Stock avrdude flashes and verifies an Uno through the real boot loader."""

from __future__ import annotations

import random
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import pytest

from serialnet import Hook, LineSettings, Transport, serve
from serialnet.hooks import OnConnect, OnFirstData

from .matrix import TOOLS, shows
from .tools import run
from .uno import BAUDRATE, SUCCESSOR, UnoTransport, build_uno, uno

pytestmark = [
    pytest.mark.skipif(shutil.which("avrdude") is None, reason="avrdude is not installed"),
    pytest.mark.timeout(120),
]


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return build_uno(tmp_path_factory.mktemp("uno"))


@pytest.fixture
def board(command: list[str]) -> Iterator[UnoTransport]:
    with uno(command) as board:
        yield board


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program.bin"
    path.write_bytes(SUCCESSOR + random.Random("uno").randbytes(1000))
    return path


async def flash(port: str, program: Path, *options: str) -> None:
    avrdude = await run(
        *("avrdude", "-c", "arduino", "-p", "m328p", "-P", port, *options, "-U", f"flash:w:{program}:r"),
        timeout=100,
    )
    size = (await anyio.Path(program).stat()).st_size
    assert avrdude.status == 0, avrdude
    assert f"{size} bytes of flash verified" in avrdude.errors


async def check_program(port: Transport) -> None:
    """What was flashed runs: HAL becomes IBM."""
    answer = b""
    with anyio.fail_after(10):
        while not answer.endswith(b"IBM"):
            await port.send(b"HAL")
            with anyio.move_on_after(1):
                while not answer.endswith(b"IBM"):
                    answer += await port.receive()


@shows(TOOLS["avrdude net"])
@pytest.mark.parametrize("hook", [OnConnect, OnFirstData])
async def test_over_the_network(board: UnoTransport, program: Path, hook: Callable[[str], Hook]) -> None:
    await board.line.configure(LineSettings(BAUDRATE))
    async with serve(board, "tcp://127.0.0.1:0", hooks=[hook("dtr-pulse")]) as server:
        (url,) = server.urls
        await flash(f"net:{url.removeprefix('tcp://')}", program)
        assert board.line.resets == 1
    await check_program(board)


@shows(TOOLS["avrdude pty"])
@pytest.mark.skipif(sys.platform != "linux", reason="uses inotify")
@pytest.mark.parametrize("sequence", ["dtr-pulse", "D0|W0.1|D1"])
async def test_at_an_attached_device(
    board: UnoTransport, program: Path, tmp_path: Path, sequence: str
) -> None:
    device = tmp_path / "tty"
    async with (
        serve(board, "rfc2217://127.0.0.1:0") as server,
        serve(server.urls[0], f"pty://{device}", hooks=[OnConnect(sequence)]),
    ):
        await flash(str(device), program, "-b", str(BAUDRATE))
        # The rate is avrdude's, by way of the device.
        assert board.line.settings == LineSettings(BAUDRATE)
        assert board.line.resets == 1
    await check_program(board)
