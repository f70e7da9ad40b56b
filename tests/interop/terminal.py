"""Programs at a pseudo terminal of their own."""

from __future__ import annotations

import os
import pty
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
import anyio.abc


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

    async def read_to_end(self) -> None:
        """Read until the program has left: one may wait for its last words to be read."""
        with anyio.fail_after(10), suppress(OSError):
            while True:
                await anyio.wait_readable(self._master)
                self.screen += os.read(self._master, 4096)


@asynccontextmanager
async def at_terminal(*command: str) -> AsyncIterator[Terminal]:
    master, slave = pty.openpty()
    try:
        process = await anyio.open_process(command, stdin=slave, stdout=slave, stderr=slave)
    finally:
        os.close(slave)
    try:
        async with process:
            try:
                yield Terminal(master, process)
                with anyio.fail_after(15):
                    await process.wait()
            finally:
                if process.returncode is None:
                    process.kill()
    finally:
        os.close(master)
