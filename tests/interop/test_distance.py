"""Stock esptool on boards far away: it flashes at the first attempt, and fails where the chip fails."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest
from typing_extensions import override

from serialnet import Bridge, Direction, Forward, Hook, link, serve
from serialnet.chips import Board, Mode
from serialnet.hooks import FlashAssist, OnConnect, OnDisconnect
from serialnet.wire import slip

from ..delay import Distance, distance
from .test_esptool import OFFSETS, image
from .tools import ABREAST, SOAK, python, served, until

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("esptool") is None, reason="esptool is not installed"),
    pytest.mark.timeout(7200 if SOAK else 180),
]

ROUND_TRIPS = [0, 20, 60, 100, 140, 180, 210, 260, 320, 450, 600]  # ms
SIZE = 256 << 10 if SOAK else 16 << 10


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # hooks, bridges and transports are tested on trio, too


class Silent(Hook):
    """At the board: the stub does not say that it is there.

    esptool waits for that as long as the connection lasts, on the device itself, too: it does not last.
    """

    patience = 2.0

    @override
    async def opened(self, bridge: Bridge) -> None:
        self.bridge = bridge

    @override
    def data(self, direction: Direction, view: memoryview) -> memoryview | None:
        said = self.altered(bytes(view)) if direction is Direction.B_TO_A else bytes(view)
        if said == view:
            return None
        self.deadline = anyio.current_time() + self.patience
        return memoryview(said)

    @override
    async def timeout(self, forward: Forward) -> None:
        self.bridge.stop("nothing comes any more")

    def altered(self, said: bytes) -> bytes:
        return said.replace(slip.encode(b"OHAI"), b"")


class Refusing(Silent):
    """At the board: the chip does not start the stub, and says so."""

    @override
    def altered(self, said: bytes) -> bytes:
        before, sign, answer = super().altered(said).partition(b"\xc0\x01\x06")
        return before + sign + (answer[:6] + b"\x01\x05" + answer[8:] if sign else b"")


class Mute(Silent):
    """At the board: the chip does not even answer when it is told to start the stub."""

    @override
    def altered(self, said: bytes) -> bytes:
        return super().altered(said).partition(b"\xc0\x01\x06")[0]


@dataclass(frozen=True)
class Run:
    """What esptool said, and over how many round trips."""

    status: int
    output: str
    turns: int


@dataclass(frozen=True)
class Way:
    """How esptool gets at a board that is far away.

    :param carries: what the long way carries: ``rfc2217`` or ``tcp``
    :param near: what esptool opens here: the URL by ``run``, a ``listener`` or a ``pty``; or, without
        serialnet at this end, ``nothing``
    """

    carries: str
    near: str
    assist: bool = True
    hooks: tuple[type[Hook], ...] = ()
    chip: str = "esp32"
    jitter: float = 0.2

    async def flash(
        self, round_trip: float, directory: Path, data: bytes | None = None, *more: str
    ) -> tuple[Run, Board]:
        """Write an image, at the first attempt."""
        data = data or image(self.chip)
        (directory / "image.bin").write_bytes(data)
        board = Board(self.chip)
        hooks: list[Hook] = [hook() for hook in self.hooks]
        if self.carries == "tcp" or self.near == "pty":
            hooks += [OnConnect("esp-bootloader"), OnDisconnect("esp-reset")]
        async with served(board, listen=f"{self.carries}://127.0.0.1:0", hooks=hooks) as shared:
            port = int(shared.url.rpartition(":")[2])
            async with distance(port, round_trip / 1000, self.jitter) as far:
                url = f"{self.carries}://127.0.0.1:{far.port}"
                async with self._near_end(url) as (opened, prefix, variables):
                    esptool = await self._esptool(
                        *(*prefix, sys.executable, "-m", "esptool"),
                        *("--port", opened, "--connect-attempts", "1", "--chip", self.chip),
                        *(["--before", "no-reset", "--after", "no-reset"] if self.near == "pty" else []),
                        *(*more, "write-flash", hex(OFFSETS[self.chip]), "image.bin"),
                        directory=directory,
                        variables=variables,
                        far=far,
                    )
            if esptool.status == 0:
                await until(lambda: board.mode is not Mode.RESET)
        return esptool, board

    @asynccontextmanager
    async def _near_end(self, url: str) -> AsyncIterator[tuple[str, list[str], dict[str, str]]]:
        here = [FlashAssist] if self.assist else []
        if self.near == "run":
            assist = [] if self.assist else ["--assist", "off"]
            yield url, [sys.executable, "-m", "serialnet", "run", *assist, "--"], {}
        elif self.near == "listener":
            async with link(f"listen:{self.carries}://127.0.0.1:0", url, hooks=here) as joined:
                yield joined.urls[0].replace("tcp:", "socket:"), [], {}
        elif self.near == "pty":
            async with serve(url, "pty:", hooks=here, auto_reset=False) as server:
                yield server.urls[0].removeprefix("pty://"), [], {}
        else:
            yield url.replace("tcp:", "socket:"), [], {}

    @staticmethod
    async def _esptool(*command: str, directory: Path, variables: Mapping[str, str], far: Distance) -> Run:
        with anyio.fail_after(600 if SOAK else 150):
            process = await anyio.run_process(
                command,
                stdin=subprocess.DEVNULL,
                stderr=subprocess.STDOUT,
                cwd=directory,
                check=False,
                env={**os.environ, **variables},
            )
        return Run(process.returncode, process.stdout.decode(), far.turns)

    async def check(self, round_trip: float, directory: Path) -> None:
        run, board = await self.flash(round_trip, directory)
        assert run.status == 0, (self, round_trip, run.output)
        assert "Stub flasher running" in run.output
        assert board.flash.read(OFFSETS[self.chip], len(image(self.chip))) == image(self.chip)


WAYS = [Way(carries, near) for carries in ("rfc2217", "tcp") for near in ("run", "listener", "pty")]
CELLS = (
    [(way, round_trip) for _ in range(10) for round_trip in ROUND_TRIPS for way in WAYS]
    if SOAK
    else [
        (Way("rfc2217", "run"), 140),
        (Way("rfc2217", "listener"), 140),
        (Way("tcp", "run"), 260),
        (Way("tcp", "listener"), 260),
        (Way("tcp", "pty"), 260),
        (Way("rfc2217", "pty"), 320),
        (Way("tcp", "run"), 600),
    ]
)


async def test_it_flashes_at_the_first_attempt_over_any_distance(tmp_path: Path) -> None:
    room = anyio.Semaphore(ABREAST)

    async def check(way: Way, round_trip: float, own: Path) -> None:
        async with room:
            await anyio.Path(own).mkdir()
            await way.check(round_trip, own)

    async with anyio.create_task_group() as tasks:
        for number, (way, round_trip) in enumerate(CELLS):
            tasks.start_soon(check, way, round_trip, tmp_path / str(number))


LIMITS = """
from esptool.loader import DEFAULT_CONNECT_ATTEMPTS, DEFAULT_TIMEOUT, MEM_END_ROM_TIMEOUT, SYNC_TIMEOUT
print(SYNC_TIMEOUT, MEM_END_ROM_TIMEOUT, DEFAULT_TIMEOUT, DEFAULT_CONNECT_ATTEMPTS)
"""


@pytest.mark.parametrize(
    ("assist", "expected"),
    [
        ("auto", [(0.5, 2), (0.75, 0.75), (3.4, 5), (2, 2)]),
        ("off", [(0.1, 0.1), (0.75, 0.75), (3, 3), (2, 2)]),
    ],
)
async def test_esptools_own_settings_follow_the_round_trip_and_its_users_come_first(
    assist: str, expected: list[tuple[float, float]], tmp_path: Path
) -> None:
    (tmp_path / "setup.cfg").write_text("[esptool]\nmem_end_rom_timeout = 0.75\nconnect_attempts = 2\n")
    async with served() as shared, distance(int(shared.url.rpartition(":")[2]), 0.2, 0) as far:
        url = f"rfc2217://127.0.0.1:{far.port}"
        run = await python(
            *("-m", "serialnet", "run", "--assist", assist, "--"),
            *(sys.executable, "-c", LIMITS, "--port", url, "flash-id"),
            directory=tmp_path,
        )
    assert run.errors == ""
    limits = [float(word) for word in run.output.split()]
    assert all(least <= limit <= most for limit, (least, most) in zip(limits, expected, strict=True)), limits


async def test_a_port_whose_transport_imports_pyserial_itself_is_none_to_wait_for(tmp_path: Path) -> None:
    missing = ("--port", "serial:///dev/no-such-port", "flash-id")
    program = (sys.executable, "-c", "import esptool; print('imported')")
    run = await python("-m", "serialnet", "run", "--", *program, *missing, directory=tmp_path)
    assert (run.output, run.errors) == ("imported\n", "")


async def test_one_connection_is_made_to_measure_and_to_flash(tmp_path: Path) -> None:
    async with served() as shared, distance(int(shared.url.rpartition(":")[2]), 0.1, 0) as far:
        url = f"rfc2217://127.0.0.1:{far.port}"
        run = await python(
            *("-m", "serialnet", "run", "--port", url, "--"),
            *(sys.executable, "-m", "esptool", "--connect-attempts", "1", "flash-id"),
            directory=tmp_path,
        )
        assert run.status == 0, run
        (file,) = re.findall(r"Loaded custom configuration from (\S+)", run.output)
        assert not await anyio.Path(file).exists()
        run = await python(
            *("-m", "serialnet", "run", "--port", url, "--"),
            *(sys.executable, "-m", "esptool", "elf2image", "--help"),
            directory=tmp_path,
        )
        assert run.status == 0, run
    assert far.connections == 1


@pytest.mark.parametrize("near", ["run", "listener"])
async def test_without_the_assist_it_fails(near: str, tmp_path: Path) -> None:
    run, _ = await Way("tcp", near, assist=False, jitter=0).flash(230, tmp_path)
    assert run.status != 0
    assert "Failed to" in run.output


@pytest.mark.parametrize("hook", [Silent, Refusing, Mute])
@pytest.mark.parametrize("near", ["run", "listener"])
async def test_it_fails_when_the_stub_does_not_start(near: str, hook: type[Hook], tmp_path: Path) -> None:
    run, board = await Way("tcp", near, hooks=(hook,)).flash(140, tmp_path)
    assert run.status != 0
    assert "Running stub flasher" in run.output
    assert "Stub flasher running" not in run.output
    assert board.flash.read(OFFSETS["esp32"], 100) != image("esp32")[:100]


async def test_it_fails_when_nobody_is_in_the_loader(tmp_path: Path) -> None:
    run, _ = await Way("rfc2217", "run").flash(60, tmp_path, None, "--before", "no-reset")
    assert run.status != 0
    assert "Failed to connect" in run.output


@pytest.mark.parametrize(
    ("carries", "more"),
    [
        ("tcp", 0),
        # To agree on RFC 2217 and on the settings, and for each pause of the resets at begin and end.
        ("rfc2217", 6),
    ],
)
async def test_run_uses_no_more_round_trips_than_a_raw_socket(
    carries: str, more: int, tmp_path: Path
) -> None:
    data = image("esp32")[:24] + os.urandom(SIZE - 24)
    # Of its own, esptool on a raw socket does not work so far away.
    (tmp_path / "esptool.cfg").write_text("[esptool]\nsync_timeout = 1.5\nmem_end_rom_timeout = 2\n")
    raw, _ = await Way("tcp", "nothing", jitter=0).flash(300, tmp_path, data)
    assert raw.status == 0, raw.output
    run, _ = await Way(carries, "run", jitter=0).flash(300, tmp_path, data)
    assert run.status == 0, run.output
    # On a busy machine a step may come so late that the answer to the one before has been heard.
    assert run.turns <= raw.turns + more + 1
