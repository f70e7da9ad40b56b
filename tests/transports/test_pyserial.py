"""``pyserial:``: real pyserial on its own URLs and on a PTY, and a fake that behaves as Windows does."""

from __future__ import annotations

import errno
import os
import random
import socket
import subprocess
import sys
import termios
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
import serial

import serialnet
from serialnet import (
    EndpointError,
    Inputs,
    InputsChanged,
    LineError,
    LineSettings,
    LineTimeoutError,
    LineUnsupportedError,
    Lost,
    OpenError,
    Outputs,
    Parity,
    PortBusyError,
    Purge,
    StopBits,
    Transport,
    TransportAttribute,
)
from serialnet.chips import Board
from serialnet.testing.pty import host_board
from serialnet.transports import _pyserial_port, pyserial

from ..fake_ends import descriptors
from .fake_pyserial import FakePyserial

TIMEOUT = 20


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    for thread in threading.enumerate():
        if thread.name.startswith("serialnet"):
            thread.join(10)
            assert not thread.is_alive(), thread


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakePyserial:
    fake = FakePyserial()

    def serial_for_url(url: str, *, do_not_open: bool, **settings: object) -> FakePyserial:
        assert do_not_open
        for name, value in settings.items():
            setattr(fake, name, value)
        return fake

    monkeypatch.setattr(serial, "serial_for_url", serial_for_url)
    return fake


async def receive_exactly(transport: Transport, count: int) -> bytes:
    data = b""
    while len(data) < count:
        data += await transport.receive(count - len(data))
    return data


# Real pyserial


async def test_loop() -> None:
    async with serialnet.connect("pyserial:loop://", baudrate=9600, dtr=False) as port:
        assert port.line is not None
        assert port.native_send_some
        await port.send(b"hello")
        assert await receive_exactly(port, 5) == b"hello"
        assert port.line.settings == LineSettings(9600)
        assert port.line.outputs == Outputs(rts=True)
        assert await port.line.get_inputs() == Inputs(cts=True, cd=True)
        wanted = LineSettings(230400, 7, Parity.EVEN, StopBits.TWO)
        assert await port.line.configure(wanted) == wanted
        await port.line.set_outputs(dtr=True, rts=False)
        assert await port.line.get_inputs() == Inputs(dsr=True, cd=True)
        assert port.extra(TransportAttribute.url) == "pyserial:loop://"


async def test_cancelled_receives_and_sends_lose_nothing() -> None:
    rng = random.Random(2)
    data = rng.randbytes(60_000)
    received = bytearray()
    async with serialnet.connect("pyserial:loop://", baudrate=3_000_000) as port:

        async def send() -> None:
            sent = 0
            while sent < len(data):
                with anyio.move_on_after(rng.choice([0, 0.0001])):
                    sent += await port.send_some(data[sent : sent + rng.randrange(1, 5000)])

        with anyio.fail_after(TIMEOUT):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(send)
                while len(received) < len(data):
                    with anyio.move_on_after(rng.choice([0, 0.0001])):
                        received += await port.receive(rng.randrange(1, 5000))
    assert received == data


async def test_socket() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with serialnet.connect(f"pyserial:socket://127.0.0.1:{listener.getsockname()[1]}") as port:
            peer, _ = listener.accept()
            await port.send(b"ping")
            assert peer.recv(10) == b"ping"
            peer.sendall(b"pong")
            assert await receive_exactly(port, 4) == b"pong"
            peer.sendall(b"last")
            peer.close()
            with anyio.fail_after(TIMEOUT):
                assert await receive_exactly(port, 4) == b"last"
                with pytest.raises(anyio.BrokenResourceError, match="disconnected"):
                    await port.receive()
            with pytest.raises(anyio.BrokenResourceError):
                await port.send(b"x")
            assert port.line is not None
            with pytest.raises(anyio.BrokenResourceError):
                await port.line.get_inputs()


@asynccontextmanager
async def board_port(prefix: str = "pyserial:", suffix: str = "") -> AsyncIterator[Transport]:
    async with (
        host_board(Board()) as hosted,
        serialnet.connect(f"{prefix}{hosted.path}{suffix}") as port,
    ):
        yield port


async def test_a_board_on_a_pty(caplog: pytest.LogCaptureFixture) -> None:
    before = descriptors()
    with anyio.fail_after(TIMEOUT):
        async with board_port() as port:
            assert port.line is not None
            assert await port.line.configure(LineSettings(9600)) == LineSettings(9600)
            await port.line.set_outputs(dtr=False)
            await port.line.set_outputs(dtr=True)
            assert await port.line.get_inputs() == Inputs()
            assert caplog.text.count("no modem lines") == 1
            await port.line.drain()
            await port.line.purge(Purge.BOTH)
            await port.send(b"\xc0")
    assert descriptors() == before


async def test_an_unplugged_board() -> None:
    board = Board()
    with anyio.fail_after(TIMEOUT):
        async with host_board(board) as hosted, serialnet.connect(f"pyserial:{hosted.path}") as port:
            assert port.line is not None
            async with port.line.events() as events:
                assert isinstance(await anext(events), InputsChanged)
                hosted.unplug()
                with pytest.raises(anyio.BrokenResourceError):
                    await receive_exactly(port, 1_000_000)
                assert isinstance(await anext(events), Lost)


async def test_spy(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with anyio.fail_after(TIMEOUT):
        async with board_port("pyserial:spy://", f"?file={log}") as port:
            assert port.line is not None
            assert isinstance(port, pyserial.PyserialTransport)
            output = port._port._port.formatter.output
            await port.send(b"seen")
            await port.line.drain()
            with anyio.fail_after(5):
                while "seen" not in log.read_text():  # noqa: ASYNC110  # there is no event
                    await anyio.sleep(0.01)
    output.close()  # pyserial never does


@pytest.mark.parametrize(
    ("url", "error", "text"),
    [
        ("pyserial:", EndpointError, "expected a device or a URL"),
        ("pyserial:nope://x", EndpointError, "protocol 'nope' not known"),
        ("pyserial:loop://?x=1", EndpointError, "options"),
        ("pyserial:/dev/ttyS0?baudrate=9600", EndpointError, "keyword arguments"),
        ("pyserial:/dev/nope", OpenError, "cannot open /dev/nope: there is no such device"),
        ("pyserial:/dev/null", OpenError, "not a serial port"),
        ("pyserial:hwgrep://no-such-port", OpenError, "no ports found"),
    ],
)
async def test_what_cannot_be_opened(url: str, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        await serialnet.connect(url)


async def test_a_port_in_use() -> None:
    async with host_board(Board()) as hosted:
        async with serialnet.connect(f"pyserial:{hosted.path}"):
            with pytest.raises(PortBusyError, match=rf"is in use by .*\(pid {os.getpid()}\)"):
                await serialnet.connect(f"pyserial:{hosted.path}")
        async with serialnet.connect(f"pyserial:{hosted.path}"):
            pass


# As on Windows


async def test_lines_are_set_before_the_port_is_open(fake: FakePyserial) -> None:
    async with serialnet.connect("pyserial:COM3", dtr=False, rts=False) as port:
        assert fake.calls[0] == ("open", (False, False))
        assert not {"dtr", "rts"} & {name for name, _ in fake.calls}
        assert port.line is not None
        assert port.line.outputs == Outputs()


@pytest.mark.parametrize(
    ("before", "asked", "expected"),
    [
        ((True, True), {"dtr": False, "rts": False}, [("rts", False), ("dtr", False)]),
        ((False, False), {"dtr": True, "rts": True}, [("dtr", True), ("rts", True), ("dtr", True)]),
        ((True, True), {"rts": False}, [("rts", False), ("dtr", True)]),
        ((True, True), {"dtr": False}, [("dtr", False)]),
    ],
)
async def test_both_lines_together(
    fake: FakePyserial,
    before: tuple[bool, bool],
    asked: dict[str, bool],
    expected: list[tuple[str, bool]],
) -> None:
    async with serialnet.connect("pyserial:COM3", dtr=before[0], rts=before[1]) as port:
        assert port.line is not None
        fake.calls.clear()
        outputs = await port.line.set_outputs(**asked)
        assert fake.calls == expected
        assert (outputs.dtr, outputs.rts) == (asked.get("dtr", before[0]), asked.get("rts", before[1]))


async def test_settings_change_in_one_step_and_are_read_back(fake: FakePyserial) -> None:
    async with serialnet.connect("pyserial:COM3") as port:
        assert port.line is not None
        fake.calls.clear()
        await port.line.configure(LineSettings(9600, 7, Parity.EVEN, StopBits.TWO))
        assert fake.calls == [("configure", (9600, 7, "E", 2.0))]
        fake.real_baudrate = 115384
        assert await port.line.configure(LineSettings(115200)) == LineSettings(115384)
        fake.real_baudrate = None
        fake.errors["configure"] = ValueError("no such rate")
        with pytest.raises(LineError, match="refused: no such rate"):
            await port.line.configure(LineSettings(7))
        assert port.line.settings == LineSettings(115384)
        assert fake.baudrate == 115384


async def test_reading_stops_when_nobody_receives(fake: FakePyserial) -> None:
    async with serialnet.connect("pyserial:COM3") as port:
        data = random.Random(3).randbytes(200_000)
        fake.feed(data)
        with anyio.fail_after(TIMEOUT):
            while len(fake.incoming) > len(data) - _pyserial_port.MOST_RECEIVED:  # noqa: ASYNC110
                await anyio.sleep(0.001)
            await anyio.sleep(0.05)
            assert len(fake.incoming) == len(data) - _pyserial_port.MOST_RECEIVED
            assert await receive_exactly(port, len(data)) == data


async def test_a_stuck_device(fake: FakePyserial, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its sender waits, its lines can be reached, its settings stay, and it can be closed."""
    monkeypatch.setattr(pyserial, "PATIENCE", 0.1)
    fake.room = 10
    port = await serialnet.connect("pyserial:COM3")
    assert port.line is not None
    with anyio.move_on_after(0.2) as scope:
        await port.send(bytes(100_000))
    assert scope.cancelled_caught
    await port.line.set_outputs(rts=False)
    assert ("rts", False) in fake.calls
    with pytest.raises(LineTimeoutError):
        await port.line.drain()
    with pytest.raises(LineTimeoutError):
        await port.line.configure(LineSettings(9600))
    assert port.line.settings == LineSettings()
    with anyio.fail_after(TIMEOUT):
        await port.aclose()
    assert len(fake.written) == 10


async def test_purging_unsent_bytes(fake: FakePyserial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pyserial_port, "STOPPING", 0.05)
    fake.room = 0
    async with serialnet.connect("pyserial:COM3") as port:
        assert port.line is not None
        await port.send(bytes(_pyserial_port.CHUNK))
        while ("write", _pyserial_port.CHUNK) not in fake.calls:  # noqa: ASYNC110  # in a thread
            await anyio.sleep(0.001)
        await port.send(b"never")
        await port.line.purge(Purge.UNSENT)
        fake.take()
        await port.send(b"then")
        await port.line.drain()
        assert fake.written == bytes(_pyserial_port.CHUNK) + b"then"  # what pyserial has, it has


async def test_purging_received_bytes(fake: FakePyserial) -> None:
    """Also those that a read is just about to bring."""
    reached, let_go = threading.Event(), threading.Event()

    def hold(data: bytes) -> None:
        if data:
            reached.set()
            assert let_go.wait(TIMEOUT)

    fake.read_returns = hold
    async with serialnet.connect("pyserial:COM3") as port:
        assert port.line is not None
        fake.feed(b"old")
        while not reached.is_set():  # noqa: ASYNC110  # set in a thread
            await anyio.sleep(0.001)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(port.line.purge, Purge.RECEIVED)
            await anyio.sleep(0.05)
            let_go.set()
        fake.feed(b"new")
        assert await receive_exactly(port, 3) == b"new"


@pytest.mark.parametrize(
    "error",
    [
        serial.SerialException("ReadFile failed (PermissionError(13, 'Access is denied.', None, 5))"),
        OSError(errno.EIO, "Input/output error"),
        termios.error(errno.EIO, "Input/output error"),
        serial.PortNotOpenError(),
        TypeError("'NoneType' object cannot be interpreted as an integer"),
    ],
    ids=repr,
)
async def test_a_device_that_goes(fake: FakePyserial, error: Exception) -> None:
    async with serialnet.connect("pyserial:COM3") as port:
        assert port.line is not None
        fake.feed(b"last words")
        assert await receive_exactly(port, 10) == b"last words"
        fake.fail(error)
        with anyio.fail_after(TIMEOUT), pytest.raises(anyio.BrokenResourceError):
            await port.receive()
        with pytest.raises(anyio.BrokenResourceError):
            await port.send(b"x")
        with pytest.raises(anyio.BrokenResourceError):
            await port.line.set_outputs(dtr=False)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.EIO, "Input/output error"), anyio.BrokenResourceError),
        (termios.error(errno.EIO, "Input/output error"), anyio.BrokenResourceError),
        (serial.PortNotOpenError(), anyio.BrokenResourceError),
        (serial.SerialException("no NOTIFY_MODEMSTATE"), LineError),
    ],
    ids=repr,
)
async def test_line_errors(fake: FakePyserial, error: Exception, expected: type[Exception]) -> None:
    async with serialnet.connect("pyserial:COM3") as port:
        assert port.line is not None
        fake.errors["ri"] = error
        with pytest.raises(expected):
            await port.line.get_inputs()
        fake.errors["ri"] = NotImplementedError()
        assert await port.line.get_inputs() == Inputs()
        fake.errors["break"] = OSError(errno.EOPNOTSUPP, "Operation not supported")
        with pytest.raises(LineUnsupportedError):
            await port.line.set_outputs(brk=True)
        assert not port.line.outputs.brk


@pytest.mark.parametrize(
    ("text", "expected", "message"),
    [
        ("could not open port 'COM3': PermissionError(13, 'x', None, 5)", PortBusyError, "COM3 is in use"),
        ("could not open port 'COM3': FileNotFoundError(2, 'x', None, 2)", OpenError, "no such device"),
    ],
)
async def test_opening_on_windows(
    fake: FakePyserial, text: str, expected: type[Exception], message: str
) -> None:
    fake.errors["open"] = serial.SerialException(text)
    with pytest.raises(expected, match=message):
        await serialnet.connect("pyserial:COM3")


async def test_closing_releases_the_break_and_wakes_all(fake: FakePyserial) -> None:
    port = await serialnet.connect("pyserial:COM3", hupcl=True)
    assert port.line is not None
    await port.line.set_outputs(brk=True)

    async def receive() -> None:
        with pytest.raises(anyio.ClosedResourceError):
            await port.receive()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(receive)
        await anyio.lowlevel.checkpoint()
        await port.aclose()
    assert fake.calls[-4:] == [("break", False), ("rts", False), ("dtr", False), ("close", None)]
    with pytest.raises(anyio.ClosedResourceError):
        await port.send(b"x")
    with pytest.raises(anyio.ClosedResourceError):
        await port.line.get_inputs()
    await port.aclose()


async def test_a_hanging_driver_does_not_keep_us(
    fake: FakePyserial, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pyserial, "PATIENCE", 0.1)
    monkeypatch.setattr(pyserial, "CLOSING", 0.1)
    monkeypatch.setattr(_pyserial_port, "STOPPING", 0.05)
    let_go = threading.Event()
    monkeypatch.setattr(fake, "_update_rts_state", let_go.wait)
    port = await serialnet.connect("pyserial:COM3")
    assert port.line is not None
    with anyio.fail_after(TIMEOUT):
        with anyio.move_on_after(0.05) as scope:
            await port.line.set_outputs(rts=False)
        assert scope.cancelled_caught
        await port.aclose()
    assert "closing hangs in its driver" in caplog.text
    let_go.set()


async def test_cancelled_opening_closes_the_port(fake: FakePyserial, monkeypatch: pytest.MonkeyPatch) -> None:
    reached, let_go, closed = threading.Event(), threading.Event(), threading.Event()
    opened = fake.open

    def open_() -> None:
        reached.set()
        assert let_go.wait(TIMEOUT)
        opened()

    monkeypatch.setattr(fake, "open", open_)
    closing = fake.close

    def close() -> None:
        closing()
        closed.set()

    monkeypatch.setattr(fake, "close", close)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pyserial.factory.connect, serialnet.Endpoint.parse("pyserial:COM3"), *_no_options())
        while not reached.is_set():  # noqa: ASYNC110  # set in a thread
            await anyio.sleep(0.001)
        tasks.cancel_scope.cancel()
    let_go.set()
    assert closed.wait(TIMEOUT)


def _no_options() -> tuple[object, None]:
    return pyserial.factory.options(), None


async def test_a_serial_port_does_not_listen() -> None:
    with pytest.raises(EndpointError, match="cannot listen"):
        await serialnet.listen("pyserial:loop://")


WITHOUT_TERMIOS = """
import sys, serial, serial.tools.list_ports, anyio, anyio._backends._asyncio
for name in ("termios", "fcntl", "grp", "tty", "pty"):
    sys.modules[name] = None
import serialnet

async def main():
    async with serialnet.connect(sys.argv[1], baudrate=9600, low_latency=True) as port:
        print(type(port).__name__, port.line.settings)
        async with serialnet.serve(port, "rfc2217://127.0.0.1:0") as server:
            async with serialnet.connect(server.urls[0]) as client:
                print(await client.line.configure(serialnet.LineSettings(19200)))
    assert "serialnet.transports.serial" not in sys.modules
    try:
        await serialnet.connect("COM41")
    except serialnet.OpenError as error:
        print(error)

anyio.run(main)
"""


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_serial_ports_without_termios(anyio_backend: str) -> None:
    async with host_board(Board()) as hosted:
        process = await anyio.run_process(
            [sys.executable, "-c", WITHOUT_TERMIOS, hosted.path], stderr=subprocess.STDOUT, check=False
        )
    output = process.stdout.decode().splitlines()
    assert output[0] == "PyserialTransport 9600 8N1", process.stdout.decode()
    assert "19200 8N1" in output
    assert output[-1] == "cannot open COM41: there is no such device"
