"""Packets that get lost without a word: the dead are noticed in time, and a device never shows it."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from .. import machines
from ..machines import FAR, Machines
from ..talker import Program as Talker
from ..talker import program
from .tools import SOAK, Program, running, until

if (reason := machines.reason_not_to()) is not None:
    pytest.skip(reason, allow_module_level=True)

pytestmark = pytest.mark.timeout(600 if SOAK else 120)

HASTY = str(Path(__file__).with_name("hasty.py"))
TOKEN = "a-token-of-the-tests"
# Seconds after which a peer that is silent counts as dead; by default, 60.
DEAD = 60 if SOAK else 3
# How long it may take from when the network is back: the longest interval between two attempts, an attempt
# that began just before, and what a busy machine adds.
BACK = 10 + 10 + 20
BUSY = 20


@pytest.fixture
def anyio_backend() -> str:
    # The command line has an event loop of its own, in other processes.
    return "asyncio"


@dataclass
class Lab:
    """A port far away and a device here, each with a program of its own."""

    machines: Machines
    talker: Talker
    attach: Program
    board: Program

    async def is_lost(self) -> None:
        """Wait until both ends have noticed."""
        await self.attach.says(r"lost .*\n\Z", DEAD + BUSY)
        await until(lambda: self.sessions_over == self.attach.errors.count("lost"), DEAD + BUSY)

    @property
    def sessions_over(self) -> int:
        return self.board.errors.count("no longer uses the port")

    async def comes_back(self) -> None:
        await self.machines.mend()
        await self.attach.says(r"is back\n\Z", BACK)
        await self.talker.is_through()


@asynccontextmanager
async def lab(leg: str, scheme: str, directory: Path) -> AsyncIterator[Lab]:
    """Set all up.

    :param leg: what is between the two machines: all, or one leg of a relay
    """
    environment = {"SERIALNET_TOKEN": TOKEN}
    async with AsyncExitStack() as stack:
        made = await stack.enter_async_context(machines.machines())

        async def run(within: list[str], *arguments: str, tells: str = r"^listening on (\S+)") -> Program:
            return await stack.enter_async_context(
                running(
                    *(HASTY, str(DEAD), *arguments),
                    directory=directory,
                    within=within,
                    environment=environment,
                    tells=tells,
                )
            )

        url = f"{scheme}://{FAR}:4000"
        at_board, at_device = made.far, made.near
        options = ["--insecure"]
        if leg != "direct":
            await run(made.far, "relay", "--listen", f"tcp://{FAR}:4500", "--insecure")
            url = f"{'rfc2217+relay' if scheme == 'rfc2217' else 'relay'}://{FAR}:4500/lab"
            options = []
        if leg == "board":
            at_board, at_device = at_device, at_board
        board = await run(at_board, "serve", "-v", "loop:", "--listen", url, *options)
        device = directory / "tty"
        attach = await run(at_device, "attach", url, str(device), tells=r"^attached \S+ at (\S+)")
        yield Lab(made, await stack.enter_async_context(program(device)), attach, board)
        for background in (board, attach):
            assert background.process.returncode is None
            assert "Traceback" not in background.errors


LEGS = [("direct", "rfc2217"), ("client", "tcp"), ("board", "rfc2217")]
OTHERS = [("direct", "tcp"), ("client", "rfc2217"), ("board", "tcp")]


@pytest.mark.parametrize(("leg", "scheme"), [*LEGS, *(OTHERS if SOAK else [])])
async def test_the_dead_are_noticed_in_time(leg: str, scheme: str, tmp_path: Path) -> None:
    async with lab(leg, scheme, tmp_path) as it:
        # nobody says anything
        await it.machines.cut()
        await it.is_lost()
        await it.comes_back()
        # bytes are on their way
        await it.machines.cut()
        await it.talker.send(20)
        await it.is_lost()
        await it.comes_back()
        # it is back before anybody is dead
        losses = it.attach.errors.count("lost")
        sent = it.talker.sent
        await it.machines.cut()
        await it.talker.send(20)
        await it.machines.mend()
        await it.talker.is_through()
        assert set(range(sent + 1, sent + 21)) <= set(it.talker.numbers)
        assert it.attach.errors.count("lost") == losses


async def test_a_peer_that_stops_without_closing(tmp_path: Path) -> None:
    async with lab("direct", "rfc2217", tmp_path) as it:
        it.board.process.send_signal(signal.SIGSTOP)
        await it.talker.send(20)
        await anyio.sleep(DEAD)
        it.board.process.send_signal(signal.SIGCONT)
        await it.talker.is_through()
        assert set(range(1, it.talker.sent + 1)) <= set(it.talker.numbers)
        assert "lost" not in it.attach.errors
