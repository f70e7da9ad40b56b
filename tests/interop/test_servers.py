"""Our RFC 2217 client at other servers: ser2net on a PTY, and pyserial's PortManager on a loop plug."""

from __future__ import annotations

import os
import pty
import shutil
import socket
import subprocess
import termios
import threading
import time
import tty
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import anyio
import pytest
import serial

import serialnet
from serialnet import Inputs, OpenError, Purge
from serialnet.core.line import Line
from serialnet.core.transport import Transport
from serialnet.values.settings import FlowControl, LineSettings, Parity, StopBits

from .port_manager import serve_client

SER2NET = shutil.which("ser2net") or shutil.which("ser2net", path="/usr/sbin")
needs_ser2net = pytest.mark.skipif(SER2NET is None, reason="ser2net is not installed")

ALL_BYTES = bytes(range(256)) * 4 + b"\xff" * 1000 + b"\r\n\r\0\n"


async def receive_exactly(port: Transport, size: int) -> bytes:
    received = b""
    with anyio.fail_after(10):
        while len(received) < size:
            received += await port.receive()
    return received


def line_of(port: Transport) -> Line:
    assert port.line is not None
    return port.line


# ser2net


class Tty:
    """A PTY pair: ser2net opens one side as its serial port, and we are the device at the other."""

    def __init__(self) -> None:
        self.device, self._tty = pty.openpty()
        tty.setraw(self._tty)
        self.name = os.ttyname(self._tty)

    def close(self) -> None:
        os.close(self.device)
        os.close(self._tty)

    async def receive_exactly(self, size: int) -> bytes:
        received = b""
        with anyio.fail_after(10):
            while len(received) < size:
                await anyio.wait_readable(self.device)
                received += os.read(self.device, 65536)
        return received

    @property
    def settings(self) -> tuple[int, int, int]:
        """Speed, stop bit and software flow control, as termios(3) has them."""
        iflag, _, cflag, _, _, speed, _ = termios.tcgetattr(self._tty)[:7]
        return speed, cflag & termios.CSTOPB, iflag & (termios.IXON | termios.IXOFF)


@asynccontextmanager
async def ser2net(directory: Path, query: str = "") -> AsyncIterator[tuple[Tty, Transport]]:
    assert SER2NET is not None
    end = Tty()
    with socket.create_server(("127.0.0.1", 0)) as chosen:
        port = chosen.getsockname()[1]
    configuration = directory / "ser2net.yaml"
    configuration.write_text(
        "%YAML 1.1\n---\n"
        "connection: &port\n"
        f"  accepter: telnet(rfc2217),tcp,127.0.0.1,{port}\n"
        f"  connector: serialdev,{end.name},115200n81,local\n"
    )
    command = [SER2NET, "-d", "-n", "-c", str(configuration)]
    try:
        async with await anyio.open_process(command, stdout=subprocess.DEVNULL, stderr=None) as process:
            try:
                client = await connect_when_up(f"rfc2217://127.0.0.1:{port}{query}")
                async with client:
                    yield end, client
            finally:
                process.terminate()
    finally:
        end.close()


async def connect_when_up(url: str) -> Transport:
    with anyio.fail_after(10):
        while True:
            try:
                return await serialnet.connect(url)
            except OpenError:
                await anyio.sleep(0.02)


@needs_ser2net
async def test_ser2net_all_bytes(tmp_path: Path) -> None:
    async with ser2net(tmp_path) as (end, port):
        await port.send(ALL_BYTES)
        assert await end.receive_exactly(len(ALL_BYTES)) == ALL_BYTES
        os.write(end.device, ALL_BYTES)
        assert await receive_exactly(port, len(ALL_BYTES)) == ALL_BYTES


@needs_ser2net
@pytest.mark.parametrize(
    ("settings", "seen"),
    [
        (LineSettings(9600), (termios.B9600, 0, 0)),
        (LineSettings(230400, stopbits=StopBits.TWO), (termios.B230400, termios.CSTOPB, 0)),
        (LineSettings(19200, flow=FlowControl.XONXOFF), (termios.B19200, 0, termios.IXON | termios.IXOFF)),
    ],
    ids=str,
)
async def test_ser2net_settings(tmp_path: Path, settings: LineSettings, seen: tuple[int, int, int]) -> None:
    async with ser2net(tmp_path) as (end, port):
        assert line_of(port).settings == LineSettings()
        assert await line_of(port).configure(settings) == settings
        assert end.settings == seen


@needs_ser2net
async def test_ser2net_purge_and_drain(tmp_path: Path) -> None:
    async with ser2net(tmp_path) as (end, port):
        line = line_of(port)
        for what in Purge.RECEIVED, Purge.UNSENT, Purge.BOTH:
            await line.purge(what)
        os.write(end.device, b"stale")
        await receive_exactly(port, 1)  # the rest is on its way, or here
        await line.drain()
        await line.purge(Purge.BOTH)
        os.write(end.device, b"fresh")
        assert await receive_exactly(port, 5) == b"fresh"


@needs_ser2net
async def test_ser2net_says_nothing_about_lines_that_its_port_lacks(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with ser2net(tmp_path, "?timeout=0.5") as (end, port):
        line = line_of(port)
        with anyio.fail_after(5):
            outputs = await line.set_outputs(dtr=True, rts=False)
        assert (outputs.dtr, outputs.rts) == (True, False)
        assert "did not answer" in caplog.text
        assert await line.get_inputs() == Inputs()
        await port.send(b"goes on")
        assert await end.receive_exactly(7) == b"goes on"


@needs_ser2net
async def test_ser2net_with_answers_about_lines_not_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with ser2net(tmp_path, "?ign_set_control") as (_, port):
        with anyio.fail_after(2):
            await line_of(port).set_outputs(dtr=True, rts=False)
        assert "did not answer" not in caplog.text


# pyserial


@contextmanager
def port_manager() -> Iterator[tuple[str, serial.Serial]]:
    """pyserial's server for one client, as its manual shows it, on a loop plug."""
    port = serial.serial_for_url("loop://", baudrate=115200, timeout=0.05)
    with port, socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)

        def serve() -> None:
            sock, _ = listener.accept()
            with sock:
                serve_client(port, sock)

        server = threading.Thread(target=serve)
        server.start()
        try:
            yield f"rfc2217://127.0.0.1:{listener.getsockname()[1]}", port
        finally:
            server.join(12)
        assert not server.is_alive()


@pytest.fixture(params=["", "?ign_set_control"])
def query(request: pytest.FixtureRequest) -> str:
    text: str = request.param
    return text


async def test_port_manager_all_bytes(query: str) -> None:
    with port_manager() as (url, _):
        async with serialnet.connect(url + query) as port:
            await port.send(ALL_BYTES)
            assert await receive_exactly(port, len(ALL_BYTES)) == ALL_BYTES


async def test_port_manager_settings(query: str) -> None:
    with port_manager() as (url, far):
        async with serialnet.connect(url + query) as port:
            # It goes from one flow control to another by way of none.
            for settings in (
                LineSettings(921600, 8, Parity.ODD, StopBits.ONE, FlowControl.RTSCTS),
                LineSettings(9600, 7, Parity.EVEN, StopBits.TWO),
                LineSettings(50, 5, Parity.MARK, StopBits.ONE_POINT_FIVE, FlowControl.XONXOFF),
                LineSettings(115200, 8, Parity.SPACE, StopBits.ONE),
            ):
                assert await line_of(port).configure(settings) == settings
                await line_of(port).drain()  # answers about flow control may not have been waited for
                assert (far.baudrate, far.bytesize) == (settings.baudrate, settings.bytesize)
                assert (far.parity, far.stopbits) == (settings.parity.value, settings.stopbits.value)
                assert far.rtscts == (settings.flow is FlowControl.RTSCTS)
                assert far.xonxoff == (settings.flow is FlowControl.XONXOFF)


async def test_port_manager_lines(query: str) -> None:
    with port_manager() as (url, far):
        async with serialnet.connect(url + query) as port:
            line = line_of(port)
            for dtr, rts, brk in ((True, False, False), (False, True, True), (False, False, False)):
                outputs = await line.set_outputs(dtr=dtr, rts=rts, brk=brk)
                assert (outputs.dtr, outputs.rts, outputs.brk) == (dtr, rts, brk)
                await line.drain()
                assert (far.dtr, far.rts, far.break_condition) == (dtr, rts, brk)
                inputs = await line.get_inputs()
                assert (inputs.cts, inputs.dsr) == (far.cts, far.dsr)
                await line.purge(Purge.BOTH)


async def test_port_manager_answers_at_once() -> None:
    started = time.monotonic()
    with port_manager() as (url, _):
        async with serialnet.connect(url) as port:
            await line_of(port).set_outputs(dtr=True, rts=True)
            await line_of(port).get_inputs()
    # Nothing was waited for that it does not answer (3 s).
    assert time.monotonic() - started < 2.5
