"""Every built-in transport passes the kit that strangers' transports are checked with."""

from __future__ import annotations

import os
import shlex
import tempfile
import tty
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import quote

import anyio
import pytest
from anyio.lowlevel import checkpoint

import serialnet
from serialnet import AskingTransport, Endpoint, Inputs, Outputs, PortInfo, Transport, TransportAttribute
from serialnet.core.registry import BUILT_IN
from serialnet.port_list import use_source
from serialnet.testing import check_transport
from serialnet.transports import exec as exec_module
from serialnet.transports.pty import PtyTransport
from serialnet.transports.rfc2217 import RFC2217Session, RFC2217Transport
from serialnet.transports.stdio import StdioTransport

from ..transports.pair_ends import BY_SOCKET, Master

TOKEN = "a-token-of-the-tests"

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


async def dialled(url: str, pattern: str = "{url}") -> Ends:
    """One end dials where the other listens, perhaps by a command that does it in its stead."""
    async with serialnet.listen(url) as listener:
        command = shlex.join([*BY_SOCKET, Endpoint.parse(listener.urls[0]).path])
        near = pattern.format(url=listener.urls[0], command=command, quoted=quote(command))
        ends: dict[str, Transport] = {}

        async def accept() -> None:
            ends["there"] = there = await listener.accept()
            if isinstance(there, AskingTransport):  # the dialling end waits for what it says
                await there.receive_event(bytearray(1))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(accept)
            ends["here"] = await serialnet.connect(near)
            while "there" not in ends:
                await checkpoint()
            tasks.cancel_scope.cancel()
        return ends["here"], ends["there"]


async def serial_port(url: str) -> Ends:
    master, slave = os.openpty()
    tty.setraw(slave)
    os.set_blocking(master, False)
    device = os.ttyname(slave)
    try:
        with use_source(lambda: [PortInfo(device, vid=0x303A, pid=0x0002)]):
            return await serialnet.connect(url.format(device=device)), Master(master)
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


async def session_of_two_programs() -> Ends:
    far, near = await two_programs()
    client, session = RFC2217Transport(near), RFC2217Session(far)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(session.receive_event, bytearray(1))
        await client.negotiate()
        tasks.cancel_scope.cancel()
    return client, session


@asynccontextmanager
async def relayed() -> AsyncIterator[Ends]:
    """A client and a board that have met at a relay."""
    async with serialnet.relay("tcp://127.0.0.1:0", tokens=TOKEN) as relay:
        url = f"relay+{relay.urls[0]}/lab?token={TOKEN}"
        async with serialnet.listen(url) as board, anyio.create_task_group() as tasks:
            ends: list[Transport] = []

            async def accept() -> None:
                ends.append(await board.accept())

            tasks.start_soon(accept)
            ends.insert(0, await serialnet.connect(url))
            while len(ends) < 2:
                await checkpoint()
            yield ends[0], ends[1]


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
    "rfc2217+stdio": Row(session_of_two_programs),
    "exec": Row(lambda: loopback("exec:cat")),
    "rfc2217+exec": Row(lambda: dialled(f"rfc2217+unix://{socket_path()}", "rfc2217+exec:{command}")),
    "ssh": Row(lambda: dialled(f"rfc2217+unix://{socket_path()}", "ssh://far/dev/ttyUSB0?ssh={quoted}")),
    "pty": Row(pty_and_port, {"in_order": False, "outlives_peer": (PtyTransport,)}),
    "serial": Row(lambda: serial_port("{device}"), {"outlives_peer": (Master,)}),
    "usb": Row(lambda: serial_port("usb://303a:0002"), {"outlives_peer": (Master,)}),
    "relay": Row(relayed, {"secrets": (TOKEN,)}),
    "pyserial": Row(lambda: serial_port("pyserial:{device}"), {"outlives_peer": (Master,)}),
}


def test_no_built_in_transport_is_missing() -> None:
    assert set(TABLE) >= set(BUILT_IN)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", TABLE)
async def test_it_keeps_the_contract(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # A command whose far end is open still is given that long at each close.
    monkeypatch.setattr(exec_module, "GRACE", 0.1)
    row = TABLE[name]
    await check_transport(row.make_pair, **row.holds)
