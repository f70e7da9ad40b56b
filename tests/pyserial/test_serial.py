"""The object, as one who knows pyserial expects it."""

from __future__ import annotations

import errno
import gc
import os
import re
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any
from unittest.mock import Mock

import anyio
import pytest
import serial
from serial.rs485 import RS485Settings
from serial.threaded import LineReader, ReaderThread

from serialnet import (
    Configure,
    Forward,
    Hook,
    InForce,
    LineRequest,
    LineSettings,
    Parity,
    Purge,
    PurgeRequest,
    SetOutputs,
)
from serialnet.pyserial import Serial

from .conftest import Peer, serve

CAPACITY = 65536


class Record(Hook):
    """Remembers what was asked."""

    def __init__(self) -> None:
        self.requests: list[Any] = []

    async def request(self, request: LineRequest, forward: Forward) -> InForce:
        self.requests.append(request)
        return await forward(request)

    def of(self, kind: type) -> list[Any]:
        return [request for request in self.requests if isinstance(request, kind)]


def eventually(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def readable(port: Serial, timeout: float = 0) -> bool:
    return bool(select.select([port.fileno()], [], [], timeout)[0])


# Reading


def test_reads_what_it_wrote() -> None:
    with Serial("loop:", timeout=10) as port:
        assert port.write(b"hello\nworld") == 11
        assert port.read_until() == b"hello\n"
        buffer = bytearray(5)
        assert port.readinto(buffer) == 5
        assert buffer == b"world"
        assert port.read(0) == b""


@pytest.mark.parametrize("timeout", [0, 0.05])
def test_returns_what_came_in_time(timeout: float) -> None:
    with Serial("loop:", timeout=timeout) as port:
        assert port.read(10) == b""
        port.write([1, 2, 3])
        eventually(lambda: port.in_waiting == 3)
        assert port.read(10) == b"\1\2\3"


def test_writes_bytes_of_any_kind_and_no_text() -> None:
    with Serial("loop:", timeout=10) as port:
        for data in (b"ab", bytearray(b"ab"), memoryview(b"ab"), [97, 98]):
            assert port.write(data) == 2
        assert port.read(8) == b"abababab"
        with pytest.raises(TypeError):
            port.write("ab")


def test_a_pause_between_bytes_ends_a_read(peer: Peer) -> None:
    with Serial(peer.url, timeout=10, inter_byte_timeout=0.05) as port:
        peer.connection.sendall(b"some")
        assert port.read(100) == b"some"


def test_a_read_is_cancelled_by_another_thread_or_beforehand() -> None:
    with Serial("loop:") as port:
        port.cancel_read()
        assert port.read(1) == b""
        thread = threading.Timer(0.05, port.cancel_read)
        thread.start()
        assert port.read(1) == b""
        thread.join()


def test_the_descriptor_is_readable_exactly_while_bytes_wait() -> None:
    with Serial("loop:", timeout=10) as port:
        assert port.fd == port.fileno()
        assert not readable(port)
        port.write(b"abc")
        assert readable(port, 10)
        assert port.read(2) == b"ab"
        assert readable(port)
        assert port.read(1) == b"c"
        assert not readable(port)
        port.write(b"x")
        assert readable(port, 10)
        port.reset_input_buffer()
        assert not readable(port)
    assert port.fd is None


@pytest.mark.skipif(sys.platform == "win32", reason="has no ioctl")
def test_the_descriptor_is_no_terminal() -> None:
    import fcntl
    import termios

    with Serial("loop:") as port:
        with pytest.raises(OSError) as caught:  # noqa: PT011  # its number is looked at
            fcntl.ioctl(port.fileno(), termios.TIOCMGET, bytes(4))
        assert caught.value.errno == errno.ENOTTY
        assert not port.isatty()


def test_what_nobody_reads_waits_at_the_sender(peer: Peer) -> None:
    data = os.urandom(16 << 20)
    with Serial(peer.url, timeout=10) as port:
        sender = peer.send_in_background(data)
        eventually(lambda: port.in_waiting == CAPACITY)
        assert sender.is_alive()
        assert port.in_waiting == CAPACITY
        received = bytearray()
        while len(received) < len(data):
            received += port.read(min(100_000, len(data) - len(received)))
        assert received == data
        sender.join()


@pytest.mark.parametrize("scheme", ["tcp", "rfc2217"])
def test_drops_what_was_received_and_what_is_on_its_way(scheme: str, peer: Peer) -> None:
    if scheme == "tcp":
        with Serial(peer.url, timeout=0.2) as port:
            peer.connection.sendall(bytes(CAPACITY * 2))
            eventually(lambda: port.in_waiting == CAPACITY)
            port.reset_input_buffer()
            assert port.read(1) == b""
            peer.connection.sendall(b"new")
            port.timeout = 10
            assert port.read(3) == b"new"
        return
    record = Record()
    with serve(hooks=[record]) as url, Serial(url, timeout=0.2) as port:
        port.write(b"stale")
        port.flush()
        port.reset_input_buffer()
        assert port.read(1) == b""
        assert len(record.of(PurgeRequest)) == 2  # and one when it was opened
        port.timeout = 10
        port.write(b"new")
        assert port.read(3) == b"new"


# Writing


def test_a_write_that_finds_no_room_times_out(peer: Peer) -> None:
    with Serial(peer.url, write_timeout=0.05) as port:
        peer.accept()
        with pytest.raises(serial.SerialTimeoutException):
            port.write(bytes(64 << 20))
        with pytest.raises(serial.SerialTimeoutException):
            port.flush()
        port.write_timeout = 0
        eventually(lambda: port.write(bytes(CAPACITY)) == 0)  # the system's buffers grow at times
        assert port.out_waiting == CAPACITY
        port.reset_output_buffer()
        assert port.out_waiting == 0
        assert port.write(b"x") == 1
        port.reset_output_buffer()


def test_a_write_is_cancelled(peer: Peer) -> None:
    with Serial(peer.url) as port:
        peer.accept()
        thread = threading.Timer(0.2, port.cancel_write)
        thread.start()
        assert 0 < port.write(bytes(64 << 20)) < 64 << 20
        thread.join()
        port.reset_output_buffer()


def test_what_was_dropped_is_not_sent(peer: Peer) -> None:
    with Serial(peer.url, write_timeout=0.05) as port:
        with pytest.raises(serial.SerialTimeoutException):
            port.write(b"a" * (64 << 20))
        port.reset_output_buffer()
        port.write_timeout = 10
        port.write(b"b")
        received = b""
        while not received.endswith(b"b"):
            received = peer.connection.recv(1 << 20)
        assert set(received[:-1]) <= {ord("a")}


def test_close_sends_what_was_written(peer: Peer) -> None:
    port = Serial(peer.url)
    port.write(b"farewell")
    port.close()
    assert peer.connection.recv(100) == b"farewell"
    assert peer.connection.recv(100) == b""


# The line


def test_timeouts_do_not_touch_the_network() -> None:
    record = Record()
    with serve(hooks=[record]) as url, Serial(url, 115200) as port:
        before = len(record.requests)
        for timeout in (0.1, 3, None, 0):
            port.timeout = port.write_timeout = port.inter_byte_timeout = timeout
        port.baudrate = 115200
        port.parity = "N"
        port.exclusive = True
        assert len(record.requests) == before


def test_several_settings_go_in_one_step() -> None:
    record = Record()
    with serve(hooks=[record]) as url, Serial(url, 115200) as port:
        connection: Any = port._connection
        connection.call = Mock(wraps=connection.call)
        port.apply_settings({"baudrate": 9600, "bytesize": 7, "parity": "E", "stopbits": 2, "timeout": 1})
        assert connection.call.call_count == 1
        assert port.get_settings()["parity"] == "E"
        assert record.of(Configure)[-1].settings == connection.line.settings
    assert connection.line.settings == LineSettings(9600, 7, Parity.EVEN, connection.line.settings.stopbits)


def test_lines_that_were_set_before_are_so_when_it_opens() -> None:
    record = Record()
    with serve(hooks=[record]) as url:
        port = Serial()
        port.port = url
        port.dtr = False
        port.rts = True
        port.open()
        assert [(request.dtr, request.rts) for request in record.of(SetOutputs) if request.dtr is not None]
        assert (port.dtr, port.rts) == (False, True)
        assert (port.dsr, port.cts) == (False, True)
        port.dtr = True
        port.rts = False
        assert (port.dsr, port.cts, port.cd, port.ri) == (True, False, True, False)
        port.close()


def test_the_url_names_settings() -> None:
    port = Serial(None, 9600)
    port.port = "loop:?baudrate=230400&parity=E&stopbits=2&rtscts=on&dtr=off"
    assert (port.baudrate, port.parity, port.stopbits) == (230400, "E", 2)
    port.baudrate = 57600
    with port:
        assert (port.baudrate, port.parity, port.rtscts) == (57600, "E", True)
        assert (port.dtr, port.dsr) == (False, False)


def test_break() -> None:
    record = Record()
    with serve(hooks=[record]) as url, Serial(url) as port:
        port.send_break(0.01)
        port.flush()
        assert [request.brk for request in record.of(SetOutputs) if request.brk is not None] == [True, False]
        assert not port.break_condition


class Refuse(Hook):
    """Refuses other rates."""

    async def request(self, request: LineRequest, forward: Forward) -> InForce:
        if isinstance(request, Configure) and request.settings.baudrate == 921600:
            return request.unchanged
        return await forward(request)


def test_settings_that_are_refused_are_not_shown() -> None:
    with serve(hooks=[Refuse()]) as url, Serial(url, 115200) as port:
        with pytest.raises(serial.SerialException, match=r"refuses 921600 8N1; in force is 115200 8N1"):
            port.baudrate = 921600
        assert port.baudrate == 115200
        port.baudrate = 9600
        assert port.baudrate == 9600


class Slow(Record):
    """Keeps all that is asked waiting until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.go.set()

    async def request(self, request: LineRequest, forward: Forward) -> InForce:
        while not self.go.is_set():  # noqa: ASYNC110  # it is set in another thread
            await anyio.sleep(0.005)
        return await super().request(request, forward)


def test_outputs_and_purges_wait_for_no_answer() -> None:
    slow = Slow()
    with serve(hooks=[slow]) as url, Serial(url, timeout=10) as port:
        port.write(b"old")
        eventually(lambda: port.in_waiting == 3)
        slow.requests.clear()
        slow.go.clear()
        port.dtr = False
        port.reset_input_buffer()
        port.write(b"new")
        port.rts = False
        port.reset_output_buffer()
        assert slow.requests == []
        assert port.in_waiting == 0
        slow.go.set()
        port.flush()
        dtr, received, rts, unsent = slow.requests
        assert (dtr.dtr, rts.rts) == (False, False)
        assert (received.what, unsent.what) == (Purge.RECEIVED, Purge.UNSENT)
        assert port.read(3) == b"new"
        assert port.in_waiting == 0


class Late(Record):
    """Carries a change of DTR out late, and notes when each was carried out."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    async def request(self, request: LineRequest, forward: Forward) -> InForce:
        if isinstance(request, SetOutputs):
            if request.dtr is False:
                await anyio.sleep(0.3)
            self.times.append(time.monotonic())
        return await super().request(request, forward)


def test_a_pause_between_changes_of_the_outputs_is_no_shorter_at_the_far_end() -> None:
    late = Late()
    with serve(hooks=[late]) as url, Serial(url) as port:
        late.times.clear()
        port.dtr = False
        port.rts = False
        time.sleep(0.2)
        port.rts = True
        port.flush()
        _, second, third = late.times
        assert third - second >= 0.2


def test_a_close_waits_for_the_last_answers() -> None:
    slow = Slow()
    with serve(hooks=[slow]) as url:
        port = Serial(url)
        slow.go.clear()
        port.dtr = False
        timer = threading.Timer(0.2, slow.go.set)
        timer.start()
        port.close()
        assert slow.requests[-1].dtr is False
        timer.join()


def test_no_more_than_some_requests_are_under_way() -> None:
    slow = Slow()
    with serve(hooks=[slow]) as url, Serial(url) as port:
        slow.go.clear()
        timer = threading.Timer(0.2, slow.go.set)
        timer.start()
        for _ in range(1000):
            port.dtr = not port.dtr
        assert slow.go.is_set()
        timer.join()


def test_the_settings_that_were_found_are_not_waited_for() -> None:
    slow = Slow()
    with serve(hooks=[slow]) as url, Serial(url, 9600) as port:
        slow.go.clear()
        port.baudrate = 115200
        assert port.baudrate == 115200
        slow.go.set()
        port.flush()
        assert [request.settings.baudrate for request in slow.of(Configure)] == [9600, 115200]


class Fickle(Hook):
    """Refuses what was in force before."""

    async def request(self, request: LineRequest, forward: Forward) -> InForce:
        if isinstance(request, Configure) and request.settings.baudrate == 115200:
            return request.unchanged
        return await forward(request)


def test_a_port_where_they_are_refused_all_the_same_is_lost() -> None:
    with serve(hooks=[Fickle()]) as url, Serial(url, 9600, timeout=10) as port:
        port.baudrate = 115200
        with pytest.raises(serial.SerialException, match=r"refuses 115200 8N1; in force is 9600 8N1"):
            port.read()


def answer_all_but_purges(connection: socket.socket) -> None:
    """Be an RFC 2217 server that purges as it was told, and does not say so."""
    found = {1: (115200).to_bytes(4, "big"), 2: b"\x08", 3: b"\1", 4: b"\1"}
    connection.sendall(bytes.fromhex("fffd2c fffb00 fffd00 fffb03 fffd03"))
    with suppress(OSError):
        while wire := connection.recv(4096):
            for code, value in re.findall(rb"\xff\xfa\x2c(.)(.*?)\xff\xf0", wire, re.DOTALL):
                if code != b"\x0c":
                    known = value if any(value) else found.get(code[0], value)
                    connection.sendall(b"\xff\xfa\x2c" + bytes([code[0] + 100]) + known + b"\xff\xf0")
            if wire.endswith(b"question"):
                connection.sendall(b"answer")


def test_nothing_is_lost_behind_a_purge_that_is_not_answered(peer: Peer) -> None:
    server = threading.Thread(target=lambda: answer_all_but_purges(peer.connection))
    server.start()
    with Serial(peer.url.replace("tcp:", "rfc2217:") + "?timeout=0.5", 115200, timeout=10) as port:
        port.reset_input_buffer()
        port.write(b"question")
        assert port.read(6) == b"answer"
    server.join()


def test_settings_that_make_no_sense() -> None:
    with Serial("loop:") as port:
        port.rtscts = True
        with pytest.raises(ValueError, match="exclude each other"):
            port.xonxoff = True
        assert not port.xonxoff
        with pytest.raises(ValueError, match="baudrate"):
            port.baudrate = 0
        with pytest.raises(NotImplementedError):
            port.rs485_mode = RS485Settings()
        assert port.baudrate == 9600


def test_an_answer_is_found_behind_what_nobody_reads(peer: Peer, caplog: pytest.LogCaptureFixture) -> None:
    data = os.urandom(6 << 20)
    with serve(peer.url) as url, Serial(url, 115200, timeout=10) as port:
        sender = peer.send_in_background(data)
        eventually(lambda: port.in_waiting == CAPACITY)
        port.rts = False
        port.flush()
        assert port.in_waiting > CAPACITY
        assert "did not answer" not in caplog.text
        received = bytearray()
        while len(received) < len(data):
            received += port.read(min(100_000, len(data) - len(received)))
        assert received == data
        sender.join()


def test_a_stream_without_a_line_has_none(peer: Peer) -> None:
    with Serial(peer.url, timeout=10) as port:
        port.baudrate = 9600
        port.dtr = port.rts = False
        assert (port.cts, port.dsr, port.ri, port.cd) == (True, True, False, True)
        assert port.name == f"socket:{peer.url}"  # so that esptool does not try to reset


# Opening, losing and closing


def test_what_is_not_open_says_so() -> None:
    port = Serial()
    with pytest.raises(serial.SerialException, match="configured"):
        port.open()
    for use in (port.read, lambda: port.write(b"x"), port.flush, lambda: port.in_waiting, lambda: port.cts):
        with pytest.raises(serial.PortNotOpenError):
            use()
    port.cancel_read()
    port.cancel_write()
    port.close()


def test_what_cannot_be_opened_says_why(peer: Peer) -> None:
    peer.close()
    with pytest.raises(serial.SerialException, match="cannot connect to") as caught:
        Serial(peer.url)
    assert caught.value.errno == errno.ECONNREFUSED
    for url, reason in (("nix://", "no transport"), ("loop:?x=1", "no option 'x'"), ("", "expected a URL")):
        with pytest.raises(serial.SerialException, match=reason):
            Serial(url)


def test_a_port_in_use_says_so() -> None:
    with serve() as url, Serial(url):  # noqa: SIM117
        with pytest.raises(serial.SerialException, match="closed the connection"):
            Serial(url)


def test_opens_again() -> None:
    port = Serial("loop:", timeout=10)
    for _ in range(2):
        port.write(b"x")
        assert port.read() == b"x"
        with pytest.raises(serial.SerialException, match="already open"):
            port.open()
        port.close()
        port.close()
        port.open()
    port.port = "loop:?baudrate=4800"
    assert port.is_open
    assert port.baudrate == 4800
    port.close()


def test_a_loss_is_told_once_all_was_read_and_ever_after(peer: Peer) -> None:
    port = Serial(peer.url, timeout=10)
    peer.connection.sendall(b"last words")
    peer.hang_up()
    assert port.read(100) == b"last words"
    assert readable(port, 10)
    for use in (port.read, lambda: port.in_waiting, port.read, lambda: port.write(b"x"), port.flush):
        with pytest.raises(serial.SerialException, match="closed the connection"):
            use()
    assert port.is_open
    port.close()
    port.open()
    peer.connection.sendall(b"again")
    assert port.read(5) == b"again"
    port.close()


def test_a_read_that_waits_hears_of_a_loss(peer: Peer) -> None:
    with Serial(peer.url) as port:
        peer.accept()
        threading.Timer(0.05, peer.hang_up).start()
        with pytest.raises(serial.SerialException):
            port.read()


def test_a_read_that_waits_hears_of_the_close() -> None:
    port = Serial("loop:")
    thread = threading.Timer(0.05, port.close)
    thread.start()
    with pytest.raises(serial.SerialException, match="was closed"):
        port.read()
    thread.join()


def test_a_line_that_is_asked_hears_of_a_loss() -> None:
    with serve() as url:
        port = Serial(url)
    with pytest.raises(serial.SerialException):  # noqa: PT012  # it may take it a moment
        for _ in range(100):
            port.rts = not port.rts
    port.close()


def test_what_nobody_has_any_more_is_closed(peer: Peer) -> None:
    port = Serial(peer.url)
    peer.accept()
    del port
    gc.collect()
    assert peer.connection.recv(1) == b""


def test_a_signal_interrupts_a_read() -> None:
    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with Serial("loop:", timeout=10) as port:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            with pytest.raises(KeyboardInterrupt):
                port.read()
            port.write(b"x")
            assert port.read() == b"x"
    finally:
        signal.signal(signal.SIGALRM, before)


def test_secrets_do_not_show() -> None:
    port = Serial()
    port.port = "tcp://127.0.0.1:1?token=hush"
    assert "hush" not in repr(port)
    with pytest.raises(serial.SerialException) as caught:
        port.open()
    assert "hush" not in str(caught.value)


# Beside others


async def test_works_beside_an_event_loop_of_the_callers() -> None:
    with Serial("loop:", timeout=10) as port:
        port.write(b"x")
        assert port.read() == b"x"
        port.baudrate = 4800
        assert port.dsr


def test_ports_are_used_from_many_threads() -> None:
    failures: list[BaseException] = []

    def use(number: int) -> None:
        try:
            with Serial("loop:", timeout=10) as port:
                for _ in range(20):
                    data = os.urandom(100 + number)
                    port.write(data)
                    port.baudrate = 9600 + number
                    assert port.read(len(data)) == data
        except BaseException as error:  # noqa: BLE001  # raised again below
            failures.append(error)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for failure in failures:
        raise failure


def test_a_thread_reads_while_another_writes() -> None:
    received = bytearray()
    data = os.urandom(1 << 20)
    with serve() as url, Serial(url, timeout=10, write_timeout=10) as port:

        def read() -> None:
            while len(received) < len(data):
                received.extend(port.read(port.in_waiting or 1))

        reader = threading.Thread(target=read)
        reader.start()
        for start in range(0, len(data), 10_000):
            port.write(data[start : start + 10_000])
        reader.join()
    assert received == data


def test_reader_thread() -> None:
    lines: list[str] = []
    lost: list[BaseException | None] = []
    enough = threading.Event()

    class Lines(LineReader):
        TERMINATOR = b"\n"

        def handle_line(self, line: str) -> None:
            lines.append(line)
            if len(lines) == 3:
                enough.set()

        def connection_lost(self, exc: BaseException | None) -> None:
            lost.append(exc)

    port: Any = Serial("loop:")
    with ReaderThread(port, Lines) as protocol:
        for line in ("one", "two", "three"):
            protocol.write_line(line)
        assert enough.wait(10)
    assert lines == ["one", "two", "three"]
    assert lost == [None]
    assert not port.is_open
