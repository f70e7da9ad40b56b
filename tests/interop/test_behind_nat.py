"""A board behind NAT that changes its name whenever it restarts, flashed from a public server."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from serialnet.chips import Board, Mode
from serialnet.testing.usb import UsbSocket, usb_socket

from .test_esptool import OFFSETS, SIZE, image
from .tools import Program, python, running, times, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="simulated USB devices need Linux")
pytest.importorskip("esptool")

TOKEN = "a-token-of-the-tests"
MACHINE = str(Path(__file__).with_name("machine.py"))


@pytest.fixture
def anyio_backend() -> str:
    # The command line has an event loop of its own, in other processes.
    return "asyncio"


@dataclass
class Story:
    """All that runs, from the first flash to the last."""

    socket: UsbSocket
    programs: list[Program]
    urls: list[str]
    """Where esptool reaches the board, on the server: a link, and the relay's own port."""

    async def flash(self, url: str, attempts: int, directory: Path) -> None:
        board = self.socket.board
        board.flash.erase(0, 0x10000)
        board.boots.clear()
        esptool = await python(
            *("-m", "esptool", "--port", url, "--connect-attempts", str(attempts)),
            *("write-flash", hex(OFFSETS["esp32s2"]), "image.bin"),
            directory=directory,
            timeout=120,
        )
        assert esptool.status == 0, (esptool, [program.errors for program in self.programs])
        assert board.flash.read(OFFSETS["esp32s2"], SIZE) == image("esp32s2")
        await until(lambda: board.boots == [Mode.DOWNLOAD, Mode.APPLICATION])
        await until(lambda: board.connected and self.socket.port is not None)


@asynccontextmanager
async def story(scheme: str, shim: str, directory: Path) -> AsyncIterator[Story]:
    (directory / "image.bin").write_bytes(image("esp32s2"))
    (directory / "tokens.txt").touch(0o600)
    (directory / "tokens.txt").write_text(f"lab {TOKEN}\n")
    layers, hooks = "rfc2217+relay", list[str]()
    if scheme == "socket":
        layers, hooks = "relay", ["--on-connect", "esp-bootloader", "--on-disconnect", "esp-reset"]
    async with (
        usb_socket(Board("esp32s2", reenumerate=True)) as socket,
        running(
            *("-m", "serialnet", "relay", "--listen", "tcp://127.0.0.1:0"),
            *("--tokens", "tokens.txt", "--expose", "lab=tcp://127.0.0.1:0"),
            directory=directory,
            count=2,
        ) as relay,
    ):
        public, exposed = relay.urls
        place = f"{public.replace('tcp', layers)}/lab"
        token = {"SERIALNET_TOKEN": TOKEN}
        async with (
            running(
                *(MACHINE, str(socket.listing), "serve", "usb://303a:4001", "--listen", place, *hooks),
                directory=directory,
                environment={**token, "LD_PRELOAD": shim},
            ) as board,
            running(
                *("-m", "serialnet", "link", "--assist", "esptool"),
                *(f"listen:{'tcp' if scheme == 'socket' else scheme}://127.0.0.1:0", place),
                directory=directory,
                environment=token,
            ) as link,
        ):
            yield Story(
                socket,
                [relay, board, link],
                [url.replace("tcp", scheme) for url in (*link.urls, exposed)],
            )
            for program in (relay, board, link):
                assert program.process.returncode is None, program.errors
                assert "Traceback" not in program.errors


@pytest.mark.timeout(times(180, 7200))
@pytest.mark.parametrize(("scheme", "rounds"), [("rfc2217", times(1, 50)), ("socket", times(2, 50))])
async def test_each_flash_works_at_the_first_attempt(
    scheme: str, rounds: int, shim: str, tmp_path: Path
) -> None:
    async with story(scheme, shim, tmp_path) as it:
        names = {it.socket.ports[0].url}
        for round_ in range(rounds):
            # Nobody keeps esptool waiting at the relay's own port, where it may need more than one attempt to
            # connect: raw bytes reach the board when it is back, which is about when the first one is over.
            attempts = 7 if scheme == "socket" and round_ % 2 else 1
            await it.flash(it.urls[round_ % 2], attempts, tmp_path)
            names.add(it.socket.ports[0].url)
        assert it.socket.enumerations == 1 + 2 * rounds
        assert len(names) == 1 + rounds
