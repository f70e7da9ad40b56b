"""pyserial's own RFC 2217 client on a shared board."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import TypeVar

import anyio.to_thread
import pytest
import serial

from serialnet import Inputs, Outputs, serve
from serialnet.values.settings import FlowControl, LineSettings, Parity, StopBits

from .matrix import CLIENTS, Can, shows
from .tools import python, served, times, until

T = TypeVar("T")

# pyserial's client starts its thread in a way that newer Pythons disapprove of.
pytestmark = pytest.mark.filterwarnings(r"ignore:set(Daemon|Name)\(\):DeprecationWarning")

BAUDRATES = (*serial.Serial.BAUDRATES, 74880, 250_000, 12_345, 3)


async def blocking(work: Callable[[], T]) -> T:
    """Run pyserial's calls, which block, beside the server."""
    return await anyio.to_thread.run_sync(work)


def open_port(url: str) -> serial.Serial:
    return serial.serial_for_url(url, baudrate=115200, timeout=5)


def wait_for_inputs(port: serial.Serial, state: Inputs) -> None:
    deadline = time.monotonic() + 5
    while (seen := Inputs(port.cts, port.dsr, port.ri, port.cd)) != state:
        assert time.monotonic() < deadline, seen
        time.sleep(0.01)


@pytest.mark.timeout(times(60, 300))
async def test_opening_and_closing_in_a_row() -> None:
    opens = times(10, 100)

    def open_and_close(url: str) -> None:
        for number in range(opens):
            with open_port(url) as port:
                port.write(b"%d." % number)
                assert port.read_until(b".") == b"%d." % number

    async with served() as shared:
        await blocking(lambda: open_and_close(shared.url))
        await until(lambda: shared.server.stats.sessions == opens)
        assert shared.server.stats.refused == 0
        assert shared.board.boots == []


@shows(CLIENTS["pyserial"], can=Can.SETTINGS)
async def test_settings_reach_the_board() -> None:
    async with served() as shared:
        board = shared.board

        def work() -> None:
            with open_port(shared.url) as port:
                assert board.settings == LineSettings(115200)
                for baudrate in BAUDRATES:
                    port.baudrate = baudrate
                    assert board.settings.baudrate == baudrate
                for bytesize in (5, 6, 7, 8):
                    port.bytesize = bytesize
                    assert board.settings.bytesize == bytesize
                for parity in Parity:
                    port.parity = parity.value
                    assert board.settings.parity is parity
                for stopbits in StopBits:
                    port.stopbits = stopbits.value
                    assert board.settings.stopbits is stopbits
                for name, value, flow in (
                    ("xonxoff", True, FlowControl.XONXOFF),
                    ("xonxoff", False, FlowControl.NONE),
                    ("rtscts", True, FlowControl.RTSCTS),
                ):
                    setattr(port, name, value)
                    assert board.settings.flow is flow

        await blocking(work)


async def test_settings_of_the_opening_reach_the_board() -> None:
    async with served() as shared:

        def work() -> None:
            with serial.serial_for_url(
                shared.url, 9600, bytesize=7, parity="E", stopbits=2, xonxoff=True, timeout=5
            ):
                pass

        await blocking(work)
        expected = LineSettings(9600, 7, Parity.EVEN, StopBits.TWO, FlowControl.XONXOFF)
        assert shared.board.settings == expected


@shows(CLIENTS["pyserial"], can=Can.OUTPUTS)
async def test_outputs_reach_the_board() -> None:
    async with served() as shared:
        board = shared.board

        def work() -> None:
            with open_port(shared.url) as port:
                assert board.outputs == Outputs(dtr=True, rts=True)
                port.rts = False
                assert board.outputs == Outputs(dtr=True, rts=False)
                port.dtr = False
                assert board.outputs == Outputs(dtr=False, rts=False)
                port.break_condition = True
                assert board.outputs.brk
                port.break_condition = False
                assert not board.outputs.brk
                assert board.breaks == 1
                port.send_break(0.01)
                assert not board.outputs.brk
                assert board.breaks == 2

        await blocking(work)
        assert board.boots == []


@shows(CLIENTS["pyserial"], can=Can.BREAK)
async def test_a_break_ends_with_its_session() -> None:
    async with served() as shared:

        def work() -> None:
            with open_port(shared.url) as port:
                port.break_condition = True
                assert shared.board.outputs.brk

        await blocking(work)
        await until(lambda: not shared.board.outputs.brk)


@shows(CLIENTS["pyserial"], can=Can.BYTES)
async def test_all_bytes_pass_and_come_back() -> None:
    data = bytes(range(256)) * 8 + b"\xff" * 512 + b"\r\n\r\0\n" * 100
    async with served() as shared:

        def work() -> None:
            with open_port(shared.url) as port:
                port.write(data)
                assert port.read(len(data)) == data

        await blocking(work)


@shows(CLIENTS["pyserial"], can=Can.PURGE)
async def test_resetting_buffers() -> None:
    async with served() as shared:

        def work() -> None:
            with open_port(shared.url) as port:
                port.write(b"stale")
                while port.in_waiting < 5:
                    pass
                port.reset_input_buffer()
                assert port.in_waiting == 0
                port.reset_output_buffer()
                port.write(b"fresh")
                assert port.read(5) == b"fresh"

        await blocking(work)


STATES = [
    Inputs(cts=True),
    Inputs(dsr=True),
    Inputs(ri=True),
    Inputs(cd=True),
    Inputs(cts=True, dsr=True, ri=True, cd=True),
    Inputs(),
]


@shows(CLIENTS["pyserial"], can=Can.INPUTS)
@pytest.mark.parametrize("query", ["", "?poll_modem"])
async def test_inputs_as_the_board_drives_them(query: str) -> None:
    async with served() as shared:
        port = await blocking(lambda: open_port(shared.url + query))
        try:
            for state in STATES:
                shared.board.set_inputs(state)

                await blocking(partial(wait_for_inputs, port, state))
        finally:
            await blocking(port.close)


async def test_a_loop_plug_as_the_port() -> None:
    async with serve("loop:", "rfc2217://127.0.0.1:0") as server:

        def work() -> None:
            with open_port(server.urls[0] + "?poll_modem") as port:
                port.write(b"echo")
                assert port.read(4) == b"echo"

        await blocking(work)

        port = await blocking(lambda: open_port(server.urls[0] + "?poll_modem"))
        try:
            for dtr, rts in product((False, True), repeat=2):

                def drive(dtr: bool = dtr, rts: bool = rts) -> None:
                    port.dtr, port.rts = dtr, rts

                await blocking(drive)
                await blocking(partial(wait_for_inputs, port, Inputs(cts=rts, dsr=dtr, cd=dtr)))
        finally:
            await blocking(port.close)


SECOND = """
import sys, serial
try:
    serial.serial_for_url(sys.argv[1])
except serial.SerialException:
    sys.exit(3)
"""


async def test_a_second_client_is_refused_and_the_first_goes_on() -> None:
    async with served() as shared:
        with await blocking(lambda: open_port(shared.url)) as port:
            second = await python("-c", SECOND, f"{shared.url}?timeout=0.5")
            assert second.status == 3, second
            assert shared.server.stats.refused == 1

            def work() -> None:
                port.write(b"still here")
                assert port.read(10) == b"still here"

            await blocking(work)
            await blocking(port.close)


# How idf_monitor, mpremote and others open a port: both lines preset, in either order, or left alone. (With
# DTR off and RTS on, a program would ask for a reset.) Each finds what another has left.
OPENINGS = [
    (("dtr", False), ("rts", False)),
    (("rts", False), ("dtr", False)),
    (),
    (("rts", True), ("dtr", True)),
    (("dtr", True), ("rts", False)),
    (("rts", False), ("dtr", True)),
    (("rts", False), ("dtr", False)),
    (("dtr", True), ("rts", False)),
    (),
    (("dtr", False), ("rts", False)),
]


async def test_no_way_of_opening_resets_the_board() -> None:
    async with served() as shared:

        def work() -> None:
            for presets in OPENINGS:
                port = serial.serial_for_url(shared.url, 115200, timeout=5, do_not_open=True)
                for name, value in presets:
                    setattr(port, name, value)
                port.open()
                port.close()

        await blocking(work)
        await until(lambda: shared.server.stats.sessions == len(OPENINGS))
        assert shared.board.boots == []
        assert shared.server.stats.refused == 0


async def test_releasing_both_lines_after_the_opening_resets_nothing() -> None:
    async with served() as shared:

        def work() -> None:
            with open_port(shared.url) as port:
                port.rts = False
                port.dtr = False
                port.write(b"alive")
                assert port.read(5) == b"alive"

        await blocking(work)
        assert shared.board.boots == []
        assert shared.board.outputs == Outputs()
