"""What runs when the chip starts from flash: a firmware that echoes, if there is one."""

from collections.abc import Iterator

from .flash import Flash
from .models import Model

__all__ = ["MARKER", "Echo", "Nothing", "factory_image", "find_image"]

IMAGE_MAGIC = 0xE9
MARKER = b"serialnet-app:"
SEARCHED = 0x10000
LONGEST_NAME = 256


def factory_image() -> bytes:
    """Give the image that a new board has in its flash: a header, and the name ``factory``."""
    return bytes([IMAGE_MAGIC]) + bytes(31) + MARKER + b"factory\0"


def find_image(model: Model, flash: Flash) -> str | None:
    """Look at the image that the ROM would start.

    :return: the text after the marker in the first 64 KiB of the image, up to a NUL; empty without a marker;
        ``None`` if no valid image (magic byte 0xE9) stands in flash
    """
    image = flash.read(model.bootloader, SEARCHED)
    if image[0] != IMAGE_MAGIC:
        return None
    _, _, after = image.partition(MARKER)
    name, _, _ = after[:LONGEST_NAME].partition(b"\0")
    return name.decode(errors="replace")


class Echo:
    """A running application: each byte comes back."""

    def receive(self, data: bytes) -> Iterator[bytes]:
        """Take what the host sent, give what goes back."""
        yield data


class Nothing:
    """A ROM that found nothing to start."""

    def receive(self, data: bytes) -> Iterator[bytes]:
        """Take what the host sent; nothing comes back."""
        yield from ()
