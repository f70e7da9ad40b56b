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
from .matrix import CLIENTS, page
from .servers import find, free_port, ser2net_to, when_up
from .terminal import at_terminal
from .tools import python, served


def test_the_documentation_shows_the_matrix() -> None:
    shown = Path(__file__).parents[2] / "docs" / "reference" / "interoperability.md"
    assert shown.read_text() == page(), "python -m tests.interop.matrix prints the page"


@pytest.mark.parametrize(
    ("program", "arguments", "listen"),
    [
        ("gensiot", ["-i", "stdio(self)", "telnet(rfc2217),tcp,127.0.0.1,{}"], "rfc2217://127.0.0.1:0"),
        ("socat", ["-", "TCP:127.0.0.1:{}"], "tcp://127.0.0.1:0"),
    ],
    ids=["gensiot", "socat"],
)
async def test_filters(program: str, arguments: list[str], listen: str) -> None:
    async with served(listen=listen) as shared:
        port = shared.url.rpartition(":")[2]
        command = [find(program), *(argument.format(port) for argument in arguments)]
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


async def test_ser2net_as_a_client(tmp_path: Path) -> None:
    number = free_port()
    async with (
        served() as shared,
        ser2net_to(shared.url, number, tmp_path),
        await when_up(f"rfc2217://127.0.0.1:{number}?timeout=1") as client,
    ):
        failed = await failures(Session(client, shared.board, shared.port.news.tell))
    assert failed.keys() == CLIENTS["ser2net"].but.keys(), failed


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


@pytest.mark.skipif(find_spec("mpremote") is None, reason="mpremote is not installed")
async def test_mpremote() -> None:
    with fake_micropython() as device:
        async with serve(device, "rfc2217://127.0.0.1:0") as server:
            result = await python("-m", "mpremote", "connect", server.urls[0], "exec", "print(6 * 7)")
    assert (result.status, result.output) == (0, "42\r\n"), result
