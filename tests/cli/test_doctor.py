"""``serialnet doctor``, as a user runs it: what it finds, what it advises, its exit status."""

from __future__ import annotations

import json
import os
import pty
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from serialnet import LineSettings, Outputs
from serialnet.chips import Board
from serialnet.testing.pty import host_board

from ..delay import distance
from ..interop.servers import serving
from ..interop.tools import Finished, python, served

needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")


@pytest.fixture
def anyio_backend() -> str:
    # The command line has an event loop of its own, in another process.
    return "asyncio"


async def doctor(*arguments: str) -> Finished:
    return await python("-m", "serialnet", "doctor", *arguments, timeout=40)


async def findings(*arguments: str) -> tuple[int, dict[str, dict[str, Any]]]:
    result = await doctor("--json", *arguments)
    assert result.errors == ""
    found = [json.loads(line) for line in result.output.splitlines()]
    return result.status, {finding["check"]: finding for finding in found}


def verdicts(found: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {check: finding["verdict"] for check, finding in found.items()}


async def test_a_server_where_all_is_well() -> None:
    board = Board()
    async with served(board) as shared:
        status, found = await findings(f"{shared.url}?baudrate=9600&dtr=0&rts=1")
        assert status == 0
        assert verdicts(found) == dict.fromkeys(
            ("reachable", "protocol", "lines", "distance", "esptool"), "ok"
        )
        assert "serialnet" in found["protocol"]["text"]
        assert "DTR (on) and RTS (on)" in found["lines"]["text"]
        assert 0 < found["distance"]["distance"]["median"] < 1
        # The board was left alone, whatever the URL said.
        assert board.boots == []
        assert board.outputs == Outputs(dtr=True, rts=True)
        assert board.settings == LineSettings()


@pytest.mark.skipif(sys.platform != "linux", reason="uses inotify")
async def test_a_server_that_dies_when_asked_who_it_is(tmp_path: Path) -> None:
    async with host_board(Board()) as port, serving("gensio", port.path, tmp_path, os.environ) as number:
        with anyio.fail_after(30):
            status, found = 1, dict[str, dict[str, Any]]()
            while (
                "protocol" not in found
            ):  # it serves one client and ends: nobody else can look when it is up
                status, found = await findings(f"rfc2217://127.0.0.1:{number}")
    assert status == 0
    assert found["protocol"]["text"] == "RFC 2217"
    assert "distance" in found


async def test_words_for_people() -> None:
    result = await doctor("sim://esp32")
    assert (result.status, result.errors) == (0, "")
    assert result.output.startswith("ok       reachable     connected to sim://esp32\n")


async def test_a_far_server() -> None:
    async with served() as shared, distance(int(shared.url.rpartition(":")[2]), 0.24, jitter=0.1) as far:
        url = f"rfc2217://127.0.0.1:{far.port}"
        status, found = await findings(url)
        assert status == 1
        assert 0.2 < found["distance"]["distance"]["median"] < 1
        assert found["distance"]["distance"]["jitter"] > 0
        assert verdicts(found)["esptool"] == "problem"
        assert "give" in found["esptool"]["text"] or "hear" in found["esptool"]["text"]
        assert f"serialnet run -- esptool --port {url}" in found["esptool"]["advice"]


async def test_a_server_without_lines() -> None:
    async with served(listen="tcp://127.0.0.1:0") as shared:
        status, found = await findings(shared.url)
        assert status == 0
        assert verdicts(found)["lines"] == "note"
        status, found = await findings(shared.url.replace("tcp:", "rfc2217:") + "?timeout=0.5")
        assert status == 1
        assert verdicts(found) == {"reachable": "ok", "protocol": "problem"}
        assert shared.url in found["protocol"]["advice"]


async def test_nothing_listens() -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        status, found = await findings(f"rfc2217://127.0.0.1:{taken.getsockname()[1]}")
    assert status == 1
    assert verdicts(found) == {"reachable": "problem"}
    assert "Connection refused" in found["reachable"]["text"]
    assert "serialnet serve" in found["reachable"]["advice"]


async def test_no_such_name() -> None:
    status, found = await findings("tcp://board.invalid:4000")
    assert status == 1
    assert "mistake in the name board.invalid" in found["reachable"]["advice"]


async def test_no_answer() -> None:
    # The queue of this one is full: what comes more gets no answer.
    with closing(socket.socket()) as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        async with filled(deaf.getsockname()):
            status, found = await findings(f"tcp://127.0.0.1:{deaf.getsockname()[1]}?connect_timeout=0.5")
    assert status == 1
    assert "firewall" in found["reachable"]["advice"]


@asynccontextmanager
async def filled(address: tuple[str, int]) -> AsyncIterator[None]:
    sockets = [socket.socket() for _ in range(4)]
    try:
        for sock in sockets:
            sock.setblocking(False)
            sock.connect_ex(address)
        await anyio.sleep(0.1)
        yield
    finally:
        for sock in sockets:
            sock.close()


async def test_a_server_that_closes_at_once() -> None:
    async with served() as shared:
        with closing(socket.create_connection(("127.0.0.1", int(shared.url.rpartition(":")[2])))):
            await anyio.sleep(0.1)  # now that one uses the port
            status, found = await findings(shared.url)
    assert status == 1
    assert verdicts(found) == {"reachable": "ok", "protocol": "problem"}
    assert "somebody else uses the port" in found["protocol"]["text"]


async def test_a_url_that_cannot_be_used() -> None:
    result = await doctor("rfc2217://127.0.0.1:4000?nonsense=1")
    assert result.status == 2
    assert result.errors.startswith("serialnet: ")
    assert result.errors.count("\n") == 1


@needs_proc
async def test_a_pseudo_terminal_that_is_held_and_free() -> None:
    master, slave = pty.openpty()
    path = os.ttyname(slave)
    try:
        status, found = await findings(path)
        assert status == 1
        assert verdicts(found)["holders"] == "problem"
        assert f"(pid {os.getpid()})" in found["holders"]["text"]
        os.close(slave)
        slave = -1
        status, found = await findings(path)
        assert status == 0
        assert verdicts(found) == dict.fromkeys(
            ("device", "permission", "holders", "reachable", "lines", "distance", "esptool"), "ok"
        )
    finally:
        os.close(master)
        if slave >= 0:
            os.close(slave)


async def test_devices_that_are_not_there(tmp_path: Path) -> None:
    missing = tmp_path / "ttyUSB9"
    link = tmp_path / "board"
    link.symlink_to(missing)
    for path, text in (
        (missing, "there is no such device"),
        (link, f"leads to {missing}, which is not there"),
        (tmp_path, "not a serial port"),
    ):
        status, found = await findings(str(path))
        assert status == 1
        assert verdicts(found)["device"] == "problem"
        assert text in found["device"]["text"]
    status, found = await findings("usb://dead:beef")
    assert status == 1
    assert "no such device is plugged in" in found["device"]["text"]
