from __future__ import annotations

import asyncio
import errno
import gc
import grp
import itertools
import logging
import os
import select
import struct
import termios
import threading
import tty
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace

import anyio
import pytest
from anyio.lowlevel import checkpoint
from anyio.to_thread import current_default_thread_limiter

from serialnet.core.endpoint import Endpoint
from serialnet.core.errors import (
    EndpointError,
    LineError,
    LineTimeoutError,
    LineUnsupportedError,
    OpenError,
    PortBusyError,
)
from serialnet.core.options import parse_options
from serialnet.core.transport import TransportAttribute
from serialnet.transports import _serial_line
from serialnet.transports._termios import System
from serialnet.transports.serial import SerialFactory, SerialOptions, SerialTransport, factory
from serialnet.values.events import InputsChanged, LineErrors, Lost
from serialnet.values.settings import (
    FlowControl,
    Inputs,
    LineSettings,
    Outputs,
    Parity,
    Purge,
    StopBits,
)

from .fake_tty import DTR, OUT2, RTS, TERMIOS2, FakeTty

ENDPOINT = Endpoint.parse("/dev/ttyUSB0")


@asynccontextmanager
async def open_port(
    system: System, endpoint: Endpoint = ENDPOINT, **options: object
) -> AsyncIterator[SerialTransport]:
    parsed = parse_options(SerialOptions, options, "serial")
    async with aclosing(await SerialFactory(system).connect(endpoint, parsed, None)) as port:
        yield port


@pytest.fixture
def fake() -> Iterator[FakeTty]:
    fake = FakeTty()
    yield fake
    assert not fake.open_descriptors


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_serial_line, "PATIENCE", 0.05)


# Opening


async def test_opening_leaves_the_modem_lines_as_the_kernel_does(fake: FakeTty) -> None:
    async with open_port(fake) as port:
        assert fake.modem_settings() == []
        assert port.line.outputs == Outputs(dtr=True, rts=True)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"dtr": False, "rts": False}, [OUT2]),
        ({"dtr": False}, [OUT2 | RTS]),
        ({"rts": "off"}, [OUT2 | DTR]),
        ({"dtr": True, "rts": True}, []),
    ],
)
async def test_opening_corrects_the_modem_lines_in_one_step(
    fake: FakeTty, asked: dict[str, bool | str], expected: list[int]
) -> None:
    async with open_port(fake, ENDPOINT, **asked) as port:
        assert fake.modem_settings() == expected
        assert port.line.outputs == Outputs(bool(fake.modem & DTR), bool(fake.modem & RTS))


async def test_opening_makes_the_tty_raw(fake: FakeTty) -> None:
    async with open_port(fake, baudrate=9600):
        iflag, oflag, cflag, lflag, _, characters, _, speed = TERMIOS2.unpack(fake.attributes)
        assert (iflag, oflag, lflag, speed) == (0, 0, 0, 9600)
        assert cflag & termios.CLOCAL
        assert cflag & termios.CREAD
        assert not cflag & termios.HUPCL
        # else a read that finds nothing looks like a hang-up
        assert (characters[termios.VMIN], characters[termios.VTIME]) == (1, 0)


async def test_hupcl(fake: FakeTty) -> None:
    async with open_port(fake, hupcl=True):
        assert TERMIOS2.unpack(fake.attributes)[2] & termios.HUPCL


async def test_opening_never_touches_the_break(fake: FakeTty) -> None:
    fake.errors["TIOCSBRK"] = fake.errors["TIOCCBRK"] = errno.EOPNOTSUPP
    async with open_port(fake):
        pass
    assert "TIOCSBRK" not in fake.names()
    assert "TIOCCBRK" not in fake.names()


async def test_exclusive_is_given_back(fake: FakeTty) -> None:
    async with open_port(fake):
        assert fake.names()[:3] == ["open", "flock", "TIOCEXCL"]
    assert fake.names()[-2:] == ["TIOCNXCL", "close"]


async def test_shared_takes_no_lock(fake: FakeTty) -> None:
    async with open_port(fake, exclusive=False):
        pass
    assert not {"flock", "TIOCEXCL", "TIOCNXCL"} & set(fake.names())


async def test_low_latency(fake: FakeTty) -> None:
    fake.serial_flags = 0x10
    async with open_port(fake):
        assert fake.serial_flags == 0x2010


@pytest.mark.parametrize("call", ["TIOCGSERIAL", "TIOCSSERIAL"])
async def test_low_latency_is_no_condition(fake: FakeTty, call: str) -> None:
    fake.errors[call] = errno.EPERM
    async with open_port(fake) as port:
        assert port.line.settings == LineSettings()


@pytest.mark.parametrize(
    ("call", "code", "text"),
    [
        ("open", errno.ENOENT, "no such device"),
        ("open", errno.EACCES, "no permission"),
        ("TCGETS2", errno.ENOTTY, "not a serial port"),
        ("TCGETS2", errno.EIO, "no hardware"),
        ("TIOCMGET", errno.ENODEV, "no such device"),
        ("TCSETS2", errno.EMFILE, "Too many open files"),
        ("TCSETS2", errno.EINVAL, "its driver refuses 115200 8N1"),
    ],
)
async def test_what_cannot_be_opened(fake: FakeTty, call: str, code: int, text: str) -> None:
    fake.errors[call] = code
    with pytest.raises(OpenError, match=f"/dev/ttyUSB0.*{text}") as caught:
        async with open_port(fake):
            pass
    assert caught.value.errno == code


@pytest.mark.parametrize(
    ("mode", "gid", "hint"),
    [
        (0o660, 20, "; it belongs to the group them: become a member"),
        (0o600, 20, ""),  # that would not help
        (0o660, 0, ""),  # nobody should
    ],
)
async def test_who_may_open_it(
    fake: FakeTty, monkeypatch: pytest.MonkeyPatch, mode: int, gid: int, hint: str
) -> None:
    status = os.stat("/dev/null")
    fake_status = os.stat_result((mode, *status[1:5], gid, *status[6:]))
    stat = os.stat
    monkeypatch.setattr(
        os, "stat", lambda path, **more: fake_status if path == "/dev/ttyUSB0" else stat(path, **more)
    )
    monkeypatch.setattr(grp, "getgrgid", lambda gid: SimpleNamespace(gr_name="them"))
    fake.errors["open"] = errno.EACCES
    with pytest.raises(OpenError, match=f"/dev/ttyUSB0: no permission{hint}") as caught:
        async with open_port(fake):
            pass
    assert ("member" in str(caught.value)) == bool(hint)


@pytest.mark.parametrize(("call", "code"), [("open", errno.EBUSY), ("flock", errno.EWOULDBLOCK)])
async def test_busy(fake: FakeTty, call: str, code: int) -> None:
    fake.errors[call] = code
    with pytest.raises(PortBusyError, match="/dev/ttyUSB0 is in use"):
        async with open_port(fake):
            pass


class Gate:
    """Holds the fake up in one of its calls, until :meth:`open`."""

    def __init__(self, fake: FakeTty, name: str) -> None:
        self._name = name
        self.reached = threading.Event()
        self._opened = threading.Event()
        fake.before = self._before

    def _before(self, name: str) -> None:
        if name == self._name and not self.reached.is_set():
            self.reached.set()
            assert self._opened.wait(10)

    async def wait_reached(self) -> None:
        while not self.reached.is_set():  # noqa: ASYNC110  # set in a thread
            await anyio.sleep(0.001)

    def open(self) -> None:
        self._opened.set()


async def test_cancelled_opening_leaves_no_descriptor(fake: FakeTty) -> None:
    gate = Gate(fake, "TCSETS2")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(SerialFactory(fake).connect, ENDPOINT, SerialOptions(), None)
        await gate.wait_reached()
        tasks.cancel_scope.cancel()
        gate.open()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_opening_cancelled_by_asyncio_leaves_no_descriptor(fake: FakeTty) -> None:
    gate = Gate(fake, "TCSETS2")
    opening = asyncio.ensure_future(SerialFactory(fake).connect(ENDPOINT, SerialOptions(), None))
    await gate.wait_reached()
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert fake.open_descriptors
    gate.open()
    while fake.open_descriptors:  # noqa: ASYNC110  # closed in a thread
        await anyio.sleep(0.001)


@pytest.mark.parametrize("url", ["serial:", "serial://ttyUSB0", "serial://host/dev/ttyUSB0"])
async def test_an_endpoint_without_a_device(fake: FakeTty, url: str) -> None:
    with pytest.raises(EndpointError, match="expected a device"):
        async with open_port(fake, Endpoint.parse(url)):
            pass
    assert fake.calls == []


async def test_a_serial_port_does_not_listen() -> None:
    with pytest.raises(EndpointError, match="cannot listen"):
        await factory.listen(ENDPOINT, SerialOptions(), None)


def test_options() -> None:
    given = {"baudrate": "9600", "bytesize": "7", "parity": "e", "stopbits": "2", "rtscts": "1", "dtr": "off"}
    options = parse_options(SerialOptions, given, "serial")
    expected = LineSettings(9600, 7, Parity.EVEN, StopBits.TWO, FlowControl.RTSCTS)
    assert options.settings(LineSettings()) == expected
    assert (options.dtr, options.rts) == (False, None)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"rtscts": "1", "xonxoff": "1"}, "exclude each other"),
        ({"bytesize": "9"}, "bytesize must be"),
        ({"baudrate": "0"}, "baudrate must be"),
        ({"parity": "X"}, "N or O or E or M or S"),
    ],
)
def test_options_out_of_range(given: dict[str, str], text: str) -> None:
    with pytest.raises(EndpointError, match=text):
        parse_options(SerialOptions, given, "serial")


# The modem lines and BREAK


async def test_both_lines_in_one_step(fake: FakeTty) -> None:
    async with open_port(fake) as port:
        assert await port.line.set_outputs(dtr=False, rts=False) == Outputs()
        assert await port.line.set_outputs(dtr=True, rts=True) == Outputs(dtr=True, rts=True)
        assert await port.line.set_outputs(rts=False) == Outputs(dtr=True)
    assert fake.modem_settings() == [OUT2, OUT2 | DTR | RTS, OUT2 | DTR]


async def test_changes_keep_their_order(fake: FakeTty) -> None:
    async with open_port(fake) as port:
        gate = Gate(fake, "TIOCMSET")
        values = [False, True, False, True, False]
        async with anyio.create_task_group() as tasks:
            for dtr in values:
                tasks.start_soon(lambda dtr: port.line.set_outputs(dtr=dtr), dtr)
                await gate.wait_reached()
                await anyio.wait_all_tasks_blocked()
            # a device that hangs takes one thread, and none of those that all share
            assert current_default_thread_limiter().borrowed_tokens == 0
            gate.open()
        assert [bool(bits & DTR) for bits in fake.modem_settings()] == values
        assert port.line.outputs == Outputs(dtr=False, rts=True)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_call_cancelled_by_asyncio_is_waited_for_by_closing(fake: FakeTty) -> None:
    async with open_port(fake) as port:
        gate = Gate(fake, "TIOCMSET")
        call = asyncio.ensure_future(port.line.set_outputs(dtr=False))
        await gate.wait_reached()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(port.aclose)
            with anyio.move_on_after(0.05):
                while fake.open_descriptors:  # noqa: ASYNC110  # closed in a thread
                    await anyio.sleep(0.001)
            assert fake.open_descriptors
            gate.open()


async def test_break(fake: FakeTty) -> None:
    async with open_port(fake) as port:
        fake.calls.clear()
        assert await port.line.set_outputs(brk=True) == Outputs(dtr=True, rts=True, brk=True)
        assert await port.line.set_outputs(brk=True, dtr=False) == Outputs(rts=True, brk=True)
        assert await port.line.set_outputs(brk=False) == Outputs(rts=True)
        assert fake.names() == ["TIOCSBRK", "TIOCMSET", "TIOCCBRK"]


@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL])
async def test_a_device_without_break(fake: FakeTty, code: int) -> None:
    fake.errors["TIOCSBRK"] = code
    async with open_port(fake) as port:
        with pytest.raises(LineUnsupportedError, match="BREAK"):
            await port.line.set_outputs(dtr=False, rts=False, brk=True)
        assert fake.modem_settings() == []
        assert port.line.outputs == Outputs(dtr=True, rts=True)
        assert await port.line.set_outputs(dtr=False, brk=False) == Outputs(rts=True)


@pytest.mark.parametrize("code", [errno.ENOTTY, errno.EINVAL])
async def test_a_tty_without_modem_lines(fake: FakeTty, code: int, caplog: pytest.LogCaptureFixture) -> None:
    fake.errors["TIOCMGET"] = fake.errors["TIOCMSET"] = code
    async with open_port(fake, rts=False) as port:
        assert port.line.outputs == Outputs(dtr=True)
        assert await port.line.set_outputs(rts=True) == Outputs(dtr=True, rts=True)
        assert await port.line.set_outputs(dtr=False) == Outputs(rts=True)
        assert await port.line.get_inputs() == Inputs()
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1


async def test_inputs(fake: FakeTty) -> None:
    async with open_port(fake) as port:
        for bit, expected in [
            (termios.TIOCM_CTS, Inputs(cts=True)),
            (termios.TIOCM_DSR, Inputs(dsr=True)),
            (termios.TIOCM_RI, Inputs(ri=True)),
            (termios.TIOCM_CD, Inputs(cd=True)),
        ]:
            fake.modem = bit
            assert await port.line.get_inputs() == expected


# Settings


@pytest.mark.parametrize("parity", Parity)
@pytest.mark.parametrize("flow", FlowControl)
async def test_all_framings(fake: FakeTty, parity: Parity, flow: FlowControl) -> None:
    async with open_port(fake) as port:
        for bytesize, stopbits in itertools.product((5, 6, 7, 8), StopBits):
            asked = LineSettings(460800, bytesize, parity, stopbits, flow)
            if stopbits is not StopBits.ONE:  # the same bit for both; a UART sends 1.5 with 5 bits
                expected = StopBits.ONE_POINT_FIVE if bytesize == 5 else StopBits.TWO
            else:
                expected = stopbits
            assert await port.line.configure(asked) == replace(asked, stopbits=expected)
            assert port.line.settings == replace(asked, stopbits=expected)


@pytest.mark.parametrize("baudrate", [1, 50, 110, 12345, 115200, 250000, 921600, 3_000_000, 12_000_000])
async def test_any_baud_rate(fake: FakeTty, baudrate: int) -> None:
    async with open_port(fake, baudrate=57600) as port:
        assert (await port.line.configure(LineSettings(baudrate))).baudrate == baudrate
        assert TERMIOS2.unpack(fake.attributes)[7] == baudrate


@pytest.mark.parametrize(
    ("baudrate", "name"),
    [
        *((50, 0o1), (9600, 0o15), (38400, 0o17), (57600, 0o10001), (115200, 0o10002), (4_000_000, 0o10017)),
        (250_000, 0o10000),  # BOTHER
    ],
)
async def test_the_kernel_is_told_its_own_name_of_a_rate(fake: FakeTty, baudrate: int, name: int) -> None:
    async with open_port(fake, baudrate=baudrate):
        cflag = TERMIOS2.unpack(fake.attributes)[2]
        # No other bit may stem from the rate: one that is out of place changes the parity.
        assert cflag == name | termios.CS8 | termios.CREAD | termios.CLOCAL


@pytest.mark.parametrize("fallback", [115200, 9600])
async def test_what_is_in_force_is_told(fake: FakeTty, fallback: int) -> None:
    async with open_port(fake) as port:
        fake.take = lambda baudrate, cflag: (fallback, cflag & ~termios.PARENB)
        asked = LineSettings(20_000_000, 8, Parity.EVEN)
        assert await port.line.configure(asked) == LineSettings(fallback)
        assert port.line.settings == LineSettings(fallback)


async def test_settings_that_are_in_force_wait_for_nothing(fake: FakeTty) -> None:
    fake.unsent = iter(lambda: 4096, 0)
    async with open_port(fake) as port:
        fake.calls.clear()
        assert await port.line.configure(LineSettings()) == LineSettings()
        assert fake.calls == []
        fake.unsent = iter(lambda: 0, 1)


async def test_settings_wait_for_the_bytes_before(fake: FakeTty) -> None:
    async with open_port(fake) as port:
        fake.unsent = itertools.chain([300, 200, 100], itertools.repeat(0))
        fake.calls.clear()
        await port.line.configure(LineSettings(9600))
        names = [name for name, _ in fake.calls if name in ("TIOCOUTQ", "TCSETS2")]
        assert names == [*["TIOCOUTQ"] * 4, "TCSETS2"]


async def test_settings_wait_for_the_transmitter(fake: FakeTty) -> None:
    full = iter([0, 0, termios.TIOCSER_TEMT])

    class Uart(FakeTty):
        def ioctl(self, descriptor: int, request: int, argument: int | bytes = 0) -> bytes:
            result = super().ioctl(descriptor, request, argument)
            if request == termios.TIOCSERGETLSR:
                return struct.pack("@i", next(full, termios.TIOCSER_TEMT))
            return result

    uart = Uart()
    del uart.errors["TIOCSERGETLSR"]
    async with open_port(uart) as port:
        uart.calls.clear()
        await port.line.configure(LineSettings(9600))
        names = [name for name, _ in uart.calls]
        assert names[: names.index("TCSETS2")].count("TIOCSERGETLSR") == 3


@pytest.mark.usefixtures("impatient")
async def test_settings_give_up_when_nothing_moves(fake: FakeTty) -> None:
    async with open_port(fake) as port:
        fake.unsent = itertools.chain([300, 200], itertools.repeat(200))
        fake.calls.clear()
        with pytest.raises(LineTimeoutError, match="200 bytes"):
            await port.line.configure(LineSettings(9600))
        assert "TCSETS2" not in fake.names()
        assert port.line.settings == LineSettings()
        assert await port.line.set_outputs(dtr=False) == Outputs(rts=True)  # that does not wait
        fake.unsent = iter(lambda: 0, 1)


@pytest.mark.usefixtures("impatient")
async def test_a_drain_is_patient_while_bytes_leave(fake: FakeTty) -> None:
    async with open_port(fake, baudrate=300) as port:  # naps of 50 ms: longer together than the patience
        fake.unsent = itertools.chain([400, 300, 200, 100], itertools.repeat(0))
        await port.line.drain()
        assert next(fake.unsent) == 0


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EPERM])
async def test_refused_settings(fake: FakeTty, code: int) -> None:
    async with open_port(fake) as port:
        fake.errors["TCSETS2"] = code
        with pytest.raises(LineError):
            await port.line.configure(LineSettings(9600))
        assert port.line.settings == LineSettings()


@pytest.mark.parametrize(
    ("what", "queue"),
    [
        (Purge.RECEIVED, termios.TCIFLUSH),
        (Purge.UNSENT, termios.TCOFLUSH),
        (Purge.BOTH, termios.TCIOFLUSH),
    ],
)
async def test_purge(fake: FakeTty, what: Purge, queue: int) -> None:
    async with open_port(fake) as port:
        await port.line.purge(what)
        assert fake.calls[-1] == ("TCFLSH", queue)


# The device goes

LINE_CALLS: dict[str, Callable[[SerialTransport], Awaitable[object]]] = {
    "receive": lambda port: port.receive(),
    "send": lambda port: port.send(b"x"),
    "configure": lambda port: port.line.configure(LineSettings(9600)),
    "set_outputs": lambda port: port.line.set_outputs(dtr=False),
    "break": lambda port: port.line.set_outputs(brk=True),
    "get_inputs": lambda port: port.line.get_inputs(),
    "purge": lambda port: port.line.purge(Purge.BOTH),
    "drain": lambda port: port.line.drain(),
}


@pytest.mark.parametrize("call", LINE_CALLS)
@pytest.mark.parametrize("code", [errno.EIO, errno.ENODEV, errno.ENXIO])
async def test_the_device_has_gone(fake: FakeTty, call: str, code: int) -> None:
    async with open_port(fake) as port:
        fake.errors["all"] = code
        del fake.errors["TIOCSERGETLSR"]
        with pytest.raises(anyio.BrokenResourceError, match="the device has gone"):
            await LINE_CALLS[call](port)


async def test_a_hang_up_is_no_end_of_stream(fake: FakeTty) -> None:
    fake.incoming = [b"last words", b""]
    async with open_port(fake) as port:
        assert await port.receive() == b"last words"
        with pytest.raises(anyio.BrokenResourceError, match="the device has gone"):
            await port.receive()


@pytest.mark.parametrize("call", LINE_CALLS)
async def test_closed(fake: FakeTty, call: str) -> None:
    async with open_port(fake) as port:
        await port.aclose()
        with pytest.raises(anyio.ClosedResourceError):
            await LINE_CALLS[call](port)
        assert fake.calls[-1] == ("close", 0)


# Events


async def test_events(fake: FakeTty) -> None:
    async with open_port(fake) as port, port.line.events() as events:
        assert await anext(events) == InputsChanged(Inputs(), Inputs())
        fake.modem |= termios.TIOCM_CTS
        assert await anext(events) == InputsChanged(Inputs(), Inputs(cts=True))
        fake.modem ^= termios.TIOCM_CTS | termios.TIOCM_RI
        fake.counters[6:11] = [1, 2, 3, 4, 5]  # frame, overrun, parity, brk, buf_overrun
        assert await anext(events) == InputsChanged(Inputs(cts=True), Inputs(ri=True))
        assert await anext(events) == LineErrors(overrun=7, parity=3, framing=1, breaks=4)
        fake.counters[9] += 1
        assert await anext(events) == LineErrors(breaks=1)
        fake.errors["all"] = errno.EIO
        assert isinstance(await anext(events), Lost)
        with pytest.raises(StopAsyncIteration):
            await anext(events)


async def test_events_of_a_driver_that_does_not_count(fake: FakeTty) -> None:
    fake.errors["TIOCGICOUNT"] = errno.ENOTTY
    async with open_port(fake) as port, port.line.events() as events:
        await anext(events)
        fake.modem |= termios.TIOCM_CD
        assert await anext(events) == InputsChanged(Inputs(), Inputs(cd=True))


async def test_looks_are_20_ms_apart(fake: FakeTty) -> None:
    async with open_port(fake) as port, port.line.events() as events:
        await anext(events)
        fake.calls.clear()
        began = anyio.current_time()
        with anyio.move_on_after(0.1):
            await anext(events)
        looks = [name for name, _ in fake.calls if name == "TIOCMGET"]
        assert 1 <= len(looks) <= 1 + (anyio.current_time() - began) / 0.02


async def test_a_cancelled_wait_does_not_end_the_watch(fake: FakeTty) -> None:
    async with open_port(fake) as port, port.line.events() as events:
        await anext(events)
        with anyio.move_on_after(0.03):
            await anext(events)
        fake.modem |= termios.TIOCM_DSR
        assert await anext(events) == InputsChanged(Inputs(), Inputs(dsr=True))


async def test_nobody_is_polled_outside_the_block(fake: FakeTty) -> None:
    async with open_port(fake) as port:
        async with port.line.events() as events:
            await anext(events)
        fake.calls.clear()
        with pytest.raises(StopAsyncIteration):
            await anext(events)
        assert fake.calls == []


async def test_closing_ends_a_watch(fake: FakeTty) -> None:
    async with open_port(fake) as port, port.line.events() as events:
        await anext(events)
        await port.aclose()
        with pytest.raises(anyio.ClosedResourceError):
            await anext(events)


# Closing


async def test_closing_releases_break_first(fake: FakeTty) -> None:
    async with open_port(fake) as port:
        await port.line.set_outputs(brk=True)
        fake.calls.clear()
    assert fake.names() == ["TIOCCBRK", "TIOCNXCL", "close"]


async def test_closing_changes_no_line(fake: FakeTty) -> None:
    async with open_port(fake, dtr=False):
        fake.calls.clear()
    assert fake.modem_settings() == []


async def test_closing_twice(fake: FakeTty) -> None:
    async with open_port(fake) as port:
        await port.aclose()
        fake.calls.clear()
        await port.aclose()
        assert fake.calls == []


async def test_closing_lets_bytes_leave(fake: FakeTty) -> None:
    async with open_port(fake) as port:
        fake.unsent = itertools.chain([300, 200, 100], itertools.repeat(0))
        await port.aclose()
    assert "TCFLSH" not in fake.names()


@pytest.mark.usefixtures("impatient")
async def test_closing_discards_what_is_stuck(fake: FakeTty) -> None:
    async with open_port(fake) as port:
        fake.unsent = itertools.repeat(4096)
        await port.aclose()
    assert ("TCFLSH", termios.TCOFLUSH) in fake.calls


async def test_cancelled_closing_waits_for_nothing(fake: FakeTty) -> None:
    async with open_port(fake) as port:
        await port.line.set_outputs(brk=True)
        fake.unsent = itertools.repeat(4096)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await port.aclose()
    assert fake.names()[-4:] == ["TIOCCBRK", "TCFLSH", "TIOCNXCL", "close"]


async def test_a_call_that_waits_for_its_turn_is_not_made_after_closing(fake: FakeTty) -> None:
    async with open_port(fake) as port:
        gate = Gate(fake, "TIOCMSET")
        raised: list[BaseException] = []

        async def send_break() -> None:
            try:
                await port.line.set_outputs(brk=True)
            except anyio.ClosedResourceError as error:
                raised.append(error)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: port.line.set_outputs(dtr=False))
            await gate.wait_reached()
            tasks.start_soon(send_break)
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(port.aclose)
            await anyio.wait_all_tasks_blocked()
            assert fake.open_descriptors  # not under a call that is being made
            gate.open()
        assert len(raised) == 1
        assert "TIOCSBRK" not in fake.names()


async def test_closing_a_device_that_has_gone(fake: FakeTty) -> None:
    async with open_port(fake) as port:
        await port.line.set_outputs(brk=True)
        fake.errors["all"] = errno.EIO
    assert fake.calls[-1] == ("close", 0)


# On a PTY, with the real system calls


@pytest.fixture
def pty() -> Iterator[tuple[int, str]]:
    master, slave = os.openpty()
    tty.setraw(slave)
    os.set_blocking(master, False)
    yield master, os.ttyname(slave)
    os.close(slave)
    os.close(master)


async def test_bytes_both_ways(pty: tuple[int, str]) -> None:
    master, path = pty
    data = bytes(range(256)) * 64
    async with open_port(System(), Endpoint.parse(path)) as port:
        assert port.extra(TransportAttribute.url) == path

        async def send() -> None:
            await port.send(data)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send)
            received = b""
            while len(received) < len(data):
                await anyio.wait_readable(master)
                received += os.read(master, 65536)
        assert received == data

        async def write() -> None:
            rest = memoryview(data)
            while rest:
                await anyio.wait_writable(master)
                rest = rest[os.write(master, rest) :]

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            received = b""
            while len(received) < len(data):
                received += await port.receive(1000)
        assert received == data


async def test_a_full_port_waits(pty: tuple[int, str]) -> None:
    master, path = pty
    async with open_port(System(), Endpoint.parse(path)) as port:
        sent = 0
        with anyio.move_on_after(0.2):
            while True:
                sent += await port.send_some(bytes(4096))
        received = 0
        while select.select([master], [], [], 0.2)[0]:
            received += len(os.read(master, 65536))
        assert received == sent > 0


async def test_cancelled_receives_lose_nothing(pty: tuple[int, str]) -> None:
    master, path = pty
    async with open_port(System(), Endpoint.parse(path)) as port:
        received = b""
        for i in range(100):
            with anyio.move_on_after(0.0005 * (i % 3)):
                os.write(master, bytes([i]))
                received += await port.receive()
        while len(received) < 100:
            received += await port.receive()
        assert received == bytes(range(100))


async def test_real_settings(pty: tuple[int, str]) -> None:
    _, path = pty
    async with open_port(System(), Endpoint.parse(path), baudrate=12345) as port:
        assert port.line.settings == LineSettings(12345)
        assert (await port.line.configure(LineSettings(460800))).baudrate == 460800
        # a PTY has no parity, and says so only when asked
        assert await port.line.configure(LineSettings(9600, 7, Parity.EVEN)) == LineSettings(9600)
        await port.line.drain()


async def test_real_purge(pty: tuple[int, str]) -> None:
    master, path = pty
    async with open_port(System(), Endpoint.parse(path)) as port:
        os.write(master, b"old")
        await anyio.wait_readable(port._descriptor)
        await port.line.purge(Purge.RECEIVED)
        os.write(master, b"new")
        assert await port.receive() == b"new"


async def test_exclusive(pty: tuple[int, str]) -> None:
    _, path = pty
    endpoint = Endpoint.parse(path)
    async with open_port(System(), endpoint):
        with pytest.raises(PortBusyError, match=rf"in use by .*\(pid {os.getpid()}\)"):
            async with open_port(System(), endpoint):
                pass
        async with open_port(System(), endpoint, exclusive=False):
            pass
    async with open_port(System(), endpoint):
        pass


async def test_closing_while_receiving(pty: tuple[int, str]) -> None:
    _, path = pty
    raised: list[BaseException] = []
    async with open_port(System(), Endpoint.parse(path)) as port:

        async def receive() -> None:
            try:
                await port.receive()
            except anyio.ClosedResourceError as error:
                raised.append(error)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive)
            await anyio.wait_all_tasks_blocked()
            await port.aclose()
    assert len(raised) == 1


async def test_two_receivers_are_one_too_many(pty: tuple[int, str]) -> None:
    _, path = pty
    async with open_port(System(), Endpoint.parse(path)) as port, anyio.create_task_group() as tasks:
        tasks.start_soon(port.receive)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(anyio.BusyResourceError):
            await port.receive()
        tasks.cancel_scope.cancel()


async def test_unplugged() -> None:
    master, slave = os.openpty()
    tty.setraw(slave)
    async with open_port(System(), Endpoint.parse(os.ttyname(slave))) as port:
        os.close(slave)

        async def unplug() -> None:
            await anyio.wait_all_tasks_blocked()
            os.close(master)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(unplug)
            with pytest.raises(anyio.BrokenResourceError):
                await port.receive()
        for call in LINE_CALLS.values():
            with pytest.raises(anyio.BrokenResourceError, match="the device has gone"):
                await call(port)
        async with port.line.events() as events:
            assert [type(event) async for event in events] == [Lost]


async def test_no_half_close(pty: tuple[int, str]) -> None:
    _, path = pty
    async with open_port(System(), Endpoint.parse(path)) as port:
        assert not port.can_send_eof
        with pytest.raises(NotImplementedError):
            await port.send_eof()


async def test_no_descriptor_is_left(pty: tuple[int, str]) -> None:
    _, path = pty
    await checkpoint()
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        async with open_port(System(), Endpoint.parse(path)):
            pass
        with anyio.CancelScope() as scope:
            scope.cancel()
            async with open_port(System(), Endpoint.parse(path)):
                pass
    with pytest.raises(OpenError):
        async with open_port(System(), Endpoint.parse("/dev/null")):
            pass
    assert len(os.listdir("/proc/self/fd")) == before
