"""A network that is cut in every phase: the link comes back, and the program at the device never notices."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

import serialnet
from serialnet import Gap, Reconnect
from serialnet.bridge import bridge
from serialnet.serving import _guest
from serialnet.serving._throttle import Throttle
from serialnet.transports import relay as transports_relay
from serialnet.transports.loop import LoopTransport

from ..cuts import How, Network, network
from ..interop.tools import until
from ..talker import Program, program

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="uses inotify")

TOKEN = "a-token-of-the-tests"
SOON = Reconnect(0.01, 0.05)
FOR_EVER = Gap(timeout=float("inf"))
# IAC SB COM-PORT-OPTION SET-BAUDRATE
SET_BAUDRATE = b"\xff\xfa\x2c\x01"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "LINGER", 0.02)
    monkeypatch.setattr(transports_relay, "RECONNECT", SOON)
    monkeypatch.setattr(transports_relay, "HANDSHAKE_TIMEOUT", 0.5)
    monkeypatch.setattr(transports_relay, "SILENCE", 1.0)
    monkeypatch.setattr(Throttle, "blocks", lambda *_: False)  # it takes so many failures for guesses
    monkeypatch.setattr(_guest, "HEARTBEAT", 0.1)
    monkeypatch.setattr(_guest, "ANSWER", 0.2)


@dataclass
class Way:
    """A port far away, the network that leads there, and a program at a device here."""

    port: LoopTransport
    network: Network
    program: Program
    dials: bool
    """Whether it is this end that connects to the network, and not the port's."""

    async def lose(self) -> None:
        """Reset what stands."""
        before = self.network.connections
        self.network.cut(How.RESET)
        await until(lambda: self.network.connections > before)

    async def is_cut(self) -> None:
        with anyio.fail_after(20):
            await self.network.is_cut.wait()

    async def changes_settings(self, how: How) -> None:
        """Cut the network behind the command that asks for another baud rate."""
        baudrate = 9600 if self.port.line.settings.baudrate != 9600 else 19200
        self.network.cut_behind(SET_BAUDRATE, how, to_server=self.dials)
        self.program.set_baudrate(baudrate)
        await self.is_cut()
        if how is How.STALL:
            await until(lambda: self.program.baudrate != baudrate)  # it was refused, for want of an answer
        await self.comes_back()
        with anyio.fail_after(20):
            while self.port.line.settings.baudrate != baudrate:
                # A refusal shows, and what is granted is never forgotten.
                if self.program.baudrate != baudrate:
                    self.program.set_baudrate(baudrate)
                await anyio.sleep(0.01)

    async def comes_back(self) -> None:
        self.network.mend()
        await self.program.is_through()


@asynccontextmanager
async def way(near: str, leg: str, scheme: str, directory: Path) -> AsyncIterator[Way]:
    """Set all up.

    :param near: ``attach``, or a ``link``, which keeps ports only: what has a line
    :param leg: where the cuts are: before the server itself, or between a relay and one of the two
    """
    port = LoopTransport()
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        if leg == "direct":
            far = await enter(serialnet.serve(port, f"{scheme}://127.0.0.1:0"))
            cut = await enter(network(port_of(far.urls[0])))
            url = f"{scheme}://127.0.0.1:{cut.port}"
        else:
            relay = await enter(serialnet.relay("tcp://127.0.0.1:0", tokens=TOKEN))
            uncut = port_of(relay.urls[0])
            cut = await enter(network(uncut))
            layers = "rfc2217+relay" if scheme == "rfc2217" else "relay"
            urls = [f"{layers}://127.0.0.1:{number}/lab?token={TOKEN}" for number in (cut.port, uncut)]
            board, url = urls if leg == "board" else reversed(urls)
            await enter(serialnet.serve(port, board))
        if scheme == "rfc2217":
            url += f"{'&' if '?' in url else '?'}timeout=0.5"
        device = directory / "tty"
        pty = f"pty://{device}"
        if near == "attach":
            await enter(serialnet.serve(url, pty, gap=FOR_EVER, reconnect=SOON, auto_reset=False))
        else:
            await enter(serialnet.link(f"listen:{pty}", url, gap=FOR_EVER, reconnect=SOON))
        yield Way(port, cut, await enter(program(device)), leg != "board")


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


@pytest.mark.parametrize(("near", "scheme"), [("attach", "rfc2217"), ("attach", "tcp"), ("link", "rfc2217")])
@pytest.mark.parametrize("leg", ["direct", "client", "board"])
async def test_the_network_is_cut_in_every_phase(near: str, leg: str, scheme: str, tmp_path: Path) -> None:
    async with way(near, leg, scheme, tmp_path) as it:
        for how in How:
            # while it is dialled
            await it.lose()
            it.network.cut(how)
            before = it.network.connections
            await until(lambda before=before: it.network.connections > before)  # type: ignore[misc]
            await it.comes_back()
            # while the ends agree
            if (leg, scheme) != ("direct", "tcp"):
                for behind in (1, 5, 20, 60):  # bytes of the answer
                    it.network.cut_behind(behind, how, to_server=False)
                    it.network.mend()
                    await it.is_cut()
                    await it.comes_back()
            # while a command is answered
            if scheme == "rfc2217":
                await it.changes_settings(how)
            # while bytes are on their way
            for to_server in (True, False):
                it.network.cut_behind(100, how, to_server=to_server)
                await it.program.send(100)
                await it.is_cut()
                await it.comes_back()
        # it was only slow: nothing is lost
        sent = it.program.sent
        it.network.cut(How.STALL)
        await it.program.send(50)
        it.network.mend(resume=True)
        await until(lambda: it.program.numbers[-50:] == list(range(sent + 1, sent + 51)))
