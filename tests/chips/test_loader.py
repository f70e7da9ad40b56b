"""The loader's protocol, request by request."""

import hashlib
import zlib
from functools import reduce
from operator import xor
from struct import pack, unpack, unpack_from

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serialnet.chips import Flash
from serialnet.chips.loader import Action, Loader, Restart, SetBaudrate
from serialnet.chips.models import MODELS
from serialnet.wire.slip import Decoder, encode

OK, INVALID, FAILED, CHECKSUM, DEFLATE = 0, 5, 6, 7, 11


class Host:
    """Speaks to a loader as a flasher does."""

    def __init__(self, chip: str = "esp32", *, stub: bool = False) -> None:
        self.flash = Flash(1 << 20)
        self.loader = Loader(MODELS[chip], self.flash)
        if stub:
            self.ask(0x05, pack("<4I", 0, 0, 0, 0))
            self.ask(0x06, pack("<2I", 0, 0))

    def act(self, op: int, payload: bytes, checksum: int = 0) -> list[Action]:
        return list(self.loader.receive(encode(pack("<BBHI", 0, op, len(payload), checksum) + payload)))

    def ask(self, op: int, payload: bytes = b"", checksum: int = 0) -> tuple[int, int, bytes]:
        """Give the status, the value and the data of the (first) reply."""
        status_size = 2 if self.loader.in_stub else 4
        reply = self.act(op, payload, checksum)[0]
        assert isinstance(reply, bytes)
        (frame,) = Decoder(0x8000).receive(reply)
        direction, answered, size, value = unpack_from("<BBHI", frame)
        assert (direction, answered, size) == (1, op, len(frame) - 8)
        status = frame[-status_size:]
        assert status[0] == (status[1] > 0)
        assert not any(status[2:])
        return status[1], value, frame[8:-status_size]

    def block(self, op: int, sequence: int, data: bytes, checksum: int | None = None) -> int:
        right = reduce(xor, data, 0xEF)
        words = pack("<4I", len(data), sequence, 0, 0)
        status, _, _ = self.ask(op, words + data, right if checksum is None else checksum)
        return status


def frames(actions: list[Action]) -> list[bytes]:
    return list(Decoder(0x8000).receive(b"".join(action for action in actions if isinstance(action, bytes))))


@pytest.mark.parametrize(("stub", "is_rom"), [(False, True), (True, False)])
def test_sync_is_answered_eight_times(stub: bool, is_rom: bool) -> None:
    host = Host(stub=stub)
    answers = host.act(0x08, b"\x07\x07\x12\x20" + b"\x55" * 32)
    assert len(answers) == 8
    assert len(set(answers)) == 1
    assert (host.ask(0x08)[1] != 0) is is_rom


def test_registers() -> None:
    host = Host("esp32s2")
    assert host.ask(0x0A, pack("<I", 0x40001000)) == (OK, 0x000007C6, b"")
    assert host.ask(0x0A, pack("<I", 0x12345678)) == (OK, 0, b"")


@pytest.mark.parametrize(("chip", "user2", "result"), [("esp32", 0x24, 0x80), ("esp32c3", 0x20, 0x58)])
def test_flash_identity_through_the_spi_controller(chip: str, user2: int, result: int) -> None:
    host = Host(chip)
    base = MODELS[chip].spi.base
    host.ask(
        0x09,
        pack("<4I", base + user2, 7 << 28 | 0x9F, 0xFFFFFFFF, 0) + pack("<4I", base, 1 << 18, 1 << 18, 0),
    )
    assert host.ask(0x0A, pack("<I", base)) == (OK, 0, b"")
    assert host.ask(0x0A, pack("<I", base + result)) == (OK, 0x1440EF, b"")


def test_writing_a_register_keeps_what_the_mask_leaves_out() -> None:
    host = Host()
    address = MODELS["esp32"].spi.base + 0x1C
    host.ask(0x09, pack("<4I", address, 0xAAAAAAAA, 0xFFFFFFFF, 0))
    host.ask(0x09, pack("<4I", address, 0x55555555, 0x0000FFFF, 0))
    assert host.ask(0x0A, pack("<I", address))[1] == 0xAAAA5555


def test_memory_is_not_taken_for_registers_that_nobody_knows() -> None:
    host = Host()
    for address in range(0, 1 << 20, 997):
        host.ask(0x09, pack("<4I", address, 1, 0xFFFFFFFF, 0))
    assert host.ask(0x0A, pack("<I", 997)) == (OK, 0, b"")


def test_clock_divider_tells_the_crystal_at_any_rate() -> None:
    host = Host("esp32")
    assert host.ask(0x0A, pack("<I", 0x3FF40014))[1] == 347
    host.ask(0x0F, pack("<2I", 460800, 0))
    assert host.ask(0x0A, pack("<I", 0x3FF40014))[1] == 86


def test_rate_changes_after_the_reply() -> None:
    reply, change = Host().act(0x0F, pack("<2I", 921600, 0))
    assert isinstance(reply, bytes)
    assert change == SetBaudrate(921600)
    for rate in (0, 5_000_001):
        assert Host().ask(0x0F, pack("<2I", rate, 0))[0] == INVALID


@pytest.mark.parametrize(("chip", "size", "chip_id"), [("esp32s2", 12, None), ("esp32c3", 20, 5)])
@pytest.mark.parametrize("stub", [False, True])
def test_security_info(chip: str, size: int, chip_id: int | None, stub: bool) -> None:
    status, _, info = Host(chip, stub=stub).ask(0x14)
    assert (status, len(info)) == (OK, size)
    if chip_id is not None:
        assert unpack_from("<I", info, 12) == (chip_id,)


@pytest.mark.parametrize("stub", [False, True])
def test_writing_flash(stub: bool) -> None:
    host = Host("esp32c3", stub=stub)
    host.flash.write(0x2000, bytes(0x3000))
    assert host.ask(0x02, pack("<4I", 0x800, 2, 0x400, 0x2000))[0] == OK
    data = bytes(range(256)) * 4
    assert host.block(0x03, 1, data) == OK
    assert host.block(0x03, 0, data) == OK
    # The sector was erased, the next one not.
    assert host.flash.read(0x2000, 0x1001) == data * 2 + b"\xff" * 0x800 + b"\0"


def test_damaged_block_is_refused_and_can_be_repeated() -> None:
    host = Host()
    host.ask(0x02, pack("<4I", 0x400, 1, 0x400, 0))
    assert host.block(0x03, 0, b"x" * 0x400, checksum=0) == CHECKSUM
    assert host.flash.read(0, 1) == b"\xff"
    assert host.block(0x03, 0, b"x" * 0x400) == OK
    assert host.flash.read(0, 2) == b"xx"


@pytest.mark.parametrize("size", [0, 1, 2, 3, 255, 256, 257, 1023, 16384])
def test_checksum_of_any_length(size: int) -> None:
    host = Host()
    host.ask(0x05, pack("<4I", 0, 0, 0, 0))
    assert host.block(0x07, 0, bytes(n * 7 % 251 for n in range(size))) == OK


def test_compressed_writing() -> None:
    host = Host()
    data = bytes(range(200)) * 300
    packed = zlib.compress(data)
    host.ask(0x10, pack("<4I", len(data), 3, 100, 0x1000))
    for start in range(0, len(packed), 100):
        assert host.block(0x11, start // 100, packed[start : start + 100]) == OK
    assert host.flash.read(0x1000, len(data)) == data
    assert host.ask(0x12, pack("<I", 1))[0] == OK


@pytest.mark.parametrize("stream", [zlib.compress(bytes(1 << 20)), b"no zlib at all"])
def test_inflated_data_stays_inside_what_was_announced(stream: bytes) -> None:
    host = Host()
    host.ask(0x10, pack("<4I", 0x1000, 1, 0x4000, 0))
    assert host.block(0x11, 0, stream) == DEFLATE
    assert host.flash.read(0, 0x2000) == b"\xff" * 0x2000


@pytest.mark.parametrize("stub", [False, True])
def test_md5(stub: bool) -> None:
    host = Host(stub=stub)
    host.flash.write(5, b"firmware")
    digest = hashlib.md5(b"firmware")
    expected = digest.digest() if stub else digest.hexdigest().encode()
    assert host.ask(0x13, pack("<4I", 5, 8, 0, 0)) == (OK, 0, expected)


def test_reading_slowly() -> None:
    host = Host()
    host.flash.write(100, b"firmware")
    assert host.ask(0x0E, pack("<2I", 100, 8)) == (OK, 0, b"firmware".ljust(64, b"\0"))
    assert host.ask(0x0E, pack("<2I", 100, 65))[0] == INVALID


def test_stub_starts_after_the_reply() -> None:
    host = Host()
    assert host.ask(0x06, pack("<2I", 0, 0x400BE5A8))[0] == INVALID
    assert host.ask(0x05, pack("<4I", 4, 1, 0x1800, 0x400BE000))[0] == OK
    assert host.block(0x07, 0, b"code") == OK
    answers = host.act(0x06, pack("<2I", 0, 0x400BE5A8))
    assert frames(answers) == [b"\x01\x06\x04\0\0\0\0\0\0\0\0\0", b"OHAI"]
    assert host.loader.in_stub


def test_loading_without_an_entry_stays_in_rom() -> None:
    host = Host()
    host.ask(0x05, pack("<4I", 4, 1, 0x1800, 0x400BE000))
    assert len(host.act(0x06, pack("<2I", 1, 0))) == 1
    assert not host.loader.in_stub


def test_reading_fast_waits_for_acknowledgements() -> None:
    host = Host(stub=True)
    image = bytes(range(251)) * 100
    host.flash.write(0, image)
    _reply, *sent = frames(host.act(0xD2, pack("<4I", 0, len(image), 4096, 2)))
    assert list(map(len, sent)) == [4096, 4096]
    got = b""
    while len(got) < len(image):
        got += sent.pop(0)
        sent += frames(list(host.loader.receive(encode(pack("<I", len(got))))))
    assert got == image
    assert sent == [hashlib.md5(image).digest()]
    assert host.ask(0x08)[0] == OK


def test_reading_is_bounded_however_much_is_asked_for_at_once() -> None:
    host = Host(stub=True)
    actions = host.act(0xD2, pack("<4I", 0, 1 << 20, 4096, 0xFFFFFFFF))
    assert len(frames(actions)) == 5
    assert host.ask(0xD2, pack("<4I", 0, 1 << 20, 4097, 1))[0] == INVALID
    assert host.ask(0xD2, pack("<4I", 0, 1 << 20, 0, 1))[0] == INVALID


def test_another_request_ends_reading() -> None:
    host = Host(stub=True)
    host.act(0xD2, pack("<4I", 0, 1 << 20, 4096, 1))
    assert host.ask(0x08)[0] == OK
    assert list(host.loader.receive(encode(pack("<I", 4096)))) == []


def test_an_acknowledgement_of_more_than_was_sent_ends_reading() -> None:
    host = Host(stub=True)
    host.act(0xD2, pack("<4I", 0, 1 << 20, 4096, 1))
    assert list(host.loader.receive(encode(pack("<I", 4097)))) == []
    assert list(host.loader.receive(encode(pack("<I", 4096)))) == []


def test_erasing() -> None:
    host = Host(stub=True)
    host.flash.write(0, bytes(0x4000))
    assert host.ask(0xD1, pack("<2I", 0x1000, 0x1000))[0] == OK
    assert host.flash.read(0, 0x3000) == bytes(0x1000) + b"\xff" * 0x1000 + bytes(0x1000)
    assert host.ask(0xD1, pack("<2I", 0x1000, 0x10))[0] == INVALID
    assert host.ask(0xD0)[0] == OK
    assert host.flash.read(0, 0x4000) == b"\xff" * 0x4000


@pytest.mark.parametrize(
    ("stub", "op", "payload", "restart"),
    [
        (False, 0x04, pack("<I", 0), Restart.FIRMWARE),
        (False, 0x04, pack("<I", 1), Restart.FIRMWARE),
        (True, 0x04, pack("<I", 0), Restart.ROM),
        (True, 0x12, pack("<I", 0), Restart.ROM),
        (True, 0x04, pack("<I", 1), None),
        (True, 0xD3, b"", Restart.FIRMWARE),
        (False, 0x09, pack("<4I", 0x60008090, 1 << 31, 0xFFFFFFFF, 0), Restart.WATCHDOG),
        (False, 0x09, pack("<4I", 0x60008090, 1 << 31, 0x7FFFFFFF, 0), None),
    ],
)
def test_restarts_come_after_the_reply(stub: bool, op: int, payload: bytes, restart: Restart | None) -> None:
    reply, *then = Host("esp32c3", stub=stub).act(op, payload)
    assert isinstance(reply, bytes)
    assert then == ([] if restart is None else [restart])


ERASE = pack("<2I", 0, 0x1000)


@pytest.mark.parametrize(
    ("chip", "stub", "op", "payload", "status"),
    [
        ("esp32", False, 0xFF, b"", INVALID),
        ("esp32", True, 0xFF, b"", INVALID),
        ("esp32", False, 0x14, b"", INVALID),
        ("esp32", False, 0xD0, b"", INVALID),
        ("esp32", False, 0xD1, ERASE, INVALID),
        ("esp32", True, 0x0E, ERASE, INVALID),
        ("esp32", False, 0x0A, b"\0\0\0", INVALID),
        ("esp32", False, 0x03, pack("<4I", 4, 0, 0, 0) + b"data", CHECKSUM),
        ("esp32", False, 0x03, pack("<4I", 5, 0, 0, 0) + b"data", INVALID),
        ("esp32", False, 0x02, pack("<4I", 0x1000, 1, 0x400, (1 << 20) - 1), FAILED),
        ("esp32", False, 0x13, pack("<4I", 0, (1 << 20) + 1, 0, 0), FAILED),
        ("esp32", False, 0x0E, pack("<2I", 1 << 20, 64), FAILED),
        ("esp32", True, 0xD2, pack("<4I", 1 << 20, 1, 4096, 1), FAILED),
    ],
)
def test_what_cannot_be_done_is_refused(chip: str, stub: bool, op: int, payload: bytes, status: int) -> None:
    assert Host(chip, stub=stub).ask(op, payload) == (status, 0, b"")


def test_data_without_a_beginning_is_refused() -> None:
    host = Host()
    assert host.block(0x03, 0, b"data") == INVALID
    assert host.block(0x07, 0, b"data") == INVALID
    assert host.block(0x11, 0, b"data") == INVALID
    host.ask(0x02, pack("<4I", 0x400, 1, 0x400, 0))
    assert host.block(0x11, 0, b"data") == INVALID
    assert host.block(0x03, 0, b"x" * 0x401) == INVALID
    assert host.block(0x03, 1 << 20, b"x" * 0x400) == FAILED


@pytest.mark.parametrize("frame", [b"", b"\0\x08\0\0", b"\x01\x08\0\0\0\0\0\0", b"noise on the line"])
def test_what_is_no_request_is_not_answered(frame: bytes) -> None:
    assert list(Host().loader.receive(encode(frame))) == []


def test_a_request_of_another_length_than_it_says_is_refused() -> None:
    (reply,) = Host().loader.receive(encode(pack("<BBHI", 0, 8, 5, 0)))
    assert isinstance(reply, bytes)
    assert unpack("<xBBHI4sx", reply) == (1, 8, 4, 0, b"\x01\x05\0\0")


words = st.lists(
    st.sampled_from([0, 1, 64, 0x400, 0x1000, 1 << 20, 0x3FF42000, 1 << 31, 0xFFFFFFFF]), max_size=7
)
requests = st.builds(
    lambda op, size, checksum, values, data: encode(
        pack("<BBHI", 0, op, size if size is not None else 4 * len(values) + len(data), checksum)
        + pack(f"<{len(values)}I", *values)
        + data
    ),
    st.one_of(st.sampled_from(list(range(2, 0x15)) + list(range(0xD0, 0xD4))), st.integers(0, 255)),
    st.one_of(st.none(), st.integers(0, 0xFFFF)),
    st.sampled_from([0, 0xEF]),
    words,
    st.binary(max_size=20),
)


@given(st.lists(st.one_of(requests, st.binary()), max_size=30), st.booleans())
def test_nothing_raises(stream: list[bytes], stub: bool) -> None:
    host = Host(stub=stub)
    for piece in stream:
        for action in host.loader.receive(piece):
            assert isinstance(action, bytes | SetBaudrate | Restart)
