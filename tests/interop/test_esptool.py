"""Stock esptool on shared boards: each command works at the first attempt, and the board restarts."""

from __future__ import annotations

import importlib.util
import random
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import anyio
import pytest

from serialnet.chips import Board, Mode
from serialnet.hooks import OnConnect, OnDisconnect

from .matrix import TOOLS, shows
from .tools import ABREAST, Served, python, served, times, until

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("esptool") is None, reason="esptool is not installed"
)

# 20 of 20, or each once; a cell takes half a minute, nearly all of it pyserial's pauses.
ROUNDS = times(1, 20)
BACKENDS: list[Any] = ["asyncio", "trio", ("asyncio", {"use_uvloop": True})]

CHIP_IDS = {"esp32": 0, "esp32s2": 2, "esp32c3": 5}
OFFSETS = {"esp32": 0x1000, "esp32s2": 0x1000, "esp32c3": 0}
SIZE = 12_000


def image(chip: str) -> bytes:
    """An application that esptool takes for one, and the board starts."""
    header = bytes([0xE9, 1, 2, 0x20]) + bytes(8) + CHIP_IDS[chip].to_bytes(2, "little") + bytes(10)
    name = b"serialnet-app:interop\0"
    return header + name + random.Random(chip).randbytes(SIZE - len(header) - len(name))


@dataclass(frozen=True)
class Cell:
    """One command of esptool's on one board."""

    command: str
    query: str = ""
    chip: str = "esp32"
    capacitor: float = 1e-6
    no_stub: bool = False
    usb_jtag: bool = False
    before: str = "default-reset"
    boots: tuple[Mode, ...] = (Mode.DOWNLOAD, Mode.APPLICATION)

    async def run(self, listen: str, directory: Path) -> None:
        board = Board(self.chip, capacitor=self.capacitor, usb_jtag=self.usb_jtag)
        if self.command in ("verify-flash", "read-flash"):
            board.flash.write(OFFSETS[self.chip], image(self.chip))
        (directory / "image.bin").write_bytes(image(self.chip))
        # What carries no lines has them moved by hooks.
        hooks = [OnConnect("esp-bootloader"), OnDisconnect("esp-reset")] if listen.startswith("tcp") else []
        async with served(board, listen=listen, hooks=hooks) as shared:
            await self._flash(shared, directory)
            # The server counts a session's bytes when that is over, its hooks included.
            await until(lambda: board.mode is not Mode.RESET and shared.server.stats.bytes_to_port > 0)
        assert tuple(board.boots) == self.boots, self
        assert board.mode is Mode.APPLICATION

    async def _flash(self, shared: Served, directory: Path) -> None:
        offset = hex(OFFSETS[self.chip])
        arguments = {
            "write-flash": [offset, "image.bin"],
            "verify-flash": [offset, "image.bin"],
            "read-flash": [offset, str(SIZE), "read.bin"],
        }
        url = shared.url.replace("tcp:", "socket:") + self.query
        esptool = await python(
            *("-m", "esptool", "--port", url, "--connect-attempts", "1", "--before", self.before),
            *(["--no-stub"] if self.no_stub else []),
            *(self.command, *arguments.get(self.command, [])),
            directory=directory,
            timeout=120,
        )
        assert esptool.status == 0, esptool
        assert ("Stub flasher running" in esptool.output) is not self.no_stub, esptool
        match self.command:
            case "chip-id":
                assert "MAC:" in esptool.output
            case "flash-id":
                assert "Detected flash size: 4MB" in esptool.output
            case "write-flash":
                assert shared.board.flash.read(OFFSETS[self.chip], SIZE) == image(self.chip)
            case "verify-flash":
                assert "erification successful" in esptool.output
            case "read-flash":
                assert (directory / "read.bin").read_bytes() == image(self.chip)


COMMANDS = [
    Cell("chip-id"),
    Cell("flash-id"),
    Cell("write-flash"),
    Cell("write-flash", no_stub=True),
    Cell("verify-flash"),
    Cell("read-flash"),
]


async def run_cells(cells: list[Cell], listen: str, directory: Path) -> None:
    room = anyio.Semaphore(ABREAST)

    async def run(cell: Cell, own: Path) -> None:
        async with room:
            await anyio.Path(own).mkdir()
            await cell.run(listen, own)

    async with anyio.create_task_group() as tasks:
        for number, cell in enumerate(cells):
            tasks.start_soon(run, cell, directory / str(number))


def rfc2217_cells() -> list[Cell]:
    cells = [
        Cell(cell.command, query, capacitor=capacitor, no_stub=cell.no_stub)
        for query, capacitor, cell in product(("", "?ign_set_control"), (1e-6, 1e-7), COMMANDS)
    ]
    cells += [
        Cell("write-flash", chip="esp32s2"),
        Cell("write-flash", chip="esp32c3", usb_jtag=True, before="usb-reset"),
        # Its USB-Serial-JTAG unit does not show from afar: esptool plays the usual sequence, whose
        # first step restarts such a chip.
        Cell(
            "write-flash",
            chip="esp32c3",
            usb_jtag=True,
            boots=(Mode.APPLICATION, Mode.DOWNLOAD, Mode.APPLICATION),
        ),
    ]
    return cells


@shows(TOOLS["esptool"])
@pytest.mark.timeout(times(200, 7200))
@pytest.mark.parametrize(
    ("anyio_backend", "turn"),
    list(zip(BACKENDS, range(3), strict=True)),
    ids=["asyncio", "trio", "uvloop"],
)
async def test_rfc2217(anyio_backend: object, turn: int, tmp_path: Path) -> None:
    # Each cell runs on one of the event loops in each round, and the loops take turns.
    cells = [
        cell
        for round_ in range(ROUNDS)
        for number, cell in enumerate(rfc2217_cells())
        if (round_ + number + number // 3) % 3 == turn
    ]
    await run_cells(cells, "rfc2217://127.0.0.1:0", tmp_path)


@pytest.mark.timeout(times(120, 3600))
@pytest.mark.parametrize("anyio_backend", BACKENDS, ids=["asyncio", "trio", "uvloop"])
async def test_socket_with_hooks_that_move_the_lines(anyio_backend: object, tmp_path: Path) -> None:
    await run_cells(COMMANDS * ROUNDS, "tcp://127.0.0.1:0", tmp_path)
