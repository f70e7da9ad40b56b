"""The registers that a flasher reads and writes, and the SPI controller behind some of them."""

from .models import Model

__all__ = ["Registers"]

COMMAND = 0x00
EXECUTE = 1 << 18
SPI_BLOCK = 0x100


class Registers:
    """Memory-mapped registers. What no model names reads as 0, and writing there has no effect.

    :param flash_size: bytes, which the flash's JEDEC identity tells
    """

    def __init__(self, model: Model, flash_size: int) -> None:
        self._model = model
        self._spi: dict[int, int] = {}
        # 9F, the identity, is that of a Winbond W25Q: maker, type, log2 of the size.
        self._results = {
            0x9F: 0xEF | 0x40 << 8 | (flash_size.bit_length() - 1) << 16,
            0x5A: int.from_bytes(b"SFDP", "little"),
        }

    def read(self, address: int) -> int:
        """Give the 32-bit value at this address."""
        return self._spi.get(address, self._model.registers.get(address, 0))

    def write(self, address: int, value: int, mask: int) -> None:
        """Replace the bits in ``mask``."""
        spi = self._model.spi
        if not spi.base <= address < spi.base + SPI_BLOCK:
            return
        self._spi[address] = self.read(address) & ~mask | value & mask
        if self._spi.get(spi.base + COMMAND, 0) & EXECUTE:
            operation = self._spi.get(spi.base + spi.user2, 0) & 0xFF
            self._spi[spi.base + spi.data] = self._results.get(operation, 0)
            self._spi[spi.base + COMMAND] = 0
