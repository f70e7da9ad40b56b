"""gensiot as a client of ours, at its keyboard."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
import anyio.abc

from serialnet.values.settings import FlowControl, Parity, StopBits

from .servers import find

ESCAPE = b"\x1c"

# Keys, and the setting that they make.
KEYS: list[tuple[bytes, str, object]] = [
    (b"e", "parity", Parity.EVEN),
    (b"7", "bytesize", 7),
    (b"2", "stopbits", StopBits.TWO),
    (b"x", "flow", FlowControl.XONXOFF),
    (b"s57600\n", "baudrate", 57600),
]


@dataclass(frozen=True)
class Gensiot:
    """A running gensiot."""

    process: anyio.abc.Process

    async def type(self, keys: bytes) -> None:
        """Send data."""
        assert self.process.stdin is not None
        await self.process.stdin.send(keys)

    async def command(self, keys: bytes) -> None:
        """Do what a key stands for, see gensiot(1)."""
        await self.type(ESCAPE + keys)

    async def read(self, size: int) -> bytes:
        """Read so much of what comes back."""
        assert self.process.stdout is not None
        data = b""
        with anyio.fail_after(15):
            while len(data) < size:
                data += await self.process.stdout.receive()
        return data


@asynccontextmanager
async def gensiot_at(url: str, *, keys: bool = True) -> AsyncIterator[Gensiot]:
    """A gensiot that is connected to an RFC 2217 server.

    :param keys: whether it has commands; else all bytes are data
    """
    address = url.removeprefix("rfc2217://").replace(":", ",")
    far = f"telnet(rfc2217),tcp,{address}"
    command = [find("gensiot"), "-e", str(ESCAPE[0] if keys else -1), "-i", "stdio(self)", far]
    async with await anyio.open_process(command, stderr=subprocess.DEVNULL) as process:
        try:
            yield Gensiot(process)
        finally:
            process.kill()
