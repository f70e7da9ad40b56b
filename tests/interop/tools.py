"""What the tests against other programs share."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.abc

from serialnet import Hook, Server, serve
from serialnet.chips import Board
from serialnet.transports.sim import SimulatedTransport

SOAK = bool(os.environ.get("SERIALNET_SOAK"))

# Programs run beside each other: most of their time is sleep, but two cores are not many.
ABREAST = 6


def times(usually: int, soak: int) -> int:
    """How often something is to be done: a few times, or as often as we promise that it works."""
    return soak if SOAK else usually


@dataclass(frozen=True)
class Served:
    """A simulated board that is shared, and what shares it."""

    board: Board
    port: SimulatedTransport
    server: Server

    @property
    def url(self) -> str:
        return self.server.urls[0]

    def say(self, text: bytes) -> None:
        """Let the board's firmware send something of its own accord."""
        self.board.transmit(text, anyio.current_time())
        self.port.news.tell()


@asynccontextmanager
async def served(
    board: Board | None = None,
    *,
    listen: str = "rfc2217://127.0.0.1:0",
    hooks: Sequence[Hook] = (),
) -> AsyncIterator[Served]:
    """Share a board, by default an ESP32, whose port was opened as an operating system does it."""
    board = board or Board("esp32")
    async with SimulatedTransport(board) as port:
        await port.line.set_outputs(dtr=True, rts=True)
        async with serve(port, listen, hooks=hooks) as server:
            yield Served(board, port, server)


async def until(condition: Callable[[], bool], timeout: float = 10.0) -> None:
    """Wait for something that tells nobody when it happens."""
    with anyio.fail_after(timeout):
        while not condition():  # noqa: ASYNC110  # there is no event
            await anyio.sleep(0.01)


@dataclass(frozen=True)
class Finished:
    """A program that has ended."""

    status: int
    output: str
    errors: str


async def run(*command: str, directory: Path | None = None, timeout: float = 60.0) -> Finished:
    """Run a program to its end; it is killed if it takes too long."""
    with anyio.fail_after(timeout):
        process = await anyio.run_process(command, stdin=subprocess.DEVNULL, cwd=directory, check=False)
    return Finished(process.returncode, process.stdout.decode(), process.stderr.decode())


async def python(*arguments: str, directory: Path | None = None, timeout: float = 60.0) -> Finished:
    """Run a Python program to its end: ``python("-m", "esptool", "--help")``."""
    return await run(sys.executable, *arguments, directory=directory, timeout=timeout)


class Program:
    """A program in the background that tells where it listens."""

    def __init__(self, process: anyio.abc.Process, errors: Path) -> None:
        self.process = process
        self.urls: list[str] = []
        self._errors = errors

    @property
    def errors(self) -> str:
        """What it has said on standard error so far."""
        return self._errors.read_text()

    async def says(self, pattern: str, timeout: float = 20.0) -> None:
        """Wait for something on standard error."""
        await until(lambda: re.search(pattern, self.errors) is not None, timeout)

    async def is_ready(self, pattern: str, count: int) -> None:
        output = ""
        assert self.process.stdout is not None
        while len(self.urls) < count:
            try:
                output += (await self.process.stdout.receive()).decode()
            except anyio.EndOfStream:
                raise AssertionError(f"it has ended: {self.errors}") from None
            self.urls = re.findall(pattern, output, re.MULTILINE)


@asynccontextmanager
async def running(
    *arguments: str,
    directory: Path,
    within: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    tells: str = r"^listening on (\S+)",
    count: int = 1,
) -> AsyncIterator[Program]:
    """Run a Python program in the background, as long as the block lasts.

    :param within: a command that runs another one somewhere else
    :param tells: what matches each line in which it says where it is to be reached
    :param count: how many such lines are waited for
    """
    command = [*within, sys.executable, *arguments]
    with tempfile.NamedTemporaryFile(dir=directory, suffix=".errors") as errors:
        process = await anyio.open_process(
            command,
            stdin=subprocess.DEVNULL,
            stderr=errors,
            cwd=directory,
            env=None if environment is None else {**os.environ, **environment},
        )
        async with process:
            try:
                program = Program(process, Path(errors.name))
                with anyio.fail_after(30):
                    await program.is_ready(tells, count)
                yield program
            finally:
                if process.returncode is None:
                    process.kill()
