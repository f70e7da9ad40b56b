"""``serialnet attach``, as a user runs it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.abc
import pytest
import serial
from anyio.streams.text import TextReceiveStream
from anyio.to_thread import run_sync

import serialnet

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="uses inotify")


@pytest.fixture
def anyio_backend() -> str:
    # The command line has an event loop of its own, in another process.
    return "asyncio"


class Attached:
    """``serialnet attach`` in the background."""

    def __init__(self, process: anyio.abc.Process, output: str) -> None:
        self.process = process
        self.output = output
        match = re.match(r"attached \S+ at (.+)\n", output)
        assert match, output
        self.path = match[1]

    async def ends(self) -> tuple[int, str]:
        """Its exit status, and what it says at its end."""
        assert self.process.stderr is not None
        with anyio.fail_after(10):
            status = await self.process.wait()
            return status, "".join([text async for text in TextReceiveStream(self.process.stderr)])


@asynccontextmanager
async def attached(*arguments: str, directory: Path | None = None) -> AsyncIterator[Attached]:
    process = await anyio.open_process(
        [sys.executable, "-m", "serialnet", "attach", *arguments], stdin=subprocess.DEVNULL, cwd=directory
    )
    async with process:
        try:
            assert process.stdout is not None
            output = ""
            with anyio.fail_after(20):
                async for text in TextReceiveStream(process.stdout):
                    output += text
                    if output.endswith(" 115200\n"):  # the last of the commands to paste
                        break
            yield Attached(process, output)
        finally:
            if process.returncode is None:
                process.kill()


def talk(path: str) -> bytes:
    """What the board says at its start, and echoes."""
    with serial.Serial(path, 115200, timeout=5) as port:
        port.write(b"typed")
        return port.read_until(b"typed")


@pytest.mark.parametrize("with_", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
async def test_it_says_where_and_takes_the_device_away_at_the_end(
    tmp_path: Path, with_: signal.Signals
) -> None:
    async with attached("sim://esp32", "board", directory=tmp_path) as command:
        link = tmp_path / "board"
        assert command.output == (
            f"attached sim://esp32 at {link}\n"
            f"  picocom -b 115200 {link}\n"
            f"  python -m serial.tools.miniterm {link} 115200\n"
        )
        for _ in range(2):
            assert await run_sync(talk, str(link)) == b"typed"
        command.process.send_signal(with_)
        assert await command.ends() == (0, "")
        assert not link.is_symlink()


async def test_without_a_path_it_says_which_device() -> None:
    async with attached("sim://esp32", "--mode", "600") as command:
        assert command.path.startswith("/dev/pts/")
        assert os.stat(command.path).st_mode & 0o777 == 0o600
        assert await run_sync(talk, command.path) == b"typed"


async def test_sequences_are_played_when_programs_come(tmp_path: Path) -> None:
    device = str(tmp_path / "tty")
    async with attached("sim://esp32", device, "--on-connect", "esp-reset"):
        for _ in range(2):
            assert b"rst:0x1 (POWERON_RESET)" in await run_sync(talk, device)


async def test_the_device_outlives_its_port(tmp_path: Path) -> None:
    link = tmp_path / "tty"
    async with (
        await serialnet.listen("tcp://127.0.0.1:0") as listener,
        attached(listener.urls[0], str(link)),
    ):
        await (await listener.accept()).aclose()
        async with await listener.accept():  # it is dialled again
            assert link.is_symlink()


WRONG = [
    ("sim://esp32 {}/file", 1, "cannot make the link {}/file: there is something of that name"),
    ("sim://esp32 {}/no/such", 1, "cannot make the link {}/no/such: No such file or directory"),
    ("sim://esp32 --mode 9", 2, "mode is an octal number, as 660, not '9'"),
    ("sim://esp32 --group no-such-group", 2, "there is no group 'no-such-group'"),
    ("sim://esp32 --on-connect X9", 2, "'X9'"),
    ("tcp://127.0.0.1:1 {}/tty", 1, "cannot connect to 127.0.0.1:1: Connection refused"),
    ("localhost:4000 {}/tty", 2, "did you mean 'rfc2217://localhost:4000'"),
    ("", 2, "URL"),
]


@pytest.mark.parametrize(("typed", "status", "message"), WRONG, ids=[row[2][:20] for row in WRONG])
async def test_what_is_wrong_is_said_in_a_line(tmp_path: Path, typed: str, status: int, message: str) -> None:
    (tmp_path / "file").write_text("precious")
    command = [sys.executable, "-m", "serialnet", "attach", *typed.format(tmp_path).split()]
    with anyio.fail_after(20):
        result = await anyio.run_process(command, stdin=subprocess.DEVNULL, check=False)
    errors = result.stderr.decode()
    assert result.returncode == status, errors
    assert message.format(tmp_path) in errors.splitlines()[-1]
    assert "Traceback" not in errors
    assert (tmp_path / "file").read_text() == "precious"
    assert not (tmp_path / "tty").is_symlink()
