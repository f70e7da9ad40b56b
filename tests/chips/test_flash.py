"""The flash: NOR, sector by sector, sparse."""

import pytest

from serialnet.chips import Flash

SIZE = 1 << 18


def test_new_flash_is_erased() -> None:
    flash = Flash(SIZE)
    assert flash.read(0, SIZE) == b"\xff" * SIZE


def test_what_was_written_is_read_across_sectors() -> None:
    flash = Flash(SIZE)
    data = bytes(range(256)) * 40
    flash.write(4000, data)
    assert flash.read(3999, len(data) + 2) == b"\xff" + data + b"\xff"


def test_programming_only_clears_bits() -> None:
    flash = Flash(SIZE)
    flash.program(4094, b"\xf0\xf0\xf0\xf0")
    flash.program(4094, b"\x3c\xff\x3c\xff")
    assert flash.read(4094, 4) == b"\x30\xf0\x30\xf0"


def test_whole_sectors_are_erased_and_no_more() -> None:
    flash = Flash(SIZE)
    flash.write(0, bytes(4 * 4096))
    flash.erase(4096 + 5, 4096)
    assert flash.read(0, 4 * 4096) == bytes(4096) + b"\xff" * 8192 + bytes(4096)


@pytest.mark.parametrize(("offset", "size"), [(-1, 1), (0, -1), (SIZE, 1), (SIZE - 1, 2), (2**32 - 1, 2)])
def test_what_lies_outside_is_refused(offset: int, size: int) -> None:
    flash = Flash(SIZE)
    with pytest.raises(ValueError, match="inside the 262144 bytes"):
        flash.read(offset, size)
    with pytest.raises(ValueError, match="inside the 262144 bytes"):
        flash.erase(offset, size)


@pytest.mark.parametrize("size", [0, 1 << 17, (1 << 18) + 1, 3 << 18, 1 << 25])
def test_odd_sizes_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        Flash(size)
