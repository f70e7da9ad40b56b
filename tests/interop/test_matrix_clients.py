"""Programs of others on our server: what the matrix says and no other test shows."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import anyio
import pytest

from serialnet import serve
from serialnet.chips import Mode

from .checks import ALL_BYTES, Session, failures
from .fake_micropython import fake_micropython
from .gensiot import KEYS, gensiot_at
from .matrix import CLIENTS, TOOLS, Can, shows
from .servers import find, free_port, ser2net_to, when_up
from .terminal import at_terminal
from .tools import python, served, until


@shows(CLIENTS["gensiot"], can=Can.BYTES)
async def test_gensiot_as_a_filter() -> None:
    async with served() as shared, gensiot_at(shared.url, keys=False) as client:
        await client.type(ALL_BYTES)
        assert await client.read(len(ALL_BYTES)) == ALL_BYTES


@shows(CLIENTS["gensiot"], can=Can.SETTINGS)
@shows(CLIENTS["gensiot"], can=Can.BREAK)
async def test_gensiot_by_its_keys() -> None:
    async with served() as shared, gensiot_at(shared.url) as client:
        board = shared.board
        for keys, name, value in KEYS:
            await client.command(keys)
            await until(lambda name=name, value=value: getattr(board.settings, name) == value)  # type: ignore[misc]
        await client.command(b"b")
        await until(lambda: board.breaks == 1 and not board.outputs.brk)


@shows(CLIENTS["socat"])
async def test_socat() -> None:
    async with served(listen="tcp://127.0.0.1:0") as shared:
        command = [find("socat"), "-", shared.url.replace("tcp://", "TCP:")]
        async with await anyio.open_process(command, stderr=subprocess.DEVNULL) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            echo = b""
            with anyio.fail_after(15):
                await process.stdin.send(ALL_BYTES)
                while len(echo) < len(ALL_BYTES):
                    echo += await process.stdout.receive()
            process.kill()
    assert echo == ALL_BYTES


@shows(CLIENTS["ser2net"])
async def test_ser2net_as_a_client(tmp_path: Path) -> None:
    number = free_port()
    async with (
        served() as shared,
        ser2net_to(shared.url, number, tmp_path),
        await when_up(f"rfc2217://127.0.0.1:{number}?timeout=1") as client,
    ):
        failed = await failures(Session(client, shared.board, shared.port.news.tell))
    assert failed.keys() == CLIENTS["ser2net"].but.keys(), failed


@shows(TOOLS["idf-monitor"])
@pytest.mark.skipif(find_spec("esp_idf_monitor") is None, reason="esp-idf-monitor is not installed")
async def test_idf_monitor(tmp_path: Path) -> None:
    (tmp_path / "app.elf").touch()
    async with served() as shared:
        monitor = [sys.executable, "-m", "esp_idf_monitor", "--port", shared.url, str(tmp_path / "app.elf")]
        async with at_terminal(*monitor) as terminal:
            await terminal.read_until(b"Hello from a simulated board")  # it restarts the board
            shared.say(b"hello again\r\n")
            await terminal.read_until(b"hello again")
            await terminal.type(b"\x1d")
        assert set(shared.board.boots) == {Mode.APPLICATION}
        assert b"Traceback" not in terminal.screen


@shows(TOOLS["mpremote"])
@pytest.mark.skipif(find_spec("mpremote") is None, reason="mpremote is not installed")
async def test_mpremote() -> None:
    with fake_micropython() as device:
        async with serve(device, "rfc2217://127.0.0.1:0") as server:
            result = await python("-m", "mpremote", "connect", server.urls[0], "exec", "print(6 * 7)")
    assert (result.status, result.output) == (0, "42\r\n"), result
