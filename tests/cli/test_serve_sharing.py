"""``serialnet serve`` with several clients, as a user runs it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

import serialnet

from ..interop.tools import python

RAW = "tcp://127.0.0.1:0"


@pytest.fixture
def anyio_backend() -> str:
    # The command line has an event loop of its own, in another process.
    return "asyncio"


async def test_a_shared_console(tmp_path: Path) -> None:
    log = tmp_path / "board.log"
    command = [
        sys.executable,
        "-m",
        "serialnet",
        "serve",
        f"sim://esp32?log={log}",
        "--next-writer",
        "borrow",
    ]
    listeners = [RAW, f"{RAW}?role=watch&replay=64k", f"{RAW}?role=borrow"]
    async with await anyio.open_process(
        [*command, *(word for url in listeners for word in ("--listen", url))], stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        output = BufferedByteReceiveStream(process.stdout)
        urls = []
        for whom in ("listening on ", "listening for watchers on ", "listening for borrowers on "):
            with anyio.fail_after(20):
                said = (await output.receive_until(b"\n", 200)).decode()
            assert said.startswith(whom)
            urls.append(said.removeprefix(whom))
        with anyio.fail_after(20):
            async with serialnet.connect(urls[0]) as writer:
                await writer.send(b"one")
                assert await writer.receive() == b"one"
                async with serialnet.connect(urls[0]) as borrower:
                    await borrower.send(b"two")
                    assert await borrower.receive() == b"two"
                async with serialnet.connect(urls[1]) as watcher:
                    assert await watcher.receive() == b"onetwo"
        process.send_signal(signal.SIGTERM)
        with anyio.fail_after(10):
            assert await process.wait() == 0
    assert log.read_bytes() == b"onetwo"


@pytest.mark.parametrize(
    ("arguments", "status", "error"),
    [
        (
            ["loop:", "--listen", f"{RAW}?role=king"],
            2,
            "option 'role' of serve must be write or watch or borrow",
        ),
        (
            ["loop:?log=absent/board.log"],
            1,
            "cannot write the log absent/board.log: No such file or directory",
        ),
        (["loop:?log=board.log&log_files=0"], 2, "log_files must be 1 or more, not 0"),
    ],
)
async def test_what_cannot_be(arguments: list[str], status: int, error: str, tmp_path: Path) -> None:
    finished = await python("-m", "serialnet", "serve", *arguments, directory=tmp_path)
    assert (finished.status, finished.output) == (status, "")
    assert finished.errors.startswith("serialnet: ")
    assert error in finished.errors
    assert finished.errors.count("\n") == 1
