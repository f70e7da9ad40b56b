"""Bytes and line changes keep their order, through a real RFC 2217 session over loopback TCP."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

import serialnet
from serialnet import Bridge, LineSettings, Outputs, Purge, Transport
from serialnet.bridge import asking, bridge
from serialnet.chips import Board, Mode
from serialnet.transports.rfc2217 import RFC2217Session
from serialnet.transports.sim import SimulatedTransport

from ..fake_ends import FakePort


@pytest.fixture(autouse=True)
def linger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "LINGER", 0.02)


COUNT = 1000
SET_BAUDRATE, SET_CONTROL, PURGE = 1, 5, 12


def command(code: int, payload: bytes) -> bytes:
    """A COM-PORT command, encoded the slow way."""
    doubled = b"".join(bytes((byte,)) * (1 + (byte == 255)) for byte in payload)
    return b"\xff\xfa\x2c" + bytes((code,)) + doubled + b"\xff\xf0"


def answers(wire: bytes) -> list[tuple[int, bytes]]:
    """The COM-PORT answers of a server that sent no data, decoded the slow way."""
    found = []
    index = 0
    while index < len(wire):
        assert wire[index] == 255, wire[index:]
        if wire[index + 1] != 0xFA:
            index += 3  # a negotiation
            continue
        index += 2
        content = bytearray()
        while wire[index : index + 2] != b"\xff\xf0":
            index += wire[index] == 255
            content.append(wire[index])
            index += 1
        index += 2
        found.append((content[1], bytes(content[2:])))
    return [answer for answer in found if answer[0] not in (106, 107)]


@asynccontextmanager
async def bridged(port: Transport) -> AsyncIterator[Transport]:
    """A raw client of an RFC 2217 session that is bridged to a port."""
    async with (
        serialnet.listen("tcp://127.0.0.1:0") as listener,
        anyio.create_task_group() as tasks,
        serialnet.connect(listener.urls[0]) as client,
    ):
        bridge = Bridge(RFC2217Session(await listener.accept()), port)
        tasks.start_soon(bridge.run)
        yield client


async def read_all(client: Transport) -> bytes:
    wire = b""
    try:
        while True:
            wire += await client.receive()
    except anyio.EndOfStream:
        return wire


async def send_in_chunks(client: Transport, wire: bytes, rng: random.Random, most: int) -> None:
    while wire:
        size = rng.randint(1, most)
        await client.send(wire[:size])
        wire = wire[size:]
        if rng.random() < 0.05:
            await anyio.lowlevel.checkpoint()
    await client.send_eof()


@pytest.mark.parametrize("most", [7, 300, 100_000])
async def test_a_thousand_baud_changes_among_the_bytes(most: int) -> None:
    rng = random.Random(most)
    wire = bytearray()
    story: list[bytes | LineSettings] = []
    expected = []
    baudrate = 115200
    for number in range(COUNT):
        data = rng.choice([b"", b"\xff", b"\xff\xff\xf0", b"\r\n\0", rng.randbytes(rng.randint(0, 60))])
        wire += data.replace(b"\xff", b"\xff\xff")
        if data:
            story.append(data)
        # Never the same twice in a row, and plenty of 0xFF in them.
        baudrate = rng.choice([rate for rate in (9600, 255, 65535, 921600, 300 + number) if rate != baudrate])
        wire += command(SET_BAUDRATE, baudrate.to_bytes(4, "big"))
        story.append(LineSettings(baudrate))
        expected.append((SET_BAUDRATE + 100, baudrate.to_bytes(4, "big")))
    port = FakePort()
    async with bridged(port) as client, anyio.create_task_group() as tasks:
        tasks.start_soon(send_in_chunks, client, bytes(wire), rng, most)
        heard = await read_all(client)
    joined: list[object] = []
    for entry in story:
        if isinstance(entry, bytes) and joined and isinstance(last := joined[-1], bytes):
            joined[-1] = last + entry
        else:
            joined.append(entry)
    assert port.story == [*joined, "drain"]
    assert answers(heard) == expected


async def test_all_kinds_of_commands_keep_their_places() -> None:
    wire = (
        b"a"
        + command(SET_CONTROL, b"\x08")
        + b"b"
        + command(SET_CONTROL, b"\x0b")
        + command(SET_CONTROL, b"\x05")
        + b"c"
        + command(SET_CONTROL, b"\x06")
        + command(PURGE, b"\x02")
        + b"d"
        + command(SET_CONTROL, b"\x07")  # merely asks
        + command(SET_BAUDRATE, bytes(4))
        + b"e"
    )
    port = FakePort()
    async with bridged(port) as client:
        await client.send(wire)
        await client.send_eof()
        heard = await read_all(client)
    assert port.story == [
        b"a",
        Outputs(dtr=True),
        b"b",
        Outputs(dtr=True, rts=True),
        Outputs(dtr=True, rts=True, brk=True),
        b"c",
        Outputs(dtr=True, rts=True),
        Purge.UNSENT,
        b"de",
        "drain",
    ]
    assert answers(heard) == [
        (105, b"\x08"),
        (105, b"\x0b"),
        (105, b"\x05"),
        (105, b"\x06"),
        (112, b"\x02"),
        (105, b"\x08"),
        (101, (115200).to_bytes(4, "big")),
    ]


async def test_a_stuck_board_is_reset_from_afar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "STALLED_AFTER", 0.05)
    board = Board("esp32")
    port = SimulatedTransport(board)
    board.stalled = True
    async with serialnet.serve(port, "rfc2217://127.0.0.1:0") as server:
        url = server.urls[0].replace("rfc2217", "tcp")
        async with serialnet.connect(url) as client:
            await client.send(bytes(5000))
            for values, pause in (((9, 11, 9), 0.1), ((8, 12, 8), 0.05), ((9,), 0.05)):
                for value in values:
                    await client.send(command(SET_CONTROL, bytes((value,))))
                await anyio.sleep(pause)
            with anyio.fail_after(5):
                while not board.boots:
                    await port.pause()
    assert board.boots == [Mode.DOWNLOAD]
