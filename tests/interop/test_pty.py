"""Programs that want a device, on a PTY that is attached to a board."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest
import serial
from anyio.to_thread import run_sync

from serialnet import Hook, LineSettings, serve
from serialnet.chips import Mode
from serialnet.hooks import OnConnect, OnDisconnect

from .matrix import CLIENTS, TOOLS, shows
from .terminal import at_terminal
from .tools import Served, python, served, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="uses inotify")


@asynccontextmanager
async def attached(device: Path, *, hooks: Sequence[Hook] = ()) -> AsyncIterator[Served]:
    """A board far away, whose port is left at 9600 baud, as a device of this machine."""
    async with served() as shared:
        await shared.port.line.configure(LineSettings(9600))
        async with serve(shared.url, f"pty://{device}", hooks=hooks):
            yield shared


def needs(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is not installed")
    return path


@shows(CLIENTS["picocom"], CLIENTS["minicom"])
@pytest.mark.parametrize(
    ("command", "ready", "leave", "sure"),
    [
        ("picocom --baud 115200 {}", b"Terminal ready", b"\x01\x18", b"Thanks for using picocom"),
        ("minicom --baudrate 115200 --device {}", b"Press CTRL-A Z", b"\x01x", b"  Yes  "),
    ],
    ids=["picocom", "minicom"],
)
async def test_terminals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, ready: bytes, leave: bytes, sure: bytes
) -> None:
    program, *arguments = command.format(tmp_path / "tty").split()
    monkeypatch.setenv("TERM", "vt100")
    monkeypatch.setenv("HOME", str(tmp_path))
    async with attached(tmp_path / "tty") as shared:
        for _ in range(2):
            async with at_terminal(needs(program), *arguments) as terminal:
                await terminal.read_until(ready)
                await until(lambda: shared.board.settings.baudrate == 115200)
                await terminal.type(b"typed")
                await terminal.read_until(b"typed")  # the application echoes
                # Not earlier: minicom throws away what comes while it begins.
                shared.say(b"hello from the application\r\n")
                await terminal.read_until(b"hello from the application")
                await terminal.type(leave)
                await terminal.read_until(sure)
                await terminal.type(b"\r")
                await terminal.read_to_end()
            assert terminal.process.returncode == 0


async def test_pyserial(tmp_path: Path) -> None:
    device = tmp_path / "tty"

    def use() -> None:
        with serial.Serial(str(device), 115200, timeout=5, exclusive=True) as port:
            for n in range(20):
                port.write(b"%02d" % n)
                assert port.read(2) == b"%02d" % n
            port.reset_input_buffer()
            port.reset_output_buffer()
            port.baudrate = 57600

    async with attached(device) as shared:
        for _ in range(3):
            await run_sync(use)
            await until(lambda: shared.board.settings == LineSettings(57600))


@shows(TOOLS["esptool pty"])
@pytest.mark.skipif(find_spec("esptool") is None, reason="esptool is not installed")
@pytest.mark.timeout(120)
async def test_esptool(tmp_path: Path) -> None:
    device, image = tmp_path / "tty", tmp_path / "image"
    image.write_bytes(os.urandom(100_000))
    hooks = [OnConnect("esp-bootloader"), OnDisconnect("esp-reset")]
    async with attached(device, hooks=hooks) as shared:
        esptool = await python(
            *("-m", "esptool", "--port", str(device), "--before", "no-reset", "--connect-attempts", "1"),
            *("--baud", "460800", "write-flash", "0x1000", str(image)),
            timeout=90,
        )
        assert esptool.status == 0, esptool
        assert "Hash of data verified" in esptool.output
        assert shared.board.flash.read(0x1000, 100_000) == image.read_bytes()
        await until(lambda: shared.board.boots == [Mode.DOWNLOAD, Mode.APPLICATION])
