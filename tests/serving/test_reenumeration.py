"""Boards that come back under another name, and cables that are pulled: the session goes on."""

from __future__ import annotations

import random
from contextlib import suppress
from functools import partial
from pathlib import Path

import anyio
import pytest

import serialnet
from serialnet import ClientConnected, ClientLeft, ClientRefused, Gap, GapPolicy, Lost, Restored
from serialnet.chips import Board, Mode
from serialnet.hooks import OnConnect, OnDisconnect
from serialnet.transports import usb

from ..board_system import UsbSystem
from ..interop.test_esptool import OFFSETS, SIZE, image
from ..interop.tools import python, times, until


def s2() -> Board:
    return Board("esp32s2", reenumerate=True)


@pytest.mark.parametrize("url", ["usb://303a:4001", "usb://?location=1-1", "the name that it has at first"])
async def test_a_board_restarts_under_another_name(system: UsbSystem, url: str) -> None:
    async with system.plugged_in(s2()) as socket:
        (first,) = socket.ports
        async with (
            serialnet.serve(first.url if " " in url else url, "rfc2217://127.0.0.1:0") as server,
            server.events() as events,
            serialnet.connect(server.urls[0]) as port,
        ):
            assert isinstance(await anext(events), ClientConnected)
            assert port.line is not None
            await port.line.configure(serialnet.LineSettings(460800))
            await serialnet.resets.enter_bootloader(port.line)
            assert isinstance(await anext(events), Lost)
            restored = await anext(events)
            assert isinstance(restored, Restored)
            (second,) = socket.ports
            assert restored.name == second.url
            assert first.url != second.url
            assert (first.pid, first.serial_number) != (second.pid, second.serial_number)
            log = b""
            while b"waiting for download" not in log:
                log += await port.receive()
            assert socket.board.boots == [Mode.DOWNLOAD]
            assert socket.board.settings.baudrate == 460800
            assert server.stats.losses == 1
            await serialnet.resets.reset(port.line)
            while b"Hello" not in log:
                log += await port.receive()
            assert socket.board.boots == [Mode.DOWNLOAD, Mode.APPLICATION]
            assert socket.enumerations == 3


ROUNDS = times(1, 50)


@pytest.mark.parametrize("scheme", ["rfc2217", "tcp"])
async def test_esptool_flashes_a_board_that_comes_and_goes(
    system: UsbSystem, scheme: str, tmp_path: Path
) -> None:
    (tmp_path / "image.bin").write_bytes(image("esp32s2"))
    hooks = [] if scheme == "rfc2217" else [OnConnect("esp-bootloader"), OnDisconnect("esp-reset")]
    async with (
        system.plugged_in(s2()) as socket,
        serialnet.serve("usb://303a:4001", f"{scheme}://127.0.0.1:0", hooks=hooks) as server,
    ):
        for _ in range(ROUNDS):
            socket.board.flash.erase(0, 0x10000)
            socket.board.boots.clear()
            esptool = await python(
                *("-m", "esptool", "--port", server.urls[0].replace("tcp:", "socket:")),
                *("--connect-attempts", "1", "write-flash", hex(OFFSETS["esp32s2"]), "image.bin"),
                directory=tmp_path,
                timeout=120,
            )
            assert esptool.status == 0, esptool
            assert socket.board.flash.read(OFFSETS["esp32s2"], SIZE) == image("esp32s2")
            await until(lambda: socket.board.boots == [Mode.DOWNLOAD, Mode.APPLICATION])
            await until(lambda: socket.board.connected and socket.port is not None)


async def test_signalling_a_loss_ends_the_session_and_not_the_server(system: UsbSystem) -> None:
    async with (
        system.plugged_in(s2()) as socket,
        serialnet.serve("usb://303a", "tcp://127.0.0.1:0", gap=Gap(GapPolicy.SIGNAL)) as server,
        server.events() as events,
    ):
        async with serialnet.connect(server.urls[0]) as client:
            assert isinstance(await anext(events), ClientConnected)
            await socket.unplug()
            with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await client.receive()
        assert isinstance(await anext(events), Lost)
        assert isinstance(await anext(events), ClientLeft)
        async with serialnet.connect(server.urls[0]) as client:
            refused = await anext(events)
            assert isinstance(refused, ClientRefused)
            assert "the port is gone" in refused.reason
        await socket.plug_in()
        assert isinstance(await anext(events), Restored)
        async with serialnet.connect(server.urls[0]) as client:
            await client.send(b"echo")
            assert await client.receive() == b"echo"


@pytest.mark.parametrize("url", ["usb://303a", "usb://?location=1-1", "the name that it has at first"])
async def test_a_board_that_comes_back_as_a_disk(
    system: UsbSystem,
    url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(usb, "SYSFS", tmp_path)
    async with system.plugged_in(s2()) as socket:
        (first,) = socket.ports
        async with (
            serialnet.serve(
                first.url if " " in url else url, "tcp://127.0.0.1:0", gap=Gap(GapPolicy.SIGNAL)
            ) as server,
            server.events() as events,
        ):
            await socket.unplug()
            assert isinstance(await anext(events), Lost)
            interface = tmp_path / "1-1:1.0"
            interface.mkdir()
            (interface / "bInterfaceClass").write_text("08\n")
            await until(lambda: "is not back: the board at 1-1 is there as mass storage only" in caplog.text)
            async with serialnet.connect(server.urls[0]):
                refused = await anext(events)
                assert isinstance(refused, ClientRefused)
                assert "mass storage only" in refused.reason
            await socket.plug_in()
            assert isinstance(await anext(events), Restored)
    assert caplog.text.count("mass storage only") == 2  # one of them for the client


def longer_than(data: bytearray, length: int) -> bool:
    return len(data) > length


CYCLES = times(6, 200)


async def test_cables_are_pulled_at_random_times(system: UsbSystem) -> None:
    """What the device took is echoed once and in order; nothing else comes."""
    chance = random.Random(1)
    async with (
        system.plugged_in(s2()) as socket,
        serialnet.serve("usb://303a", "rfc2217://127.0.0.1:0") as server,
        serialnet.connect(server.urls[0]) as port,
    ):
        line, received = port.line, bytearray()
        assert line is not None

        async def receive() -> None:
            while True:
                received.extend(await port.receive())

        async def send() -> None:
            for number in range(1 << 24):
                await port.send(b"%08d\n" % number)
                await anyio.sleep(0.0005)

        async def ask() -> None:
            while True:
                await line.get_inputs()
                await line.configure(serialnet.LineSettings(chance.choice([9600, 115200])))
                with suppress(serialnet.LineError):  # the gap may be longer than a drain waits
                    await line.drain()

        async with anyio.create_task_group() as tasks:
            for work in (receive, send, ask):
                tasks.start_soon(work)
            for _ in range(CYCLES):
                await anyio.sleep(chance.uniform(0, 0.05))
                await socket.unplug()
                await anyio.sleep(chance.uniform(0, 0.02))
                await socket.plug_in()
                await until(partial(longer_than, received, len(received) + 50))
            tasks.cancel_scope.cancel()
        assert server.stats.losses == CYCLES
    whole = [line for line in bytes(received).split(b"\n") if len(line) == 8]  # the others were cut
    assert whole == sorted(set(whole))
    assert len(whole) > CYCLES
