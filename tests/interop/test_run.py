"""Programs built on pyserial, through ``serialnet run`` and on our object."""

from __future__ import annotations

import contextlib
import io
import sys
from contextlib import AsyncExitStack
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread

from serialnet import serve
from serialnet.chips import Board, Mode
from serialnet.pyserial import Serial

from .fake_micropython import fake_micropython
from .terminal import at_terminal
from .tools import Finished, python, served, until

IMAGE = bytes([0xE9, 1, 2, 0x20]) + bytes(20) + b"serialnet-app:run\0" + bytes(range(256)) * 64
EXIT = b"\x1d"
FLASHED = [Mode.DOWNLOAD, Mode.APPLICATION]


def needs(module: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(find_spec(module) is None, reason=f"{module} is not installed")


async def run(*arguments: str, directory: Path | None = None) -> Finished:
    return await python("-m", "serialnet", "run", *arguments, directory=directory, timeout=50)


def python_module(name: str) -> list[str]:
    return ["--", sys.executable, "-m", name]


# esptool


@needs("esptool")
@pytest.mark.parametrize("how", ["argument", "place", "environment"])
async def test_esptool_flashes(how: str, tmp_path: Path) -> None:
    await anyio.Path(tmp_path, "image.bin").write_bytes(IMAGE)
    async with served() as shared:
        esptool = python_module("esptool")
        command = {
            "argument": [*esptool, "--port", shared.url],
            "place": ["--port", shared.url, *esptool, "--port", "{port}"],
            "environment": ["--port", shared.url, *esptool],
        }[how]
        result = await run(
            *command, "--connect-attempts", "1", "write-flash", "0x1000", "image.bin", directory=tmp_path
        )
        assert result.status == 0, result
        assert result.errors == ""
        await until(lambda: shared.board.boots == FLASHED)
        assert shared.board.flash.read(0x1000, len(IMAGE)) == IMAGE


@needs("esptool")
async def test_esptool_flashes_over_layers_that_pyserial_has_not(tmp_path: Path) -> None:
    async with served() as shared:
        url = shared.url.replace("rfc2217:", "rfc2217+tcp:")
        result = await run(*python_module("esptool"), "--port", url, "--connect-attempts", "1", "flash-id")
        assert result.status == 0, result
        assert "Detected flash size: 4MB" in result.output


@needs("esptool")
async def test_esptool_resets_nothing_over_a_raw_stream() -> None:
    board = Board()
    async with served(board, listen="tcp://127.0.0.1:0") as shared:
        result = await run(
            *python_module("esptool"), "--port", shared.url, "--connect-attempts", "1", "chip-id"
        )
        assert result.status != 0
        assert "not possible to reset the chip over a TCP socket" in result.output, result
        assert board.boots == []


@needs("esptool")
async def test_esptool_as_a_library_on_our_object(tmp_path: Path) -> None:
    esptool = import_module("esptool")

    await anyio.Path(tmp_path, "image.bin").write_bytes(IMAGE)

    def flash(url: str) -> str:
        with Serial(url) as port, contextlib.redirect_stdout(io.StringIO()) as output:
            stand_in: Any = port
            chip = esptool.cmds.detect_chip(port=stand_in, connect_attempts=1)
            esptool.main(["write-flash", "0x1000", str(tmp_path / "image.bin")], esp=chip)
        return output.getvalue()

    async with served() as shared:
        output = await to_thread.run_sync(flash, shared.url)
        assert "Hash of data verified" in output
        await until(lambda: shared.board.boots == FLASHED)
        assert shared.board.flash.read(0x1000, len(IMAGE)) == IMAGE


# What runs has the last word


async def test_the_exit_status_is_the_programs() -> None:
    assert (await run("--", sys.executable, "-c", "raise SystemExit(7)")).status == 7
    result = await run("--", sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGTERM)")
    assert result.status == -15
    pipe = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    assert (await run("--", sys.executable, "-c", pipe)).output == "True\n"


@pytest.mark.parametrize(
    ("arguments", "status", "error"),
    [
        (["nix"], 127, "serialnet: there is no program 'nix'"),
        (["--port", "nix://", "--", "true"], 2, "serialnet: no transport 'nix'"),
        (["--port", "ttyUSB0", "--", "true"], 2, "serialnet: 'ttyUSB0' is neither a URL nor a device"),
        ([], 2, "the following arguments are required: PROGRAM"),
    ],
)
async def test_mistakes(arguments: list[str], status: int, error: str) -> None:
    result = await run(*arguments)
    assert result.status == status
    assert error in result.errors
    assert "Traceback" not in result.errors


# Terminals


@needs("esp_idf_monitor")
async def test_idf_monitor(tmp_path: Path) -> None:
    (tmp_path / "app.elf").touch()
    async with served() as shared:
        command = [*python_module("esp_idf_monitor"), "--port", shared.url, str(tmp_path / "app.elf")]
        async with at_terminal(sys.executable, "-m", "serialnet", "run", *command) as terminal:
            await terminal.read_until(b"Hello from a simulated board")  # it restarts the board
            shared.say(b"hello again\r\n")
            await terminal.read_until(b"hello again")
            await terminal.type(b"\x14\x12")  # restart
            await until(lambda: len(shared.board.boots) == 2)
            await terminal.type(EXIT)
        assert set(shared.board.boots) == {Mode.APPLICATION}
        assert b"Traceback" not in terminal.screen


async def test_miniterm() -> None:
    async with served() as shared:
        command = [*python_module("serial.tools.miniterm"), shared.url, "115200"]
        async with at_terminal(sys.executable, "-m", "serialnet", "run", *command) as terminal:
            await terminal.read_until(b"Quit: Ctrl+]")
            shared.say(b"hello\r\n")
            await terminal.read_until(b"hello")
            await terminal.type(b"\x14\x09")
            await terminal.read_until(b"CTS: inactive")
            await terminal.type(EXIT)
        assert terminal.process.returncode == 0
        assert shared.board.boots == []


@needs("platformio")
async def test_pio_device_monitor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLATFORMIO_CORE_DIR", str(tmp_path))
    async with served() as shared:
        url = shared.url.replace("rfc2217:", "rfc2217+tcp:")
        command = [*python_module("platformio"), "device", "monitor", "--port", url, "-b", "115200"]
        async with at_terminal(sys.executable, "-m", "serialnet", "run", *command) as terminal:
            await terminal.read_until(b"Quit: Ctrl+C")
            shared.say(b"hello\r\n")
            await terminal.read_until(b"hello")
            terminal.process.kill()  # left by itself, it asks the internet for news first


@needs("mpremote")
async def test_mpremote() -> None:
    with fake_micropython() as path:
        async with serve(path, "rfc2217://127.0.0.1:0") as server:
            mpremote = ["--port", server.urls[0], *python_module("mpremote"), "connect", "{port}"]
            result = await run(*mpremote, "exec", "print(6 * 7)")
            assert (result.status, result.output) == (0, "42\r\n"), result
            async with at_terminal(sys.executable, "-m", "serialnet", "run", *mpremote, "repl") as terminal:
                await terminal.read_until(b"Connected to MicroPython")
                await terminal.type(b"6 * 7\r")
                await terminal.read_until(b"\r\n42\r\n>>> ")
                await terminal.type(EXIT)
            assert terminal.process.returncode == 0


# serialnet monitor


async def test_the_monitor_restarts_the_board_and_connects_again() -> None:
    async with AsyncExitStack() as stack:
        async with served() as shared:
            monitor = [sys.executable, "-m", "serialnet", "monitor", shared.url, "--lines"]
            terminal = await stack.enter_async_context(at_terminal(*monitor))
            await terminal.read_until(b"CTS off, DSR off")
            shared.say(b"hello\r\n")
            await terminal.read_until(b"hello")
            await terminal.type(b"\x14g")
            await terminal.read_until(b"Hello from a simulated board")
            await terminal.type(b"\x14l")
            await terminal.read_until(b"waiting for download")
            assert shared.board.boots == [Mode.APPLICATION, Mode.DOWNLOAD]
        await terminal.read_until(b"--- lost: ")
        await terminal.read_until(b"--- trying again: ")
        await terminal.type(b"typed for nobody")
        async with served(listen=shared.url) as shared:
            await terminal.read_until(b"--- connected again ---")
            shared.say(b"back\r\n")
            await terminal.read_until(b"back")
            await terminal.type(EXIT)
            await terminal.read_until(b"--- exit ---")
    assert terminal.process.returncode == 0
    assert b"Traceback" not in terminal.screen


async def test_the_monitor_needs_a_terminal() -> None:
    result = await python("-m", "serialnet", "monitor", "sim://esp32")
    assert result.status == 1
    assert result.errors == "serialnet: expected a terminal as standard input, with somebody at it\n"
