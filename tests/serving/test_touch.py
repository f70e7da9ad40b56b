"""The 1200-baud touch: boards that become another USB device when a client sets 1200 baud and leaves."""

from __future__ import annotations

import argparse
import termios
from importlib.util import find_spec
from pathlib import Path

import pytest

import serialnet
from serialnet import ClientLeft, LineError, Lost, OpenError, Outputs, Restored
from serialnet.chips import Board, Mode
from serialnet.cli import reset
from serialnet.testing.usb import UsbSocket
from serialnet.transports import usb
from serialnet.wire import slip
from serialnet.wire.patience import SYNC

from ..board_system import UsbSystem
from ..interop.test_esptool import OFFSETS, SIZE, image
from ..interop.tools import python, until

LOADER = 0x0002
BOTH_ON = termios.TIOCM_DTR | termios.TIOCM_RTS
PORT = "usb://303a"


def board() -> Board:
    return Board("esp32s2", reenumerate=True, touch=True)


OPEN_AND_CLOSE = """
import sys, time, serial
url, baudrate, drop, text = sys.argv[1:]
with serial.serial_for_url(url, baudrate=int(baudrate), timeout=5) as port:
    if text:
        port.write(text.encode())
        assert port.read(len(text)) == text.encode()
    if drop == "True":
        port.dtr = False
    time.sleep(0.05)
"""


async def open_and_close(url: str, baudrate: int = 1200, *, drop: bool = False, send: str = "") -> None:
    """What uploaders do to touch a board; ``drop`` is the manner of PlatformIO and the Arduino IDE."""
    pyserial = await python("-c", OPEN_AND_CLOSE, url, str(baudrate), str(drop), send)
    assert pyserial.status == 0, pyserial


async def is_in_loader(socket: UsbSocket) -> None:
    await until(lambda: [port.pid for port in socket.ports] == [LOADER])
    assert socket.board.boots == [Mode.DOWNLOAD]


@pytest.mark.parametrize("drop", [False, True])
async def test_a_touch_and_then_esptool(system: UsbSystem, drop: bool, tmp_path: Path) -> None:
    (tmp_path / "image.bin").write_bytes(image("esp32s2"))
    async with (
        system.plugged_in(board()) as socket,
        serialnet.serve(PORT, "rfc2217://127.0.0.1:0", "tcp://127.0.0.1:0") as server,
        server.events() as events,
    ):
        await open_and_close(server.urls[0], drop=drop)
        while not isinstance(await anext(events), ClientLeft):
            pass
        assert [port.pid for port in socket.ports] == [LOADER]  # whoever comes next is not kept waiting
        esptool = await python(
            *("-m", "esptool", "--port", server.urls[1].replace("tcp", "socket"), "--connect-attempts", "1"),
            *("--before", "no-reset", "--after", "no-reset"),
            *("write-flash", hex(OFFSETS["esp32s2"]), "image.bin"),
            directory=tmp_path,
            timeout=120,
        )
        assert esptool.status == 0, esptool
        assert socket.board.flash.read(OFFSETS["esp32s2"], SIZE) == image("esp32s2")
        assert server.stats.losses == 1


async def test_a_session_goes_on_in_the_loader_and_does_not_touch_it(system: UsbSystem) -> None:
    async with (
        system.plugged_in(board()) as socket,
        serialnet.serve(PORT, "rfc2217://127.0.0.1:0") as server,
        server.events() as events,
        serialnet.connect(server.urls[0]) as port,
    ):
        assert port.line is not None
        await port.line.configure(serialnet.LineSettings(1200))
        await port.line.set_outputs(dtr=False)
        while not isinstance(await anext(events), Lost):
            pass
        assert isinstance(await anext(events), Restored)
        await is_in_loader(socket)
        log = b""
        while b"waiting for download" not in log:
            log += await port.receive()
        assert socket.board.settings.baudrate == 115200
        assert socket.board.outputs == Outputs(dtr=True, rts=True)


async def test_through_a_pseudo_terminal(system: UsbSystem) -> None:
    async with (
        system.plugged_in(board()) as socket,
        serialnet.serve(PORT, "rfc2217://127.0.0.1:0") as server,
        serialnet.serve(server.urls[0], "pty:", auto_reset=False) as attached,
        attached.events() as events,
    ):
        await open_and_close(serialnet.Endpoint.parse(attached.urls[0]).path)
        await is_in_loader(socket)
        while not isinstance(await anext(events), ClientLeft):
            pass
        await until(lambda: socket.board.settings.baudrate == 115200)
        await until(lambda: socket.board.outputs == Outputs(dtr=True, rts=True))


async def test_through_a_link(system: UsbSystem) -> None:
    async with (
        system.plugged_in(board()) as socket,
        serialnet.link("listen:rfc2217://127.0.0.1:0", PORT) as link,
    ):
        await open_and_close(link.urls[0])
        await is_in_loader(socket)


async def test_by_a_borrower(system: UsbSystem) -> None:
    async with (
        system.plugged_in(board()) as socket,
        serialnet.serve(PORT, "tcp://127.0.0.1:0", "rfc2217://127.0.0.1:0?role=borrow") as server,
        serialnet.connect(server.urls[0]) as monitor,
    ):
        await open_and_close(server.urls[1])
        await is_in_loader(socket)
        await monitor.send(slip.encode(SYNC))  # its session goes on, with the loader
        said = b""
        while b"\xc0\x01\x08" not in said:
            said += await monitor.receive()
        assert socket.board.settings.baudrate == 115200
        assert server.stats.losses == 1


@pytest.mark.skipif(find_spec("nordicsemi") is None, reason="adafruit-nrfutil is not installed")
async def test_an_uploader_that_touches(system: UsbSystem, tmp_path: Path) -> None:
    (tmp_path / "app.bin").write_bytes(bytes(512))
    nrfutil = "-m", "nordicsemi", "dfu"
    made = await python(
        *(*nrfutil, "genpkg", "--dev-type", "0x0052", "--application", "app.bin", "app.zip"),
        directory=tmp_path,
    )
    assert made.status == 0, made
    async with (
        system.plugged_in(board()) as socket,
        serialnet.serve(PORT, "pty:") as server,
    ):
        device = serialnet.Endpoint.parse(server.urls[0]).path
        # What it then says is not for the loader of this chip.
        await python(
            *(*nrfutil, "serial", "--package", "app.zip", "--port", device, "--touch", "1200"),
            directory=tmp_path,
        )
        await is_in_loader(socket)
        assert server.stats.losses == 1
        await until(lambda: server.stats.bytes_to_port > 0)


async def test_work_at_1200_baud_is_no_touch(system: UsbSystem) -> None:
    async with (
        system.plugged_in(board()) as socket,
        serialnet.serve(PORT, "rfc2217://127.0.0.1:0") as server,
    ):
        await open_and_close(server.urls[0], send="a meter is read")
        await open_and_close(server.urls[0], baudrate=9600)
        assert socket.board.boots == []
        assert set(system.driven) == {BOTH_ON}  # not one edge


async def test_it_can_be_switched_off(system: UsbSystem) -> None:
    async with (
        system.plugged_in(board()) as socket,
        serialnet.serve(PORT, "rfc2217://127.0.0.1:0", touch=False) as server,
    ):
        await open_and_close(server.urls[0])
        await open_and_close(server.urls[0], baudrate=9600)
        assert socket.board.boots == []
        assert set(system.driven) == {BOTH_ON}


def options(url: str) -> argparse.Namespace:
    return argparse.Namespace(url=url, sequence=None, bootloader=False, touch=True)


async def test_the_command_tells_what_it_is_then(
    system: UsbSystem, capsys: pytest.CaptureFixture[str]
) -> None:
    async with system.plugged_in(board()) as socket:
        assert await reset.run(options(PORT)) == 0
        await is_in_loader(socket)
        assert capsys.readouterr().out == f"the board is {socket.ports[0].url} (303a:0002) now\n"
        with pytest.raises(LineError, match="did not restart: it may not know the 1200-baud touch"):
            await reset.run(options(PORT))


async def test_the_command_does_not_wait_for_ever(system: UsbSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reset, "COMES_BACK_WITHIN", 0)
    async with system.plugged_in(board()):
        with pytest.raises(OpenError, match="no such device is plugged in"):
            await reset.run(options(PORT))


async def test_the_command_tells_of_a_disk(
    system: UsbSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(usb, "SYSFS", tmp_path)
    (tmp_path / "1-1:1.0").mkdir()
    (tmp_path / "1-1:1.0" / "bInterfaceClass").write_text("08\n")
    async with system.plugged_in(board()):
        assert await reset.run(options(PORT)) == 0
        assert "is there as mass storage only" in capsys.readouterr().out


async def test_the_command_through_a_network(system: UsbSystem) -> None:
    async with (
        system.plugged_in(board()) as socket,
        serialnet.serve(PORT, "rfc2217://127.0.0.1:0") as server,
    ):
        command = await python("-m", "serialnet", "reset", server.urls[0], "--touch")
        assert (command.status, command.output, command.errors) == (0, "", "")
        await is_in_loader(socket)
        assert socket.board.settings.baudrate == 115200
