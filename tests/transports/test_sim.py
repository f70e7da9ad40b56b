"""``sim://``: a simulated board as a transport."""

from __future__ import annotations

import random

import anyio
import pytest

import serialnet
from serialnet import (
    EndpointError,
    InputsChanged,
    LineErrors,
    LineSettings,
    LineTimeoutError,
    Lost,
    Outputs,
    Purge,
    TransportAttribute,
    resets,
)
from serialnet.chips import Board, Mode
from serialnet.transports import sim
from serialnet.transports.sim import SimulatedTransport


async def test_opening_one() -> None:
    async with serialnet.connect("sim://esp32?baudrate=9600&rts=off&capacitor=1e-7") as port:
        assert isinstance(port, SimulatedTransport)
        assert port.line.outputs == Outputs(dtr=True)
        assert port.line.settings == LineSettings(9600)
        assert port.extra(TransportAttribute.url) == "sim://esp32"
        assert not port.can_send_eof
        with pytest.raises(NotImplementedError, match="half-close"):
            await port.send_eof()
        assert port.board.boots == []


@pytest.mark.parametrize("paced", [False, True])
async def test_cancelled_receives_and_sends_lose_nothing(paced: bool) -> None:
    board = Board("esp32", pace=paced)
    port = SimulatedTransport(board)
    if paced:
        board._uart = LineSettings(10_000_000)
        await port.line.configure(LineSettings(10_000_000))
    rng = random.Random(1)
    data = rng.randbytes(100_000)
    received = bytearray()

    async def send() -> None:
        sent = 0
        while sent < len(data):
            with anyio.move_on_after(rng.choice([0, 0.0001, 0.1])):
                sent += await port.send_some(data[sent : sent + rng.randrange(1, 5000)])

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send)
            while len(received) < len(data):
                with anyio.move_on_after(rng.choice([0, 0.0001, 0.1])):
                    received += await port.receive(rng.randrange(1, 5000))
    assert received == data


async def test_a_stuck_board_takes_nothing_until_it_does() -> None:
    board = Board("esp32")
    port = SimulatedTransport(board)
    board.stalled = True
    with anyio.move_on_after(0.05) as scope:
        await port.send_some(b"x")
    assert scope.cancelled_caught
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(port.send, b"echo")
        await anyio.wait_all_tasks_blocked()
        board.stalled = False
        assert await port.receive() == b"echo"


async def test_settings_wait_for_the_bytes_before_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sim, "DRAIN_TIMEOUT", 0.05)
    board = Board("esp32", pace=True)
    port = SimulatedTransport(board)
    await port.send(b"123456789")
    assert await port.line.configure(LineSettings(9600)) == LineSettings(9600)
    assert board.unsent == 0
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(port.line.configure, LineSettings(115200))
    await port.line.configure(LineSettings(1))
    await port.send(b"this takes for ever")
    with pytest.raises(LineTimeoutError, match="took none of"):
        await port.line.configure(LineSettings(115200))
    assert port.line.settings == LineSettings(1)
    await port.line.purge(Purge.UNSENT)
    assert await port.line.configure(LineSettings(115200)) == LineSettings(115200)


async def test_the_line() -> None:
    async with serialnet.connect("sim://esp32") as port:
        assert isinstance(port, SimulatedTransport)
        async with port.line.events() as events:
            first = await anext(events)
            assert isinstance(first, InputsChanged)
            assert first.before == first.after == await port.line.get_inputs()
            port.board.add_errors(LineErrors(overrun=2))
            assert await anext(events) == LineErrors(overrun=2)
            await resets.enter_bootloader(port.line)
            assert port.board.boots == [Mode.DOWNLOAD]
            assert b"waiting for download" in await port.receive()
        await port.line.set_outputs(brk=True)
        assert port.board.breaks == 1


async def test_a_board_that_enumerates_anew_has_gone() -> None:
    async with serialnet.connect("sim://esp32s2?reenumerate") as port:
        assert isinstance(port, SimulatedTransport)
        line = port.line
        await line.set_outputs(dtr=False, rts=True)
        async with line.events() as events:
            await anext(events)
            with pytest.raises(anyio.BrokenResourceError, match="gone"):
                await resets.play(line, "U1,0|W0.05|U0,0")
            assert isinstance(await anext(events), Lost)
        with pytest.raises(anyio.BrokenResourceError, match="gone"):
            await port.receive()
        with pytest.raises(anyio.BrokenResourceError, match="gone"):
            await port.send(b"x")


async def test_closing() -> None:
    port = SimulatedTransport(Board("esp32"))

    async def receive() -> None:
        with pytest.raises(anyio.ClosedResourceError):
            await port.receive()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(receive)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(anyio.BusyResourceError):
            await port.receive()
        await port.aclose()
    await port.aclose()
    for call in (port.send(b"x"), port.line.get_inputs(), port.line.set_outputs(dtr=True), port.line.drain()):
        with pytest.raises(anyio.ClosedResourceError):
            await call


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sim://esp99", "chip must be one of"),
        ("sim://esp32?flash_size=3", "flash_size"),
        ("sim://esp32?capacitor=1", "capacitor must be"),
        ("sim://esp32?reenumerate", "only an esp32s2"),
    ],
)
async def test_boards_that_there_are_not(url: str, message: str) -> None:
    with pytest.raises(EndpointError, match=message):
        await serialnet.connect(url)
