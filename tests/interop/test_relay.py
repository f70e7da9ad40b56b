"""Stock esptool, on the relay's machine, flashes a board that has dialled in: at the first attempt."""

from __future__ import annotations

from pathlib import Path

import pytest

import serialnet
from serialnet.chips import Board, Mode
from serialnet.hooks import OnConnect, OnDisconnect
from serialnet.transports.sim import SimulatedTransport

from .test_esptool import OFFSETS, SIZE, image
from .tools import python, times, until

pytest.importorskip("esptool")

TOKEN = "a token of the tests'"


@pytest.mark.timeout(times(120, 3600))
@pytest.mark.parametrize("scheme", ["rfc2217", "socket"])
async def test_esptool_through_an_exposed_port(scheme: str, tmp_path: Path) -> None:
    (tmp_path / "image.bin").write_bytes(image("esp32"))
    board = Board("esp32")
    layers, hooks = ("rfc2217+relay", []) if scheme == "rfc2217" else ("relay", RESETS)
    async with (
        serialnet.relay("tcp://127.0.0.1:0", tokens=TOKEN, expose={"lab": "tcp://127.0.0.1:0"}) as relay,
        SimulatedTransport(board) as port,
        serialnet.serve(
            port, f"{relay.urls[0].replace('tcp', layers)}/lab?token={TOKEN}", hooks=hooks
        ) as server,
    ):
        for round_ in range(times(1, 50)):
            board.flash.write(OFFSETS["esp32"], b"\xff" * SIZE)
            boots = len(board.boots)
            esptool = await python(
                *("-m", "esptool", "--port", relay.exposed["lab"][0].replace("tcp", scheme)),
                *("--connect-attempts", "1", "write-flash", hex(OFFSETS["esp32"]), "image.bin"),
                directory=tmp_path,
                timeout=100,
            )
            assert esptool.status == 0, esptool
            assert board.flash.read(OFFSETS["esp32"], SIZE) == image("esp32")
            # The board's end hears that its client has gone, and only then plays what is to come after that.
            await until(lambda boots=boots: len(board.boots) == boots + 2)  # type: ignore[misc]
            assert tuple(board.boots[-2:]) == (Mode.DOWNLOAD, Mode.APPLICATION)
            assert relay.stats.sessions == server.stats.sessions == round_ + 1


RESETS = [OnConnect("esp-bootloader"), OnDisconnect("esp-reset")]
