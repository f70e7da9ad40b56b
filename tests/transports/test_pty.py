from __future__ import annotations

import os
import sys
import termios
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

import serialnet
from serialnet import (
    AskingTransport,
    Configure,
    EndpointError,
    FlowControl,
    LineRequest,
    LineSettings,
    OpenError,
    Outputs,
    Parity,
    Purge,
    PurgeRequest,
    SettingsChanged,
    StopBits,
    TransportAttribute,
)
from serialnet._inotify import Seen
from serialnet.core.endpoint import Endpoint
from serialnet.testing import check_transport
from serialnet.transports._pty import EXTPROC, IN_CLOSE, AskingPty
from serialnet.transports.pty import PtyTransport
from serialnet.transports.serial import SerialTransport

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="uses inotify")

IFLAG, OFLAG, CFLAG, LFLAG, ISPEED, OSPEED = range(6)


class Program:
    """A program that has the device open."""

    def __init__(self, path: str) -> None:
        self.descriptor = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)

    def write(self, data: bytes) -> None:
        assert os.write(self.descriptor, data) == len(data)

    async def read(self, n: int) -> bytes:
        data = b""
        with anyio.fail_after(5):
            while len(data) < n:
                await anyio.wait_readable(self.descriptor)
                data += os.read(self.descriptor, n - len(data))
        return data

    def set(self, speed: int, *, cflag: int = 0, lflag: int | None = None) -> None:
        attributes = self.attributes
        attributes[ISPEED] = attributes[OSPEED] = speed
        attributes[CFLAG] |= cflag
        if lflag is not None:
            attributes[LFLAG] = lflag
        termios.tcsetattr(self.descriptor, termios.TCSANOW, attributes)

    @property
    def attributes(self) -> list[Any]:
        return termios.tcgetattr(self.descriptor)

    @property
    def speed(self) -> int:
        speed: int = self.attributes[OSPEED]
        return speed

    def close(self) -> None:
        os.close(self.descriptor)


@contextmanager
def program(path: str) -> Iterator[Program]:
    opened = Program(path)
    try:
        yield opened
    finally:
        opened.close()


def path_of(transport: serialnet.Transport) -> str:
    return Endpoint.parse(transport.extra(TransportAttribute.url)).path


async def pty(url: str = "pty:") -> AskingTransport:
    transport = await serialnet.connect(url)
    assert isinstance(transport, AskingTransport)
    return transport


async def accept(listener: serialnet.Listener) -> AskingTransport:
    with anyio.fail_after(5):
        transport = await listener.accept()
    assert isinstance(transport, AskingTransport)
    return transport


async def next_event(transport: AskingTransport) -> bytes | LineRequest:
    buffer = bytearray(65536)
    with anyio.fail_after(5):
        event = await transport.receive_event(buffer)
    return bytes(buffer[:event]) if isinstance(event, int) else event


async def request(transport: AskingTransport) -> LineRequest:
    event = await next_event(transport)
    assert not isinstance(event, bytes), event
    return event


async def configure(transport: AskingTransport) -> Configure:
    event = await request(transport)
    assert isinstance(event, Configure)
    return event


async def nothing_comes(transport: serialnet.Transport, seconds: float = 0.05) -> None:
    with anyio.move_on_after(seconds):
        raise AssertionError(await transport.receive())


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


# The device and its link


async def test_bytes_go_both_ways_as_they_are(tmp_path: Path) -> None:
    everything = bytes(range(256))
    async with await pty(f"pty://{tmp_path}/tty") as master:
        with program(f"{tmp_path}/tty") as opened:
            opened.write(everything)
            assert await next_event(master) == everything
            await master.send(everything)
            assert await opened.read(256) == everything


async def test_it_is_raw_before_anybody_opens_it() -> None:
    async with await pty() as master:
        with program(path_of(master)) as opened:
            iflag, oflag, cflag, lflag, _, speed, *_ = opened.attributes
            assert (iflag, oflag, lflag & ~EXTPROC, speed) == (0, 0, 0, termios.B115200)
            assert cflag & termios.CLOCAL


async def test_the_link_is_there_as_long_as_the_transport(tmp_path: Path) -> None:
    link = tmp_path / "tty"
    async with await pty(f"pty://{link}") as master:
        assert master.extra(TransportAttribute.url) == f"pty://{link}"
        assert os.readlink(link).startswith("/dev/pts/")
        with program(str(link)):
            pass
        await nothing_comes(master)
        assert link.is_symlink()
    assert not link.is_symlink()


async def test_the_link_of_one_that_could_not_tidy_up_is_replaced(tmp_path: Path) -> None:
    link = tmp_path / "tty"
    link.symlink_to("/dev/pts/999999")
    async with await pty(f"pty://{link}"):
        assert link.exists()
    async with await pty() as other:
        number = path_of(other)
    link.symlink_to(number)  # most likely the next one has the same
    async with await pty(f"pty://{link}"):
        assert link.exists()


@pytest.mark.parametrize("kind", ["file", "directory", "link", "dangling link", "live link"])
async def test_what_is_in_the_way_stays(tmp_path: Path, kind: str) -> None:
    link = tmp_path / "tty"
    async with await pty() as other:
        match kind:
            case "file":
                link.write_text("precious")
            case "directory":
                link.mkdir()
            case "link":
                link.symlink_to("/dev/null")
            case "dangling link":
                link.symlink_to(tmp_path / "nowhere")
            case "live link":
                link.symlink_to(path_of(other))
        before, there = descriptors(), os.lstat(link)
        with pytest.raises(OpenError, match=f"cannot make the link {link}: there is something of that name"):
            await serialnet.connect(f"pty://{link}")
        assert os.lstat(link) == there
        assert descriptors() == before


async def test_a_link_that_is_no_longer_ours_stays(tmp_path: Path) -> None:
    link = tmp_path / "tty"
    async with await pty(f"pty://{link}"):
        link.unlink()
        link.symlink_to("/dev/null")
    assert os.readlink(link) == "/dev/null"


async def test_permissions() -> None:
    async with await pty("pty:?mode=604&group=root") as master:
        status = os.stat(path_of(master))
        assert (status.st_mode & 0o777, status.st_gid) == (0o604, 0)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("pty:?mode=9", "mode is an octal number"),
        ("pty:?mode=1777", "mode is at most 777"),
        ("pty:?group=no-such-group", "there is no group 'no-such-group'"),
        ("pty://tmp/ttyV0", "expected pty: or the path of a link, as pty:///tmp/ttyV0"),
        ("pty:///tmp/", "expected pty: or the path of a link"),
        ("pty:?baudrate=9600", "no option 'baudrate'; expected: group, mode"),
    ],
)
async def test_wrong_urls(url: str, message: str) -> None:
    before = descriptors()
    for open_ in (serialnet.connect, serialnet.listen):
        with pytest.raises(EndpointError, match=message):
            await open_(url)
    assert descriptors() == before


async def test_no_place_for_the_link() -> None:
    before = descriptors()
    with pytest.raises(OpenError, match="cannot make the link /no/such/place: No such file or directory"):
        await serialnet.connect("pty:///no/such/place")
    assert descriptors() == before


# Programs come and go


async def test_it_stays_when_programs_come_and_go() -> None:
    before = descriptors()
    async with await pty() as master:
        for n in range(100):
            with program(path_of(master)) as opened:
                opened.write(b"%d" % n)
            assert await next_event(master) == b"%d" % n
            if n % 10 == 0:
                await nothing_comes(master)
    assert descriptors() <= before  # the copying thread of an earlier test may have ended meanwhile


async def test_a_receive_outlasts_programs() -> None:
    async with await pty() as master, anyio.create_task_group() as tasks:
        received = b""

        async def receive() -> None:
            nonlocal received
            while received != b"one, two, three.":
                received += await master.receive()

        tasks.start_soon(receive)
        for data in (b"one, ", b"two, ", b"three."):
            await anyio.wait_all_tasks_blocked()
            with program(path_of(master)) as opened:
                opened.write(data)


async def test_what_is_sent_to_nobody_is_lost_and_stops_nobody() -> None:
    async with await pty() as master:
        with anyio.fail_after(5):
            await master.send(bytes(1_000_000))
        with program(path_of(master)) as opened:
            await master.send(b"new")
            assert await opened.read(3) == b"new"


async def test_what_a_program_left_unread_is_not_for_the_next() -> None:
    async with await pty() as master:
        with program(path_of(master)) as opened:
            await master.send(b"unread" * 1000)
            await opened.read(1)
        await nothing_comes(master)
        with program(path_of(master)) as opened:
            await master.send(b"new")
            assert await opened.read(3) == b"new"


async def test_a_program_that_does_not_read_stops_the_sender_until_it_leaves() -> None:
    async with await pty() as master:
        with program(path_of(master)) as opened:
            sent = 0
            with anyio.move_on_after(0.1):
                while True:
                    sent += await master.send_some(bytes(4096))
            assert 0 < sent < 1_000_000
            assert await opened.read(sent) == bytes(sent)  # a send that is cancelled has sent nothing
            with anyio.fail_after(5):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(master.send, bytes(1_000_000))
                    await anyio.wait_all_tasks_blocked()
                    opened.close()
                opened.descriptor = os.open("/dev/null", os.O_RDONLY)


async def test_a_flood_arrives_whole() -> None:
    data = os.urandom(500_000)
    async with await pty() as master:
        with program(path_of(master)) as opened:

            async def write() -> None:
                view = memoryview(data)
                while view:
                    try:
                        view = view[os.write(opened.descriptor, view) :]
                    except BlockingIOError:
                        await anyio.wait_writable(opened.descriptor)

            received = b""
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(write)
                with anyio.fail_after(20):
                    while len(received) < len(data):
                        received += await master.receive(1000)
            assert received == data


async def test_a_cancelled_receive_loses_nothing() -> None:
    async with await pty() as master:
        with program(path_of(master)) as opened:
            for n in range(50):
                with anyio.move_on_after(0):
                    raise AssertionError(await master.receive())
                opened.write(b"%02d" % n)
                assert await next_event(master) == b"%02d" % n


@pytest.mark.parametrize("present", [False, True])
async def test_waiting_costs_no_cpu(present: bool) -> None:
    async with await pty() as master:
        opened = Program(path_of(master))
        if not present:
            opened.close()
        await nothing_comes(master)
        before = time.process_time()
        with anyio.move_on_after(0.5):
            await master.receive()
        assert time.process_time() - before < 0.1
        if present:
            opened.close()


async def test_closing_wakes_those_who_wait_and_takes_the_device_away() -> None:
    master = await pty()
    path = path_of(master)
    with program(path) as opened:
        async with anyio.create_task_group() as tasks:

            async def receive() -> None:
                with pytest.raises(anyio.ClosedResourceError):
                    await master.receive()

            async def send() -> None:
                with pytest.raises(anyio.ClosedResourceError):
                    await master.send(bytes(1_000_000))

            tasks.start_soon(receive)
            tasks.start_soon(send)
            await anyio.wait_all_tasks_blocked()
            opened.write(b"unread")
            await master.aclose()
        assert not os.path.exists(path)  # noqa: ASYNC240
        with pytest.raises(OSError, match="Input/output error"):
            opened.write(b"x")
    with pytest.raises(anyio.ClosedResourceError):
        await master.receive()
    with pytest.raises(anyio.ClosedResourceError):
        await master.notify(SettingsChanged(LineSettings(), Outputs()))


# What a program sets


async def test_a_baud_rate_and_flow_control_become_a_request() -> None:
    async with await pty() as master:
        with program(path_of(master)) as opened:
            opened.set(termios.B57600, cflag=termios.CRTSCTS | termios.CSTOPB)
            asked = await configure(master)
            assert asked.settings == LineSettings(57600, flow=FlowControl.RTSCTS, stopbits=StopBits.TWO)
            assert asked.unchanged == LineSettings()
            await asked.answer(asked.settings)
            assert opened.speed == termios.B57600
            with pytest.raises(RuntimeError, match="answered before"):
                await asked.answer(asked.settings)
            await nothing_comes(master)


async def test_what_cannot_be_seen_stays_as_it_is() -> None:
    in_force = LineSettings(9600, 7, Parity.EVEN)
    async with await pty() as master:
        await master.notify(SettingsChanged(in_force, Outputs()))
        with program(path_of(master)) as opened:
            assert opened.speed == termios.B9600
            opened.set(termios.B19200)
            assert (await configure(master)).settings == LineSettings(19200, 7, Parity.EVEN)


async def test_a_refusal_and_another_rate_show() -> None:
    async with await pty() as master:
        await master.notify(SettingsChanged(LineSettings(9600), Outputs()))
        with program(path_of(master)) as opened:
            opened.set(termios.B57600)
            await (await configure(master)).refuse()
            assert opened.speed == termios.B9600
            opened.set(termios.B57600)
            await (await configure(master)).answer(LineSettings(38400))
            assert opened.speed == termios.B38400
            await nothing_comes(master)


async def test_where_there_is_no_line_a_program_has_what_it_set() -> None:
    async with await pty() as master:
        with program(path_of(master)) as opened:
            opened.set(termios.B57600)
            await (await configure(master)).refuse()
            assert opened.speed == termios.B57600


async def test_settings_that_somebody_else_changes_show() -> None:
    async with await pty() as master:
        with program(path_of(master)) as opened:
            await master.notify(SettingsChanged(LineSettings(57600), Outputs()))
            assert opened.speed == termios.B57600
            opened.set(termios.B57600)  # in force already
            await nothing_comes(master)


async def test_what_a_program_has_set_stays_when_it_is_told_late_what_is_in_force() -> None:
    async with await pty() as master:
        with program(path_of(master)) as opened:
            opened.set(termios.B115200)  # as it was found, but meant
            await master.notify(SettingsChanged(LineSettings(9600), Outputs()))
            assert opened.speed == termios.B115200
            assert (await configure(master)).settings == LineSettings(115200)


async def test_settings_come_before_the_first_byte_of_a_program() -> None:
    async with await pty() as master:
        for speed, rate in ((termios.B9600, 9600), (termios.B57600, 57600)):
            with program(path_of(master)) as opened:
                opened.set(speed)
                opened.write(b"first")
                asked = await configure(master)
                assert asked.settings == LineSettings(rate)
                await asked.answer(asked.settings)
                assert await next_event(master) == b"first"
            await nothing_comes(master)


async def test_of_the_settings_that_a_program_makes_when_it_opens_the_device_the_last_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("serialnet.transports.pty.SETTLING", 4)
    async with await pty() as master:
        with program(path_of(master)) as opened:
            opened.set(termios.B9600)
            async with anyio.create_task_group() as tasks:

                async def expect_no_request() -> None:
                    assert await next_event(master) == b"first"

                tasks.start_soon(expect_no_request)
                await anyio.wait_all_tasks_blocked()
                opened.set(termios.B115200)  # as in force
                opened.write(b"first")
            opened.set(termios.B9600)  # later, nobody is waited for
            with anyio.fail_after(3):
                assert (await configure(master)).settings == LineSettings(9600)


async def test_later_what_was_readable_comes_before_them_and_the_last_value_counts() -> None:
    async with await pty() as master:
        with program(path_of(master)) as opened:
            opened.write(b"first")
            assert await next_event(master) == b"first"
            opened.write(b"before")
            opened.set(termios.B9600)
            opened.set(termios.B57600)
            assert await next_event(master) == b"before"
            assert (await configure(master)).settings == LineSettings(57600)


async def test_nothing_comes_from_beyond_a_request_until_it_is_answered() -> None:
    async with await pty() as master:
        with program(path_of(master)) as opened:
            opened.set(termios.B9600)
            asked = await configure(master)
            opened.write(b"beyond")
            await nothing_comes(master)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(asked.answer, asked.settings)
                assert await next_event(master) == b"beyond"


async def test_a_program_that_switches_the_telling_off() -> None:
    """minicom and others set ``c_lflag`` to 0, and then go on setting."""
    async with await pty() as master:
        with program(path_of(master)) as opened:
            opened.set(termios.B9600, lflag=0)
            asked = await configure(master)
            await asked.answer(asked.settings)
            opened.set(termios.B57600)  # tells nobody, but bytes follow
            opened.write(b"x")
            asked = await configure(master)
            assert asked.settings == LineSettings(57600)
            await asked.answer(asked.settings)
            assert await next_event(master) == b"x"
            opened.set(termios.B38400, lflag=0)
            asked = await configure(master)  # no byte
            assert asked.settings == LineSettings(38400)
            await asked.answer(asked.settings)
            await nothing_comes(master, 0.3)
            assert opened.attributes[LFLAG] == EXTPROC  # again


async def test_a_program_in_canonical_mode_gets_lines() -> None:
    async with await pty() as master:
        with program(path_of(master)) as opened:
            opened.set(termios.B9600, lflag=termios.ICANON)
            asked = await configure(master)
            await asked.answer(asked.settings)
            await nothing_comes(master, 0.3)
            await master.send(b"half")
            with pytest.raises(BlockingIOError):
                os.read(opened.descriptor, 100)
            await master.send(b" a line\n")
            assert await opened.read(12) == b"half a line\n"
            opened.set(termios.B57600, lflag=0)
            assert (await configure(master)).settings == LineSettings(57600)


async def test_settings_of_a_program_that_has_left() -> None:
    """``stty -F /tmp/ttyV0 9600``."""
    async with await pty() as master:
        with program(path_of(master)) as opened:
            opened.set(termios.B9600)
        assert (await configure(master)).settings == LineSettings(9600)


async def test_a_purge_of_what_was_written_becomes_a_request() -> None:
    async with await pty() as master:
        with program(path_of(master)) as opened:
            opened.write(b"never mind")
            termios.tcflush(opened.descriptor, termios.TCOFLUSH)
            opened.write(b"this")
            asked = await request(master)
            assert isinstance(asked, PurgeRequest)
            assert asked.what == Purge.UNSENT
            await asked.answer(asked.what)
            received = b""
            while not received.endswith(b"this"):  # the kernel leaves what has come as far as the master
                received += await master.receive()
            termios.tcflush(opened.descriptor, termios.TCIFLUSH)
            await nothing_comes(master)


async def test_who_reads_plain_bytes_refuses() -> None:
    async with await pty() as master:
        with program(path_of(master)) as opened:
            opened.set(termios.B9600)
            opened.write(b"x")
            with anyio.fail_after(5):
                assert await master.receive() == b"x"


# Listening


async def test_each_first_open_is_a_session_until_the_last_close(tmp_path: Path) -> None:
    link = tmp_path / "tty"
    async with await serialnet.listen(f"pty://{link}") as listener:
        assert listener.urls == [f"pty://{link}"]
        for n in range(3):
            with program(str(link)) as first:
                first.write(b"before it is accepted")
                session = await accept(listener)
                assert await next_event(session) == b"before it is accepted"
                with program(str(link)) as second:
                    second.write(b"another")
                    assert await next_event(session) == b"another"
                await nothing_comes(session)
                await session.send(b"answer")
                assert await first.read(6) == b"answer"
                first.write(b"last words %d" % n)
            assert await next_event(session) == b"last words %d" % n
            with pytest.raises(anyio.EndOfStream):
                await next_event(session)
            await session.send(b"to nobody")
            await session.aclose()
            assert link.exists()
    assert not link.is_symlink()


async def test_a_program_that_is_gone_before_it_is_accepted() -> None:
    async with await serialnet.listen("pty:") as listener:
        path = Endpoint.parse(listener.urls[0]).path
        with program(path) as opened:
            opened.set(termios.B9600)
            opened.write(b"bytes")
        session = await accept(listener)
        asked = await configure(session)
        assert asked.settings == LineSettings(9600)
        await asked.answer(asked.settings)
        assert await next_event(session) == b"bytes"
        with pytest.raises(anyio.EndOfStream):
            await next_event(session)
        with anyio.move_on_after(0.05):
            raise AssertionError(await listener.accept())


async def test_a_program_that_comes_at_once_after_another_has_a_session_of_its_own() -> None:
    async with await serialnet.listen("pty:") as listener:
        path = Endpoint.parse(listener.urls[0]).path
        with program(path):
            session = await accept(listener)
        with program(path) as opened:
            opened.write(b"mine")
            with pytest.raises(anyio.EndOfStream):
                await next_event(session)
            async with await accept(listener) as own:
                assert await next_event(own) == b"mine"
                await session.send(b"not for you")
                await session.aclose()
                await own.send(b"for you")
                assert await opened.read(7) == b"for you"


async def test_a_program_that_goes_on_after_its_session_was_closed_gets_another() -> None:
    async with await serialnet.listen("pty:") as listener:
        with program(Endpoint.parse(listener.urls[0]).path) as opened:
            session = await accept(listener)
            opened.write(b"unread")
            await session.aclose()
            with anyio.move_on_after(0.05):
                raise AssertionError(await listener.accept())
            opened.write(b"again")
            async with await accept(listener) as session:
                assert await next_event(session) == b"again"


async def test_a_program_that_comes_while_it_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    look = AskingPty.look
    came: list[Program] = []

    def look_and_come(pty: AskingPty) -> bool:
        result = look(pty)
        if not came:
            came.append(Program(pty.path))
            came[0].set(termios.B9600)
        return result

    async with await serialnet.listen("pty:") as listener:
        monkeypatch.setattr(AskingPty, "look", look_and_come)
        session = await accept(listener)
        asked = await configure(session)
        assert asked.settings == LineSettings(9600)
        await session.aclose()
        came[0].close()


async def test_a_program_that_opens_it_twice_and_closes_it_once_is_there_still() -> None:
    async with await serialnet.listen("pty:") as listener:
        path = Endpoint.parse(listener.urls[0]).path
        with program(path) as opened:
            with program(path):  # inotify merges the two
                session = await accept(listener)
            opened.write(b"still there")
            assert await next_event(session) == b"still there"
            await session.send(b"so are we")
            assert await opened.read(9) == b"so are we"


async def test_a_close_that_the_master_does_not_know_of_yet_brings_no_ghost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The kernel tells inotify of a close before it hangs up."""
    pty = AskingPty()
    try:
        with program(pty.path):
            pty.look()
            assert (pty.present, pty.client) == (True, 1)
            with monkeypatch.context() as patch, program(pty.path):  # there is something to be read
                assert pty._inotify is not None
                read = pty._inotify.read
                patch.setattr(pty._inotify, "read", lambda: read() and [Seen(IN_CLOSE, "")])
                pty.look()
            assert (pty.present, pty.client) == (True, 1)
        pty.look()
        assert (pty.present, pty.client) == (False, 1)
    finally:
        pty.close()


async def test_an_open_that_the_master_knows_of_before_its_event_counts_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pty = AskingPty()
    try:
        with program(pty.path):
            with monkeypatch.context() as patch:
                assert pty._inotify is not None
                patch.setattr(pty._inotify, "read", list)
                pty.look()
            pty.look()
            assert (pty.present, pty.client) == (True, 1)
        with program(pty.path):  # the next one, before anybody looks
            pty.look()
            assert (pty.present, pty.client) == (True, 2)
    finally:
        pty.close()


async def test_accepting_costs_no_cpu_and_ends_with_the_listener() -> None:
    before = descriptors()
    listener = await serialnet.listen("pty:")
    with program(Endpoint.parse(listener.urls[0]).path):
        session = await accept(listener)
    with pytest.raises(anyio.EndOfStream):
        await next_event(session)
    async with anyio.create_task_group() as tasks:

        async def wait() -> None:
            with pytest.raises(anyio.ClosedResourceError):
                await listener.accept()

        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        used = time.process_time()
        await anyio.sleep(0.3)
        assert time.process_time() - used < 0.06
        with pytest.raises(anyio.BusyResourceError):
            await listener.accept()
        await listener.aclose()
    await session.aclose()
    assert descriptors() == before


async def test_a_session_breaks_when_its_listener_is_closed() -> None:
    listener = await serialnet.listen("pty:")
    with program(Endpoint.parse(listener.urls[0]).path):
        session = await accept(listener)
        async with anyio.create_task_group() as tasks:

            async def wait() -> None:
                with pytest.raises(anyio.BrokenResourceError):
                    await session.receive()

            tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            await listener.aclose()
        await session.aclose()


# The conformance kit


async def connected() -> tuple[serialnet.Transport, serialnet.Transport]:
    master = await pty()
    return master, await serialnet.connect(path_of(master), exclusive=False)


@pytest.mark.timeout(120)
async def test_it_keeps_the_contract_of_a_transport() -> None:
    await check_transport(connected, in_order=False, outlives_peer=(PtyTransport,))


@asynccontextmanager
async def accepted() -> AsyncIterator[tuple[serialnet.Transport, serialnet.Transport]]:
    async with await serialnet.listen("pty:") as listener:
        path = Endpoint.parse(listener.urls[0]).path
        program = await serialnet.connect(path, exclusive=False)
        yield await accept(listener), program


@pytest.mark.timeout(120)
async def test_a_session_keeps_the_contract_of_a_transport() -> None:
    # A program hears nothing of it when its session is closed. What is sent to one that has left is lost, for
    # what it sent may still be on its way to a slow port, and an error would end that.
    await check_transport(accepted, in_order=False, outlives_peer=(PtyTransport, SerialTransport))
