"""A NOR flash: erased it is all ones, programming only clears bits."""

from collections.abc import Iterator

__all__ = ["SECTOR", "Flash"]

SECTOR = 4096
_ERASED = b"\xff" * SECTOR


class Flash:
    """The flash memory of a board. Memory is taken only for sectors that were written.

    :param size: bytes, a power of two from 256 KiB to 16 MiB (what 24-bit addresses reach)
    :raises ValueError: if the size is none of these; all methods: if the range is not inside the flash
    """

    def __init__(self, size: int) -> None:
        if not 1 << 18 <= size <= 1 << 24 or size & (size - 1):
            raise ValueError(f"flash_size must be a power of two from {1 << 18} to {1 << 24}, not {size}")
        self.size = size
        self._sectors: dict[int, bytes] = {}

    def read(self, offset: int, size: int) -> bytes:
        """Give ``size`` bytes from ``offset`` on."""
        return b"".join(
            self._sectors.get(sector, _ERASED)[start:end] for sector, start, end in self._pieces(offset, size)
        )

    def write(self, offset: int, data: bytes) -> None:
        """Put these bytes there, whatever stood there before (as a test wants it, no chip can)."""
        self._store(offset, data, clear_only=False)

    def program(self, offset: int, data: bytes) -> None:
        """Clear the bits that are clear in ``data``, as the chip does: it must be erased before."""
        self._store(offset, data, clear_only=True)

    def erase(self, offset: int, size: int) -> None:
        """Erase every sector (4 KiB) that has a byte in this range."""
        for sector, _, _ in self._pieces(offset, size):
            self._sectors.pop(sector, None)

    def _store(self, offset: int, data: bytes, *, clear_only: bool) -> None:
        taken = 0
        for sector, start, end in self._pieces(offset, len(data)):
            old = self._sectors.get(sector, _ERASED)
            new = data[taken : taken + end - start]
            taken += end - start
            if clear_only:
                new = _and(old[start:end], new)
            self._sectors[sector] = old[:start] + new + old[end:]

    def _pieces(self, offset: int, size: int) -> Iterator[tuple[int, int, int]]:
        """Cut a range at the sectors: their numbers, and from where to where inside each."""
        if offset < 0 or size < 0 or offset + size > self.size:
            raise ValueError(f"expected a range inside the {self.size} bytes of flash, not {offset} + {size}")
        end = offset + size
        while offset < end:
            sector, start = divmod(offset, SECTOR)
            length = min(SECTOR - start, end - offset)
            yield sector, start, start + length
            offset += length


def _and(a: bytes, b: bytes) -> bytes:
    return (int.from_bytes(a) & int.from_bytes(b)).to_bytes(len(a))
