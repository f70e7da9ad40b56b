"""The board as its host sees it: logs, rates, time, trouble."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serialnet.chips import Board, Mode
from serialnet.values.events import LineErrors
from serialnet.values.settings import Inputs, LineSettings, Outputs, Parity, Purge

from .tcp_board import enter_download

SYNC = b"\xc0\x00\x08\x24\x00\x00\x00\x00\x00\x07\x07\x12\x20" + b"\x55" * 32 + b"\xc0"
FACTORY = b"Hello from a simulated board\r\nserialnet-app:factory\r\n"


def change_rate(rate: int) -> bytes:
    return b"\xc0\x00\x0f\x08\x00\x00\x00\x00\x00" + rate.to_bytes(4, "little") + bytes(4) + b"\xc0"


def hard_reset(board: Board, now: float) -> float:
    board.set_outputs(Outputs(rts=True), now)
    board.set_outputs(Outputs(), now + 0.1)
    board.advance(now + 0.2)
    return now + 0.2


# Boot logs and firmware


@pytest.mark.parametrize(
    ("chip", "options", "download", "application"),
    [
        (
            "esp32",
            {},
            (
                b"ets Jun  8 2016 00:22:57\r\n\r\nrst:0x1 (POWERON_RESET),"
                b"boot:0x3 (DOWNLOAD_BOOT(UART0/UART1/SDIO_REI_REO_V2))\r\nwaiting for download\r\n"
            ),
            b"rst:0x1 (POWERON_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)\r\n",
        ),
        (
            "esp32s2",
            {},
            (
                b"ESP-ROM:esp32s2-rc4-20191025\r\nBuild:Oct 25 2019\r\nrst:0x1 (POWERON),"
                b"boot:0x0 (DOWNLOAD(USB/UART0/1/SPI))\r\nwaiting for download\r\n"
            ),
            b"rst:0x1 (POWERON),boot:0x8 (SPI_FAST_FLASH_BOOT)\r\n",
        ),
        (
            "esp32c3",
            {},
            (
                b"ESP-ROM:esp32c3-api1-20210207\r\nBuild:Feb  7 2021\r\nrst:0x1 (POWERON),"
                b"boot:0x4 (DOWNLOAD(USB/UART0/1))\r\nwaiting for download\r\n"
            ),
            b"rst:0x1 (POWERON),boot:0xc (SPI_FAST_FLASH_BOOT)\r\n",
        ),
        (
            "esp32c3",
            {"usb_jtag": True},
            (
                b"ESP-ROM:esp32c3-api1-20210207\r\nBuild:Feb  7 2021\r\nrst:0x15 (USB_UART_CHIP_RESET),"
                b"boot:0x4 (DOWNLOAD(USB/UART0/1))\r\nwaiting for download\r\n"
            ),
            b"rst:0x15 (USB_UART_CHIP_RESET),boot:0xc (SPI_FAST_FLASH_BOOT)\r\n",
        ),
    ],
)
def test_boot_logs(chip: str, options: dict[str, Any], download: bytes, application: bytes) -> None:
    board = Board(chip, **options)
    board.set_outputs(Outputs(dtr=True), 0)
    now = enter_download(board, 1)
    assert board.data_to_send() == download
    hard_reset(board, now)
    assert board.data_to_send().endswith(application + FACTORY)
    assert board.boots == [Mode.DOWNLOAD, Mode.APPLICATION]


def test_new_board_runs_and_echoes() -> None:
    board = Board()
    assert (board.mode, board.boots, board.waiting) == (Mode.APPLICATION, [], 0)
    board.receive_data(bytearray(b"\x00\xff"), 0)
    board.receive_data(memoryview(b"hello"), 0)
    assert board.waiting == 7
    assert board.data_to_send(3) == b"\x00\xffh"
    assert board.data_to_send() == b"ello"


def test_firmware_tells_its_name() -> None:
    board = Board("esp32c3", firmware_log=b"boot\n")
    board.flash.erase(0, board.flash.size)
    board.flash.write(0, b"\xe9" + b"x" * 60_000 + b"serialnet-app:v2\0more")
    hard_reset(board, 0)
    assert board.data_to_send().endswith(b"FAST_FLASH_BOOT)\r\nboot\nserialnet-app:v2\r\n")


def test_firmware_may_have_no_name() -> None:
    board = Board("esp32", firmware_log=b"boot\n")
    board.flash.write(0x1000, b"\xe9" + b"x" * 0x10000 + b"serialnet-app:v2\0")
    hard_reset(board, 0)
    assert board.data_to_send().endswith(b"FAST_FLASH_BOOT)\r\nboot\n")


def test_empty_flash_is_reported_once_and_runs_nothing() -> None:
    board = Board()
    board.flash.erase(0, board.flash.size)
    now = hard_reset(board, 0)
    assert board.data_to_send().endswith(b"SPI_FAST_FLASH_BOOT)\r\ninvalid header: 0xffffffff\r\n")
    board.receive_data(b"hello", now)
    board.advance(now + 100)
    assert board.data_to_send() == b""
    assert board.boots == [Mode.APPLICATION]


def test_firmware_sends_of_its_own_accord_but_not_in_reset() -> None:
    board = Board()
    board.transmit(b"42 degrees\r\n", 0)
    board.set_outputs(Outputs(rts=True), 1)
    board.transmit(b"lost", 2)
    assert board.data_to_send() == b"42 degrees\r\n"


def test_restart_by_software_lets_the_reply_out_first() -> None:
    board = Board()
    now = enter_download(board, 0)
    board.data_to_send()
    board.receive_data(b"\xc0\x00\x04\x04\x00\x00\x00\x00\x00\x01\x00\x00\x00\xc0", now)
    assert board.data_to_send() == b"\xc0\x01\x04\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\xc0"
    assert board.mode is Mode.DOWNLOAD
    assert board.deadline == pytest.approx(now + 0.01)
    board.advance(now + 0.011)
    assert board.boots == [Mode.DOWNLOAD, Mode.APPLICATION]
    assert b"rst:0x3 (SW_RESET),boot:0x13" in board.data_to_send()


# Rates


@pytest.mark.parametrize(
    ("settings", "understood"),
    [
        (LineSettings(115200), True),
        (LineSettings(112000), True),
        (LineSettings(118600), True),
        (LineSettings(111000), False),
        (LineSettings(119000), False),
        (LineSettings(9600), False),
        (LineSettings(115200, parity=Parity.EVEN), False),
        (LineSettings(115200, bytesize=7), False),
    ],
)
def test_a_wrong_rate_garbles_both_ways(settings: LineSettings, understood: bool) -> None:
    board = Board()
    board.configure(settings, 0)
    board.transmit(b"hello \xc0", 1)
    sent = board.data_to_send()
    assert (sent == b"hello \xc0") is understood
    assert board.take_errors() == LineErrors(framing=0 if understood else 7)

    now = enter_download(board, 2)
    board.data_to_send()
    board.receive_data(SYNC, now)
    assert (board.waiting > 0) is understood


def test_garbled_bytes_are_always_the_same_and_never_frames() -> None:
    board = Board()
    board.configure(LineSettings(9600), 0)
    board.transmit(bytes(range(256)) * 2, 1)
    noise = board.data_to_send()
    assert noise[:256] == noise[256:]
    assert len(set(noise)) > 100
    assert not set(noise) & {0xC0, *range(0x80)}


def test_rate_changes_once_the_reply_is_out_and_a_reset_undoes_it() -> None:
    board = Board()
    now = enter_download(board, 0)
    board.data_to_send()
    board.receive_data(change_rate(460800) + SYNC, now)
    reply = board.data_to_send(14)
    assert reply == b"\xc0\x01\x0f\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\xc0"
    # What answers the SYNC is on the wire at the new rate, which the host does not understand yet.
    assert board.waiting > 0
    assert b"\xc0" not in board.data_to_send()
    assert board.baudrate == 460800
    board.configure(LineSettings(460800), now)
    board.receive_data(b"\xc0" + SYNC, now)
    assert board.data_to_send().count(b"\xc0") == 16
    hard_reset(board, now)
    assert board.baudrate == 115200
    assert b"Hello" not in board.data_to_send()


def test_over_native_usb_the_rate_does_not_matter() -> None:
    board = Board("esp32c3", usb_jtag=True, pace=True)
    board.configure(LineSettings(300, parity=Parity.ODD), 0)
    board.receive_data(b"hello", 1)
    assert board.data_to_send() == b"hello"


# Time


def test_paced_bytes_take_their_time_both_ways() -> None:
    board = Board(pace=True)
    board.receive_data(b"x" * 64, 10.0)
    assert board.unsent == 64
    there = 10.0 + 640 / 115200
    assert board.deadline == pytest.approx(there)
    board.advance(there + 1e-6)
    assert (board.unsent, board.waiting) == (0, 0)
    back = there + 640 / 115200
    assert board.deadline == pytest.approx(back)
    board.advance(back - 1e-6)
    assert board.waiting == 0
    board.advance(back + 1e-6)
    assert board.data_to_send() == b"x" * 64
    assert board.deadline is None


def test_paced_pieces_queue_up() -> None:
    board = Board(pace=True)
    board.receive_data(b"x" * 64, 0)
    board.receive_data(b"y" * 64, 0)
    board.advance(3 * 640 / 115200 - 1e-6)
    assert board.data_to_send() == b"x" * 64
    board.advance(3 * 640 / 115200 + 1e-6)
    assert board.data_to_send() == b"y" * 64


def test_paced_data_flows_at_the_rate() -> None:
    board = Board(pace=True)
    board.receive_data(b"x" * 4096, 0)
    board.advance(0.1)
    board.receive_data(b"y" * 1000, 0.1)
    board.advance(0.2001)
    # 11520 bytes per second, less the 64 that the echo lags behind, in whole pieces.
    assert board.waiting == 2304 - 64


def test_paced_board_takes_what_a_driver_would() -> None:
    board = Board(pace=True)
    assert board.room == 4096
    board.receive_data(b"x" * 5000, 0)
    assert (board.room, board.unsent) == (0, 4096)
    board.advance(1)
    assert board.room == 4096
    assert board.waiting == 4096


def test_reset_cuts_a_log_short() -> None:
    board = Board(pace=True)
    board.transmit(b"x" * 6400, 0)
    board.set_outputs(Outputs(rts=True), 0.1)
    assert 0 < board.waiting < 1200
    board.advance(10)
    assert board.waiting < 1200


chunks = st.one_of(st.just(SYNC), st.just(change_rate(230400)), st.binary(max_size=300))
steps = st.one_of(
    st.tuples(st.just("receive_data"), chunks),
    st.tuples(st.just("set_outputs"), st.builds(Outputs, st.booleans(), st.booleans(), st.booleans())),
    st.tuples(st.just("configure"), st.builds(LineSettings, st.sampled_from([115200, 230400, 9600]))),
    st.tuples(st.just("transmit"), st.binary(max_size=300)),
    st.tuples(st.just("purge"), st.sampled_from(Purge)),
)
gaps = st.sampled_from([0.0, 0.0001, 0.001, 0.0014, 0.005, 0.0138, 0.014, 0.05, 0.35])
boards = st.sampled_from(
    [
        {"chip": "esp32", "pace": True},
        {"chip": "esp32c3", "usb_jtag": True},
        {"chip": "esp32s2", "reenumerate": True},
        {"chip": "esp32s2", "capacitor": 1e-7, "pace": True},
    ]
)


@given(boards, st.lists(st.tuples(gaps, steps, st.lists(st.floats(0, 1))), max_size=25))
def test_late_advance_equals_timely_advance(
    options: dict[str, Any], script: list[tuple[float, tuple[str, Any], list[float]]]
) -> None:
    timely, late = Board(**options), Board(**options)
    now = 100.0
    for gap, (method, value), between in script:
        for part in sorted(between):
            timely.advance(now + gap * part)
        while (due := timely.deadline) is not None and due < now + gap:
            timely.advance(due)
        now += gap
        getattr(timely, method)(value, now)
        getattr(late, method)(value, now)
        assert timely.mode is late.mode
        assert timely.deadline == late.deadline
    timely.advance(now + 10)
    late.advance(now + 10)
    assert timely.data_to_send() == late.data_to_send()
    assert timely.take_errors() == late.take_errors()
    assert (timely.boots, timely.name, timely.breaks) == (late.boots, late.name, late.breaks)


def test_a_clock_that_steps_back_does_no_harm() -> None:
    board = Board(pace=True)
    board.advance(10)
    board.receive_data(b"hello", 9)
    assert board.deadline == pytest.approx(10 + 50 / 115200)
    board.advance(11)
    assert board.data_to_send() == b"hello"


# Trouble


def test_stalled_board_takes_no_data_until_it_is_reset() -> None:
    board = Board()
    board.stalled = True
    assert board.room == 0
    board.receive_data(b"lost", 0)
    assert board.waiting == 0
    hard_reset(board, 1)
    assert not board.stalled
    board.data_to_send()
    board.receive_data(b"hello", 2)
    assert board.data_to_send() == b"hello"


def test_stalled_board_can_be_freed_by_hand() -> None:
    board = Board()
    board.stalled = True
    board.stalled = False
    assert board.room == 0x10000


def test_usb_logic_resets_a_stalled_board() -> None:
    board = Board("esp32c3", usb_jtag=True)
    board.stalled = True
    board.set_outputs(Outputs(rts=True), 0)
    assert not board.stalled


def test_echo_is_bounded_and_loses_nothing_that_there_was_room_for() -> None:
    board = Board()
    board.receive_data(b"x" * 0x9000, 0)
    assert board.room == 0x7000
    board.receive_data(b"y" * 0x9000, 0)
    assert (board.room, board.waiting) == (0, 0x10000)
    assert board.data_to_send() == b"x" * 0x9000 + b"y" * 0x7000
    assert board.take_errors() == LineErrors()


def test_what_nobody_reads_is_lost_and_counted() -> None:
    board = Board()
    board.transmit(b"x" * 0x10000, 0)
    board.transmit(b"y" * 10, 0)
    assert board.waiting == 0x10000
    assert board.take_errors() == LineErrors(overrun=10)
    assert board.take_errors() == LineErrors()


def test_purging() -> None:
    board = Board(pace=True)
    board.transmit(b"x" * 10, 0)
    board.advance(1)
    board.receive_data(b"y" * 10, 1)
    board.purge(Purge.UNSENT, 1)
    assert (board.unsent, board.waiting) == (0, 10)
    board.receive_data(b"z" * 10, 1)
    board.purge(Purge.RECEIVED, 1)
    assert (board.unsent, board.waiting) == (10, 0)
    board.advance(2)
    assert board.data_to_send() == b"z" * 10


def test_breaks_are_counted_as_they_begin() -> None:
    board = Board()
    for at, brk in enumerate([True, True, False, True]):
        board.set_outputs(Outputs(brk=brk, dtr=True), at)
    assert board.breaks == 2
    assert board.outputs == Outputs(dtr=True, brk=True)


def test_a_test_drives_inputs_and_errors() -> None:
    board = Board()
    assert board.inputs == Inputs()
    board.set_inputs(Inputs(cts=True, cd=True))
    assert board.inputs == Inputs(cts=True, cd=True)
    board.add_errors(LineErrors(breaks=1))
    board.add_errors(LineErrors(parity=2, breaks=1))
    assert board.take_errors() == LineErrors(parity=2, breaks=2)


def test_boots_are_remembered_within_bounds() -> None:
    board = Board("esp32c3", usb_jtag=True)
    for at in range(2202):
        board.set_outputs(Outputs(rts=at % 2 == 0), at)
    assert len(board.boots) == 1000


def test_re_enumeration() -> None:
    board = Board("esp32s2", reenumerate=True)
    assert (board.name, board.connected) == ("usb0", True)

    board.transmit(b"lost with the device", 0)
    board.set_outputs(Outputs(rts=True), 0)
    board.set_outputs(Outputs(dtr=True), 0.1)
    board.receive_data(change_rate(9600), 0.2)
    assert (board.waiting, board.baudrate) == (0, 115200)
    assert (board.connected, board.mode, board.outputs) == (False, Mode.DOWNLOAD, Outputs())
    board.set_outputs(Outputs(rts=True), 0.25)
    assert board.outputs == Outputs()
    assert board.deadline is not None
    assert 0.4 < board.deadline < 0.42
    board.advance(board.deadline)
    assert (board.name, board.connected) == ("usb1", True)
    assert board.data_to_send().endswith(b"waiting for download\r\n")

    # From the loader to the loader: the same device.
    now = enter_download(board, 1)
    assert (board.name, board.connected) == ("usb1", True)

    hard_reset(board, now)
    assert not board.connected
    board.advance(now + 1)
    assert (board.name, board.connected, board.mode) == ("usb2", True, Mode.APPLICATION)
    assert board.boots == [Mode.DOWNLOAD, Mode.DOWNLOAD, Mode.APPLICATION]


def touched(*outputs: Outputs) -> Board:
    board = Board("esp32s2", reenumerate=True, touch=True)
    board.set_outputs(Outputs(True, True), 0)
    board.configure(LineSettings(1200), 0)
    for at, change in enumerate(outputs):
        board.set_outputs(change, 1 + at / 10)
    return board


def test_a_touch() -> None:
    board = touched(Outputs(rts=True))
    board.advance(1.2)
    assert (board.connected, board.boots) == (True, [])
    board.advance(1.3)
    assert (board.connected, board.boots) == (False, [Mode.DOWNLOAD])
    board.advance(1.6)
    assert (board.name, board.mode) == ("usb1", Mode.DOWNLOAD)
    hard_reset(board, 2)
    board.advance(4)
    assert (board.name, board.mode) == ("usb2", Mode.APPLICATION)


@pytest.mark.parametrize("after", [[], [Outputs(), Outputs(dtr=True)], [Outputs(dtr=True)]])
def test_no_touch(after: list[Outputs]) -> None:
    board = touched(*after)
    board.advance(10)
    assert board.boots == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chip": "esp8266"}, "chip must be one of esp32, esp32s2, esp32c3, not 'esp8266'"),
        ({"capacitor": 1.0}, "capacitor must be from .* farads, not 1.0"),
        ({"capacitor": float("nan")}, "capacitor must be"),
        ({"flash_size": 1000}, "flash_size must be a power of two from 262144 to 16777216, not 1000"),
        ({"reenumerate": True}, "only an esp32s2 can have reenumerate, not an esp32"),
        ({"chip": "esp32s2", "touch": True}, "only a board with reenumerate can have touch"),
        ({"chip": "esp32s2", "usb_jtag": True}, "only an esp32c3 can have usb_jtag, not an esp32s2"),
    ],
)
def test_bad_values_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Board(**options)


@given(st.lists(st.binary(max_size=200)), st.lists(st.integers(min_value=0)))
def test_chunks_never_matter(pieces: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(pieces) + b"\xc0" + SYNC
    whole, cut = Board(), Board()
    for board in (whole, cut):
        board.set_outputs(Outputs(rts=True), 0)
        board.set_outputs(Outputs(dtr=True), 1)
    whole.receive_data(stream, 2)
    edges = [0, *sorted(at % len(stream) for at in cuts), len(stream)]
    for a, b in pairwise(edges):
        cut.receive_data(stream[a:b], 2)
    whole.advance(3)
    cut.advance(3)
    assert whole.data_to_send() == cut.data_to_send()
