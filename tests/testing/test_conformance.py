"""Every built-in transport passes the kit that strangers' transports are checked with."""

from __future__ import annotations

import os
import tempfile
import tty
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import anyio
import pytest
from anyio.lowlevel import checkpoint
from typing_extensions import override

import serialnet
from serialnet import AskingTransport, Inputs, Outputs, Transport, TransportAttribute
from serialnet.testing import check_transport
from serialnet.transports._descriptor import DescriptorTransport
from serialnet.transports.pty import PtyTransport
from serialnet.transports.stdio import StdioTransport

Ends: TypeAlias = tuple[Transport, Transport]


@asynccontextmanager
async def loopback(url: str) -> AsyncIterator[Ends]:
    async with serialnet.connect(url) as port:
        yield port, port


@asynccontextmanager
async def echoing_board() -> AsyncIterator[Ends]:
    async with serialnet.connect("sim://esp32") as board:
        assert board.line is not None
        await serialnet.resets.reset(board.line)
        log = b""
        while b"factory" not in log:
            log += await board.receive()
        with anyio.move_on_after(0.05):
            await board.receive()
        yield board, board


async def pty_and_port() -> Ends:
    pty = await serialnet.connect("pty:")
    return pty, await serialnet.connect(pty.extra(TransportAttribute.url).removeprefix("pty://"))


async def dialled(url: str) -> Ends:
    """One end dials where the other listens."""
    async with serialnet.listen(url) as listener:
        ends: dict[str, Transport] = {}

        async def accept() -> None:
            ends["there"] = there = await listener.accept()
            if isinstance(there, AskingTransport):  # the dialling end waits for what it says
                await there.receive_event(bytearray(1))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(accept)
            ends["here"] = await serialnet.connect(listener.urls[0])
            while "there" not in ends:
                await checkpoint()
            tasks.cancel_scope.cancel()
        return ends["here"], ends["there"]


class Master(DescriptorTransport):
    """The other end of a bare PTY, which hangs up when it is closed."""

    can_send_eof = False

    @override
    def _read_into(self, view: memoryview) -> int:
        return os.readv(self._descriptor, [view])

    @override
    def _write(self, view: memoryview) -> int:
        return os.write(self._descriptor, view)

    @override
    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            anyio.notify_closing(self._descriptor)
            os.close(self._descriptor)
        await anyio.lowlevel.checkpoint()


async def serial_port(scheme: str = "") -> Ends:
    master, slave = os.openpty()
    tty.setraw(slave)
    os.set_blocking(master, False)
    try:
        return await serialnet.connect(f"{scheme}{os.ttyname(slave)}"), Master(master)
    finally:
        os.close(slave)


async def two_programs() -> Ends:
    """Two programs whose standard streams are joined by pipes."""
    stdin, far_out = os.pipe()
    far_in, stdout = os.pipe()
    try:
        return StdioTransport(stdin, stdout), StdioTransport(far_in, far_out)
    finally:
        for descriptor in (stdin, stdout, far_in, far_out):
            os.close(descriptor)


def socket_path() -> str:
    return f"{tempfile.gettempdir()}/serialnet-{uuid.uuid4().hex}.sock"


@dataclass(frozen=True)
class Row:
    make_pair: Callable[[], Any]
    holds: dict[str, Any] = field(default_factory=dict)


def plug(outputs: Outputs) -> Inputs:
    return Inputs(cts=outputs.rts, dsr=outputs.dtr, cd=outputs.dtr)


TABLE = {
    "loop": Row(lambda: loopback("loop:"), {"wired": plug}),
    "sim": Row(echoing_board),
    "tcp": Row(lambda: dialled("tcp://127.0.0.1:0")),
    "rfc2217": Row(lambda: dialled("rfc2217://127.0.0.1:0")),
    "unix": Row(lambda: dialled(f"unix://{socket_path()}")),
    "rfc2217+unix": Row(lambda: dialled(f"rfc2217+unix://{socket_path()}")),
    "stdio": Row(two_programs),
    "exec": Row(lambda: loopback("exec:cat")),
    "pty": Row(pty_and_port, {"in_order": False, "outlives_peer": (PtyTransport,)}),
    "serial": Row(serial_port, {"outlives_peer": (Master,)}),
    "pyserial": Row(lambda: serial_port("pyserial:"), {"outlives_peer": (Master,)}),
}


@pytest.mark.parametrize("name", TABLE)
async def test_it_keeps_the_contract(name: str) -> None:
    row = TABLE[name]
    await check_transport(row.make_pair, **row.holds)
