"""Real esptool on each simulated board, over a bare TCP port."""

import importlib.util
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from serialnet.chips import Board, Mode

from .tcp_board import enter_download, served

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("esptool") is None, reason="esptool is not installed"
)

IMAGE = bytes([0xE9]) + bytes(31) + b"serialnet-app:flashed\0" + random.Random(1).randbytes(20_000)


class Esptool:
    """Runs esptool in a directory, on a board that is in its loader already."""

    def __init__(self, url: str, directory: Path) -> None:
        self._command = [sys.executable, "-m", "esptool", "-p", url, "--before", "no-reset"]
        self._directory = directory

    def __call__(self, *arguments: str) -> str:
        run = subprocess.run(
            [*self._command, *arguments],
            cwd=self._directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        assert run.returncode == 0, run.stdout
        return run.stdout


@pytest.mark.parametrize(
    ("chip", "title", "mac", "bootloader"),
    [
        ("esp32", "ESP32-D0WDQ6", "24:0a:c4:00:00:32", 0x1000),
        ("esp32s2", "ESP32-S2", "7c:df:a1:00:00:52", 0x1000),
        ("esp32c3", "ESP32-C3", "84:f7:f3:00:00:c3", 0x0),
    ],
)
def test_flashing(chip: str, title: str, mac: str, bootloader: int, tmp_path: Path) -> None:
    (tmp_path / "image.bin").write_bytes(IMAGE)
    board = Board(chip)
    now = time.monotonic()
    board.advance(enter_download(board, now - 1))
    board.data_to_send()
    with served(board) as url:
        esptool = Esptool(url, tmp_path)

        rom = ("--after", "no-reset", "--no-stub")
        told = esptool(*rom, "flash-id")
        assert title in told
        assert mac in told
        assert "Detected flash size: 4MB" in told
        esptool(*rom, "-b", "460800", "write-flash", "0x20000", "image.bin")
        assert board.baudrate == pytest.approx(460800, rel=0.001)
        assert board.flash.read(0x20000, len(IMAGE)) == IMAGE
        esptool(*rom, "verify-flash", "0x20000", "image.bin")
        esptool(*rom, "read-flash", "0x20000", "1000", "read.bin")
        assert (tmp_path / "read.bin").read_bytes() == IMAGE[:1000]
        assert board.mode is Mode.DOWNLOAD

        stub = ("--after", "no-reset-stub")
        assert "Stub flasher running" in esptool(*stub, "chip-id")
        esptool(*stub, "-b", "921600", "write-flash", "--force", hex(bootloader), "image.bin")
        assert board.baudrate == 921600
        assert board.flash.read(bootloader, len(IMAGE)) == IMAGE
        esptool(*stub, "verify-flash", hex(bootloader), "image.bin")
        esptool(*stub, "read-flash", hex(bootloader), str(len(IMAGE)), "read.bin")
        assert (tmp_path / "read.bin").read_bytes() == IMAGE
        esptool(*stub, "erase-region", "0x20000", "0x2000")
        assert board.flash.read(0x20000, 0x3000) == b"\xff" * 0x2000 + IMAGE[0x2000:0x3000]

        # From stub to ROM to the firmware that was just written.
        esptool("--after", "no-reset", "chip-id")
        esptool("--after", "soft-reset", "--no-stub", "chip-id")
    board.advance(time.monotonic() + 1)
    assert board.boots == [Mode.DOWNLOAD, Mode.DOWNLOAD, Mode.APPLICATION]
    assert b"serialnet-app:flashed\r\n" in board.data_to_send()


def test_erasing_all(tmp_path: Path) -> None:
    board = Board("esp32")
    board.flash.write(0x3FF000, b"old")
    now = time.monotonic()
    board.advance(enter_download(board, now - 1))
    board.data_to_send()
    with served(board) as url:
        Esptool(url, tmp_path)("--after", "no-reset-stub", "erase-flash")
    assert board.flash.read(0, board.flash.size) == b"\xff" * board.flash.size
