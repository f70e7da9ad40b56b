"""``serialnet link``, as a user runs it: a process of its own, its words and its exit status."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.abc import Process
from anyio.streams.text import TextReceiveStream

import serialnet

from ..interop.tools import Finished, python, run

LISTEN = "listen:tcp://127.0.0.1:0"


@pytest.fixture
def anyio_backend() -> str:
    # The command line has an event loop of its own, in another process.
    return "asyncio"


async def link(*arguments: str) -> Finished:
    return await python("-m", "serialnet", "link", *arguments, timeout=30)


class Linking:
    """``serialnet link`` in the background."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.urls: list[str] = []
        assert process.stdout is not None
        assert process.stderr is not None
        self._output = TextReceiveStream(process.stdout)
        self._errors = TextReceiveStream(process.stderr)

    async def is_ready(self, listening: int) -> None:
        output = ""
        while len(self.urls) < listening:
            output += await self._output.receive()
            self.urls = re.findall(r"^listening on (\S+)\n", output, re.MULTILINE)

    async def says(self, pattern: str) -> None:
        """Wait for something on standard error."""
        errors = ""
        while not re.search(pattern, errors):
            errors += await self._errors.receive()

    async def ends(self) -> tuple[int, str]:
        """Wait for its end: its status, and what it still had to say."""
        errors = "".join([text async for text in self._errors])
        return await self.process.wait(), errors


@asynccontextmanager
async def linking(*arguments: str, listening: int = 1) -> AsyncIterator[Linking]:
    command = [sys.executable, "-m", "serialnet", "link", *arguments]
    async with await anyio.open_process(command, stdin=subprocess.DEVNULL) as process:
        try:
            with anyio.fail_after(30):
                background = Linking(process)
                await background.is_ready(listening)
                yield background
        finally:
            if process.returncode is None:
                process.kill()


@pytest.mark.parametrize("with_", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
async def test_it_goes_on_until_interrupted(with_: signal.Signals) -> None:
    async with linking(LISTEN, "loop:") as process:
        for _ in range(2):  # one client after the other
            async with serialnet.connect(process.urls[0]) as client:
                await client.send(b"x")
                assert await client.receive() == b"x"
        async with serialnet.connect(process.urls[0]) as client:  # in the middle of a session
            await client.send(b"x")
            assert await client.receive() == b"x"
            process.process.send_signal(with_)
            assert await process.ends() == (0, "")


async def test_two_who_come_are_joined_and_a_third_is_refused() -> None:
    async with linking("-v", LISTEN, LISTEN, listening=2) as process:
        first = await serialnet.connect(process.urls[0])
        await first.send(b"early")
        await process.says(r"127\.0\.0\.1:\d+ waits for a partner")
        async with serialnet.connect(process.urls[0]) as third:
            with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await third.receive()
        await process.says(r"refused 127\.0\.0\.1:\d+: 127\.0\.0\.1:\d+ waits there already")
        second = await serialnet.connect(process.urls[1])
        assert await second.receive() == b"early"
        await process.says("are joined")
        await first.aclose()
        await second.aclose()
        await process.says(r"5 bytes to the port .*\n.* part: ")


async def test_once_ends_with_its_session() -> None:
    async with linking("--once", LISTEN, "loop:") as process:
        async with serialnet.connect(process.urls[0]) as client:
            await client.send(b"x")
            assert await client.receive() == b"x"
        assert await process.ends() == (0, "")


@pytest.mark.parametrize(("once", "status"), [(True, 0), (False, 1)])
async def test_two_dialled_ends_have_one_session(once: bool, status: int) -> None:
    options = ["--once" if once else "--no-wait"]
    async with (
        serialnet.listen("tcp://127.0.0.1:0") as a,
        serialnet.listen("tcp://127.0.0.1:0") as b,
        linking(*options, a.urls[0], b.urls[0], listening=0) as process,
    ):
        client, port = await a.accept(), await b.accept()
        await client.send(b"through")
        assert await port.receive() == b"through"
        await client.aclose()
        with pytest.raises(anyio.EndOfStream):
            await port.receive()
        await port.aclose()
        ended, errors = await process.ends()
    assert ended == status
    assert errors == ("" if once else f"serialnet: {a.urls[0]}: the client closed the connection\n")


async def test_sessions_that_are_idle_or_too_long_end() -> None:
    async with linking("-v", "--idle-timeout", "0.2", "--session-limit", "5", LISTEN, "loop:") as process:
        async with serialnet.connect(process.urls[0]) as idle:
            with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await idle.receive()
        await process.says("part: nothing has passed for 0.2 s")


async def test_a_failed_dial_ends_it() -> None:
    async with (
        linking("--no-wait", LISTEN, "tcp://127.0.0.1:1") as process,
        serialnet.connect(process.urls[0]),
    ):
        status, errors = await process.ends()
    assert (status, errors) == (1, "serialnet: cannot connect to 127.0.0.1:1: Connection refused\n")


@pytest.mark.parametrize(
    ("arguments", "status", "error"),
    [
        (["loop:"], 2, "the following arguments are required: B"),
        (["nonsense:", "loop:"], 2, "no transport 'nonsense'"),
        (["loop:", "localhost:4000"], 2, "did you mean 'rfc2217://localhost:4000'"),
        (["listen:loop:", "loop:"], 2, "loop: cannot listen"),
        (["listen:", "loop:"], 2, "expected a URL"),
        (["listen:tcp://127.0.0.1", "loop:"], 2, "expected tcp://HOST:PORT"),
        (["listen:tcp://0.0.0.0:0", "loop:"], 2, "--allow"),
        (["--allow", "everybody", LISTEN, "loop:"], 2, "'everybody' is no network"),
        (["--on-connect", "X9", LISTEN, "loop:"], 2, "X9"),
        (["--idle-timeout", "0", LISTEN, "loop:"], 2, "--idle-timeout: expected more than 0 seconds, not 0"),
        (["--session-limit", "-1", LISTEN, "loop:"], 2, "--session-limit: expected more than 0 seconds"),
        (["listen:rfc2217://127.0.0.1:0"] * 2, 2, "both ask for line changes"),
        (["--no-wait", "tcp://127.0.0.1:1", "loop:"], 1, "cannot connect to 127.0.0.1:1: Connection refused"),
        (["--no-wait", "/dev/does-not-exist", "loop:"], 1, "there is no such device"),
        (["listen:tcp://192.0.2.1:0", "loop:", "--insecure"], 1, "cannot listen on 192.0.2.1:0"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
async def test_what_cannot_be_linked_is_said_in_one_line(
    arguments: list[str], status: int, error: str
) -> None:
    finished = await link(*arguments)
    assert finished.status == status
    assert error in finished.errors
    assert "Traceback" not in finished.errors
    assert (
        len([line for line in finished.errors.splitlines() if "serialnet: " in line or "error" in line]) == 1
    )


async def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        finished = await link(f"listen:tcp://127.0.0.1:{taken.getsockname()[1]}", "loop:")
    assert finished.status == 1
    assert re.fullmatch(
        r"serialnet: cannot listen on 127\.0\.0\.1:\d+: Address already in use.*\n", finished.errors
    )


@pytest.fixture
def device() -> Iterator[str]:
    master, slave = os.openpty()
    try:
        yield os.ttyname(slave)
    finally:
        os.close(master)
        os.close(slave)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who holds a device")
async def test_a_device_that_somebody_else_has(device: str) -> None:
    async with linking("-v", LISTEN, device) as holder, serialnet.connect(holder.urls[0]):
        await holder.says("are joined")
        finished = await link("--no-wait", device, "loop:")
        assert finished.status == 1
        # The test itself has it open, too, under a number that may be the higher one.
        assert re.fullmatch(
            rf"serialnet: {device} is in use by .*\(pid {holder.process.pid}\).*\n", finished.errors
        )


async def test_a_device_goes_from_one_client_to_the_next(device: str) -> None:
    async with linking("-v", LISTEN, device) as process:
        first = await serialnet.connect(process.urls[0])
        await process.says("are joined")
        async with serialnet.connect(process.urls[0]) as refused:
            with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await refused.receive()
        await process.says(rf"refused 127\.0\.0\.1:\d+: {device} is in use")
        for _ in range(3):  # at once, before the one before is quite gone
            await first.aclose()
            first = await serialnet.connect(process.urls[0])
            await process.says("are joined")
        await first.aclose()


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv is not installed")
async def test_a_device_that_one_may_not_open(device: str) -> None:
    os.chmod(device, 0)
    command = [sys.executable, "-m", "serialnet", "link", "--no-wait", device, "loop:"]
    if os.geteuid() == 0:  # root may open anything, unless it is told not to
        command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *command]
    finished = await run(*command)
    assert finished.status == 1
    assert re.fullmatch(rf"serialnet: cannot open {device}: no permission.*\n", finished.errors)
