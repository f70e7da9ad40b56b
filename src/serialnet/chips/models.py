"""What differs between the simulated chips: addresses, identities and texts, each a table row."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from struct import pack

__all__ = ["MODELS", "Cause", "Model", "SpiRegisters"]


class Cause(Enum):
    """Why a chip starts."""

    POWER_ON = auto()
    SOFTWARE = auto()
    WATCHDOG = auto()
    USB = auto()


@dataclass(frozen=True, slots=True)
class SpiRegisters:
    """Where the registers of the SPI controller that serves the flash stand, as offsets from ``base``."""

    base: int
    user2: int
    data: int


@dataclass(frozen=True, slots=True)
class Model:
    """One chip.

    :ivar bootloader: flash offset of the image that the ROM starts
    :ivar registers: registers that read as something else than 0, the magic number and the MAC among them
    :ivar clock_divider: address of the UART's clock divider, where flashers read it to learn the crystal
    :ivar watchdog: address of the register that arms the RTC watchdog
    :ivar security_info: the answer to GET_SECURITY_INFO, ``None`` where the ROM does not know that command
    :ivar greeting: what the ROM prints first; ``causes``, ``download``, ``from_flash``: what it says it does
    """

    name: str
    bootloader: int
    spi: SpiRegisters
    registers: Mapping[int, int]
    clock_divider: int | None
    watchdog: int | None
    security_info: bytes | None
    greeting: str
    causes: Mapping[Cause, str]
    download: str
    from_flash: str

    def boot_log(self, cause: Cause, download: bool) -> bytes:
        """Give what the ROM prints when it starts."""
        boot = f"{self.download}\r\nwaiting for download" if download else self.from_flash
        return f"{self.greeting}\r\nrst:{self.causes[cause]},boot:{boot}\r\n".encode()


_CAUSES = {
    Cause.POWER_ON: "0x1 (POWERON)",
    Cause.SOFTWARE: "0x3 (RTC_SW_SYS_RST)",
    Cause.WATCHDOG: "0x10 (RTCWDT_RTC_RST)",
    Cause.USB: "0x15 (USB_UART_CHIP_RESET)",
}

# Addresses and identities: Espressif's technical reference manuals. Texts: the boot mode pages of esptool's
# manual.
MODELS = {
    model.name: model
    for model in (
        Model(
            name="esp32",
            bootloader=0x1000,
            spi=SpiRegisters(0x3FF42000, user2=0x24, data=0x80),
            registers={
                0x40001000: 0x00F01D83,
                0x3FF5A004: 0xC4000032,
                0x3FF5A008: 0x0000240A,
                # The calibration of the internal clock, which must be plausible before the rate is changed.
                0x3FF5A010: 0x2C,
                0x3FF5F06C: 2327 << 7,
            },
            clock_divider=0x3FF40014,
            watchdog=None,
            security_info=None,
            greeting="ets Jun  8 2016 00:22:57\r\n",
            causes={
                Cause.POWER_ON: "0x1 (POWERON_RESET)",
                Cause.SOFTWARE: "0x3 (SW_RESET)",
            },
            download="0x3 (DOWNLOAD_BOOT(UART0/UART1/SDIO_REI_REO_V2))",
            from_flash="0x13 (SPI_FAST_FLASH_BOOT)",
        ),
        Model(
            name="esp32s2",
            bootloader=0x1000,
            spi=SpiRegisters(0x3F402000, user2=0x20, data=0x58),
            registers={0x40001000: 0x000007C6, 0x3F41A044: 0xA1000052, 0x3F41A048: 0x00007CDF},
            clock_divider=None,
            watchdog=0x3F408094,
            security_info=pack("<IB7s", 0, 0, bytes(7)),
            greeting="ESP-ROM:esp32s2-rc4-20191025\r\nBuild:Oct 25 2019",
            causes=_CAUSES,
            download="0x0 (DOWNLOAD(USB/UART0/1/SPI))",
            from_flash="0x8 (SPI_FAST_FLASH_BOOT)",
        ),
        Model(
            name="esp32c3",
            bootloader=0x0,
            spi=SpiRegisters(0x60002000, user2=0x20, data=0x58),
            registers={0x60008844: 0xF30000C3, 0x60008848: 0x000084F7},
            clock_divider=None,
            watchdog=0x60008090,
            security_info=pack("<IB7sII", 0, 0, bytes(7), 5, 0),
            greeting="ESP-ROM:esp32c3-api1-20210207\r\nBuild:Feb  7 2021",
            causes=_CAUSES,
            download="0x4 (DOWNLOAD(USB/UART0/1))",
            from_flash="0xc (SPI_FAST_FLASH_BOOT)",
        ),
    )
}
