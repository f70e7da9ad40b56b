"""A program that has a device open all the time: it sees silence while the port is gone, and no error."""

from __future__ import annotations

import os
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

ECHOED = 20.0
BAUDRATES = {termios.B9600: 9600, termios.B19200: 19200, termios.B115200: 115200}


class Program:
    """A program that has a device open all the time, sends numbers, and hears them come back."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        self.sent = 0
        self.heard = bytearray()

    def close(self) -> None:
        os.close(self._descriptor)

    async def send(self, count: int = 1) -> None:
        for _ in range(count):
            self.sent += 1
            line = b"%06d %06d\n" % (self.sent, self.sent)
            while line:
                await anyio.wait_writable(self._descriptor)
                line = line[os.write(self._descriptor, line) :]

    async def listen(self) -> None:
        """Hear what comes, for ever; an end or an error is what must not be."""
        while True:
            await anyio.wait_readable(self._descriptor)
            try:
                data = os.read(self._descriptor, 65536)
            except BlockingIOError:
                continue
            assert data
            self.heard += data

    async def is_through(self) -> None:
        """Send numbers until one that is sent now comes back."""
        first = self.sent + 1
        with anyio.fail_after(ECHOED):
            while not any(number >= first for number in self.numbers):
                await self.send()
                await anyio.sleep(0.02)

    @property
    def numbers(self) -> list[int]:
        """What was heard; lines of which a cut took a part are left out."""
        lines = [line.split(b" ") for line in bytes(self.heard).split(b"\n") if len(line) == 13]
        return [int(line[0]) for line in lines if len(line) == 2 and line[0] == line[1]]

    @property
    def baudrate(self) -> int:
        return BAUDRATES[termios.tcgetattr(self._descriptor)[4]]

    def set_baudrate(self, baudrate: int) -> None:
        attributes = termios.tcgetattr(self._descriptor)
        attributes[4:6] = [next(code for code, rate in BAUDRATES.items() if rate == baudrate)] * 2
        termios.tcsetattr(self._descriptor, termios.TCSANOW, attributes)


@asynccontextmanager
async def program(path: Path) -> AsyncIterator[Program]:
    made = Program(path)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(made.listen)
            await made.is_through()
            yield made
            tasks.cancel_scope.cancel()
    finally:
        made.close()
    assert made.numbers == sorted(set(made.numbers))  # none twice, none out of order
