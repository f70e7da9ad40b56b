"""Our client at the servers of others, on a port with modem lines: each does what the matrix says."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import anyio
import pytest

from serialnet.chips import Board
from serialnet.testing.pty import host_board

from .checks import Session, failures
from .matrix import SERVERS, shows
from .servers import serving, when_up
from .tools import python

# Their answers about DTR and RTS are wrong or missing.
QUERIES = {"esptool": "?ign_set_control", "sredird": "?ign_set_control"}


@shows(*SERVERS.values())
@pytest.mark.parametrize("name", SERVERS)
async def test_server(name: str, tmp_path: Path, shim: str) -> None:
    board = Board("esp32")
    async with host_board(board) as port:
        environment = {**os.environ, **port.environment, "LD_PRELOAD": shim}
        async with (
            serving(name, port.path, tmp_path, environment) as number,
            await when_up(f"rfc2217://127.0.0.1:{number}{QUERIES.get(name, '')}") as client,
        ):
            failed = await failures(Session(client, board, port.wake))
        # The server's last calls come to their end before the port does.
        await anyio.wait_all_tasks_blocked()
    # What is said not to work would be worth a tick if it did.
    assert failed.keys() == SERVERS[name].but.keys(), failed


@pytest.mark.skipif(find_spec("esptool") is None, reason="esptool is not installed")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("name", SERVERS)
async def test_esptool_through_run(name: str, tmp_path: Path, shim: str) -> None:
    async with host_board(Board("esp32")) as port:
        environment = {**os.environ, **port.environment, "LD_PRELOAD": shim}
        async with serving(name, port.path, tmp_path, environment) as number:
            url = f"rfc2217://127.0.0.1:{number}{QUERIES.get(name, '')}"
            # Some end with their first client, so nobody else can look whether they have started.
            (tmp_path / "esptool.cfg").write_text("[esptool]\nopen_port_attempts = 0\n")
            esptool = ("--", sys.executable, "-m", "esptool", "--chip", "esp32", "flash-id")
            result = await python("-m", "serialnet", "run", "--port", url, *esptool, directory=tmp_path)
    assert result.status == 0, result
    assert "Detected flash size: 4MB" in result.output
