"""pyserial's miniterm on a running application, at a terminal of its own."""

from __future__ import annotations

import os
import pty
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import anyio.abc
import pytest

from serialnet import Outputs

from .tools import served

EXIT = b"\x1d"


class Terminal:
    """A program at a pseudo terminal, seen from the keyboard and the screen."""

    def __init__(self, master: int, process: anyio.abc.Process) -> None:
        self._master = master
        self.process = process
        self.screen = b""

    async def type(self, keys: bytes) -> None:
        os.write(self._master, keys)

    async def read_until(self, text: bytes) -> None:
        try:
            with anyio.fail_after(10):
                while text not in self.screen:
                    await anyio.wait_readable(self._master)
                    self.screen += os.read(self._master, 4096)
        except (TimeoutError, OSError) as error:
            raise AssertionError(f"{text!r} does not show: {self.screen!r}") from error


@asynccontextmanager
async def at_terminal(*command: str) -> AsyncIterator[Terminal]:
    master, slave = pty.openpty()
    try:
        process = await anyio.open_process(command, stdin=slave, stdout=slave, stderr=slave)
    finally:
        os.close(slave)
    try:
        async with process:
            yield Terminal(master, process)
            with anyio.fail_after(15):
                await process.wait()
    finally:
        os.close(master)


@pytest.mark.parametrize("options", [[], ["--dtr", "0", "--rts", "0"], ["--dtr", "1", "--rts", "1"]])
async def test_miniterm(options: list[str]) -> None:
    async with served() as shared:
        miniterm = [sys.executable, "-m", "serial.tools.miniterm", *options, shared.url, "115200"]
        async with at_terminal(*miniterm) as terminal:
            await terminal.read_until(b"Quit: Ctrl+]")
            shared.say(b"hello from the application\r\n")
            await terminal.read_until(b"hello from the application")
            await terminal.type(b"typed")
            await terminal.read_until(b"typed")
            assert shared.board.outputs == (Outputs() if "0" in options else Outputs(dtr=True, rts=True))
            await terminal.type(EXIT)
            await terminal.read_until(b"--- exit ---")
        assert terminal.process.returncode == 0
        assert b"Traceback" not in terminal.screen
        assert shared.board.boots == []
