"""Records real programs on the wire: ``python -m tests.wire.record [NAME...]``, see ``transcripts/``."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path

import anyio
import anyio.to_thread
import serial

from serialnet import LineSettings, Purge, Transport, connect, listen
from serialnet.chips import Board
from serialnet.testing.pty import host_board
from serialnet.values.settings import FlowControl, Parity, StopBits
from serialnet.wire.comport import ComPortClient

from ..conftest import build_shim
from ..interop.gensiot import KEYS, gensiot_at
from ..interop.servers import free_port, ser2net_to, serving, when_up
from ..interop.terminal import at_terminal
from ..interop.tools import Served, python, served, until
from ..interop.versions import installed
from .sessions import DATA, RECORDED, Step
from .transcript import DIRECTORY, TO_CLIENT, TO_SERVER, Part, Transcript

# Silence for so long means that a server has said all; some look at the modem lines once a second.
SILENCE = 1.3

PROGRAMS = {"gensio": "gensiot"}  # where the names differ


# Servers, asked by our client without its transport


async def record_server(name: str, shim: str, directory: Path) -> Transcript:
    session = RECORDED[name]
    board = Board("esp32")
    parts = []
    async with host_board(board) as port:
        environment = {**os.environ, **port.environment, **({"LD_PRELOAD": shim} if session.lines else {})}
        async with (
            serving(session.server, port.path, directory, environment) as number,
            await when_up(f"tcp://127.0.0.1:{number}") as stream,
        ):
            client = ComPortClient()
            for step in session.steps:
                if step.inputs is not None:
                    board.set_inputs(step.inputs)
                    port.wake()
                parts.append(await take_step(client, step, stream))
    program = PROGRAMS.get(session.server, session.server)
    how = "a server, on a simulated board's port" + ("" if session.lines else " without modem lines")
    return Transcript(f"{program} {installed(program)}", how, parts)


async def take_step(client: ComPortClient, step: Step, stream: Transport) -> Part:
    part = Part(step.name)
    asks = step.ask(client)
    to_send = client.data_to_send() + step.raw
    while True:
        if to_send:
            part.add(TO_SERVER, to_send)
            try:
                await stream.send(to_send)
            except anyio.BrokenResourceError:
                break
        heard = b""
        with anyio.move_on_after(SILENCE):
            try:
                heard = await stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                break
        if not heard:
            break
        part.add(TO_CLIENT, heard)
        client.receive_data(heard)
        while client.next_event() is not None:
            pass
        to_send = client.data_to_send()
    for ask in asks:
        client.abandon(ask)
    return part


# Clients, at our server, through a proxy that writes down


class Proxy:
    """Stands between a client and our server."""

    def __init__(self) -> None:
        self.parts = [Part("session")]
        self.url = ""

    def part(self, name: str) -> None:
        """Begin a new part of the transcript."""
        if not self.parts[-1].lines:
            self.parts.pop()
        self.parts.append(Part(name))

    async def copy(self, source: Transport, sink: Transport, direction: str) -> None:
        try:
            while True:
                wire = await source.receive()
                self.parts[-1].add(direction, wire)
                await sink.send(wire)
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            await sink.aclose()


@asynccontextmanager
async def proxy(ours: str) -> AsyncIterator[Proxy]:
    """A proxy before our server, for one client."""
    it = Proxy()
    async with listen("tcp://127.0.0.1:0") as listener, anyio.create_task_group() as tasks:
        it.url = listener.urls[0].replace("tcp:", "rfc2217:")

        async def run() -> None:
            async with (
                await listener.accept() as client,
                connect(ours.replace("rfc2217:", "tcp:")) as server,
                anyio.create_task_group() as copies,
            ):
                copies.start_soon(it.copy, client, server, TO_SERVER)
                copies.start_soon(it.copy, server, client, TO_CLIENT)

        tasks.start_soon(run)
        yield it
        tasks.cancel_scope.cancel()


def use_pyserial(url: str, part: Callable[[str], None]) -> None:
    """All that pyserial's client offers."""
    part("open")
    with closing(serial.serial_for_url(url, 115200, timeout=10)) as port:
        part("settings")
        before = port.get_settings()
        port.apply_settings(
            {"baudrate": 9600, "bytesize": 7, "parity": "E", "stopbits": 1.5, "xonxoff": True}
        )
        part("lines")
        port.rts = False  # in an order that does not reset the board
        port.dtr = False
        port.dtr = True
        port.rts = True
        part("break")
        port.break_condition = True
        port.break_condition = False
        part("purges")
        port.reset_input_buffer()
        port.reset_output_buffer()
        part("data")
        port.apply_settings(before)
        port.write(DATA)
        assert port.read(len(DATA)) == DATA


async def pyserial(shared: Served, it: Proxy, directory: Path) -> None:
    await anyio.to_thread.run_sync(use_pyserial, it.url, it.part)


async def gensiot(shared: Served, it: Proxy, directory: Path) -> None:
    async with gensiot_at(it.url) as client:
        await client.type(DATA)
        assert await client.read(len(DATA)) == DATA
        it.part("settings")
        for keys, name, value in KEYS:
            await client.command(keys)
            await until(lambda name=name, value=value: getattr(shared.board.settings, name) == value)  # type: ignore[misc]
        it.part("break")
        await client.command(b"b")
        await until(lambda: shared.board.breaks == 1 and not shared.board.outputs.brk)


async def ser2net(shared: Served, it: Proxy, directory: Path) -> None:
    number = free_port()
    async with (
        ser2net_to(it.url, number, directory),
        await when_up(f"rfc2217://127.0.0.1:{number}") as client,
    ):
        assert client.line is not None
        it.part("settings")
        await client.line.configure(LineSettings(9600, 7, Parity.EVEN, StopBits.TWO, FlowControl.XONXOFF))
        await client.line.configure(LineSettings())
        it.part("lines")
        await client.line.set_outputs(dtr=False, rts=False)
        await client.line.set_outputs(dtr=True, rts=True)
        it.part("break")
        await client.line.set_outputs(brk=True)
        await client.line.set_outputs(brk=False)
        it.part("purge and data")
        await client.line.purge(Purge.BOTH)
        await client.send(DATA)
        echo = b""
        while len(echo) < len(DATA):
            echo += await client.receive()


async def esptool(shared: Served, it: Proxy, directory: Path) -> None:
    done = await python("-m", "esptool", "--port", it.url, "--no-stub", "chip-id")
    assert done.status == 0, done


async def idf_monitor(shared: Served, it: Proxy, directory: Path) -> None:
    (directory / "app.elf").touch()
    monitor = [sys.executable, "-m", "esp_idf_monitor", "--port", it.url, str(directory / "app.elf")]
    async with at_terminal(*monitor) as terminal:
        await terminal.read_until(b"Hello from a simulated board")
        await terminal.type(b"\x1d")


CLIENTS: Mapping[str, tuple[str, Callable[[Served, Proxy, Path], Awaitable[None]]]] = {
    "client-pyserial": ("pyserial", pyserial),
    "client-gensiot": ("gensiot", gensiot),
    "client-ser2net": ("ser2net", ser2net),
    "client-esptool": ("esptool", esptool),
    "client-idf-monitor": ("idf-monitor", idf_monitor),
}


async def record_client(name: str, directory: Path) -> Transcript:
    program, drive = CLIENTS[name]
    async with served() as shared, proxy(shared.url) as it:
        await drive(shared, it, directory)
    how = "a client, at our server with a simulated board"
    return Transcript(f"{program} {installed(program)}", how, it.parts)


async def main(names: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        shim = build_shim(Path(directory))
        for name in names or [*RECORDED, *CLIENTS]:
            own = Path(directory) / name
            own.mkdir()
            with anyio.fail_after(120):
                if name in CLIENTS:
                    transcript = await record_client(name, own)
                else:
                    transcript = await record_server(name, shim, own)
            (DIRECTORY / f"{name}.txt").write_text(str(transcript))
            print(name, transcript.program)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1:])
