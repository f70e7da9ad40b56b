"""The serial protocol of the ROM loader, and of the stub that a flasher loads into RAM: a faster dialect.

Requests and replies are SLIP frames, each with a header (direction, command, size, checksum or value).
Espressif's esptool manual describes them, chapter "Serial Protocol".
"""

import hashlib
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, IntEnum
from struct import Struct
from typing import TypeAlias

from ..wire import slip
from .flash import SECTOR, Flash
from .models import Model
from .registers import Registers

__all__ = ["Action", "Loader", "Restart", "SetBaudrate"]

CRYSTAL = 40_000_000
MAX_BAUDRATE = 5_000_000
MAX_FRAME = 0x8000
MAX_READ_BLOCK = 4096
MAX_READ_WINDOW = 4
SYNC_WORD = 0x20120707

_HEADER = Struct("<BBHI")
_REQUEST, _REPLY = 0, 1


@dataclass(frozen=True, slots=True)
class SetBaudrate:
    """The chip's UART changes its rate once it has sent what stands before."""

    baudrate: int


class Restart(Enum):
    """The chip leaves the loader: for the firmware, for the ROM again, or when the watchdog resets it."""

    FIRMWARE = "firmware"
    ROM = "rom"
    WATCHDOG = "watchdog"


Action: TypeAlias = bytes | SetBaudrate | Restart
"""What a loader wants done, in this order: bytes go to the host."""


class Status(IntEnum):
    """Why a request is refused."""

    INVALID = 5
    FAILED = 6
    CHECKSUM = 7
    DEFLATE = 0xB


class Refused(Exception):
    """A request cannot be carried out."""

    def __init__(self, status: Status) -> None:
        super().__init__(status)
        self.status = status


@dataclass(frozen=True, slots=True)
class Answer:
    """What a reply carries, how often it is sent, and what is done after it."""

    data: bytes = b""
    value: int = 0
    times: int = 1
    then: tuple[Action, ...] = ()


@dataclass(slots=True)
class Writing:
    """A series of blocks on their way into flash."""

    offset: int
    size: int
    block_size: int
    inflater: "zlib._Decompress | None" = None
    written: int = 0


class Reading:
    """Flash on its way to the host: frames, a few of them ahead of their acknowledgements, then a digest."""

    def __init__(self, data: bytes, block: int, window: int) -> None:
        self._data = data
        self._block = block
        self._ahead = block * window
        self._sent = 0
        self._acknowledged = 0
        self.done: bool = False

    def acknowledge(self, frame: bytes) -> bool:
        """Take an acknowledgement (how many bytes came, 4 bytes); false if it is none."""
        received = int.from_bytes(frame, "little")
        if len(frame) != 4 or not self._acknowledged <= received <= self._sent:
            return False
        self._acknowledged = received
        return True

    def frames(self) -> Iterator[bytes]:
        """Give the frames that may go now."""
        while self._sent < min(len(self._data), self._acknowledged + self._ahead):
            block = self._data[self._sent : self._sent + self._block]
            self._sent += len(block)
            yield slip.encode(block)
        if self._acknowledged == len(self._data):
            self.done = True
            yield slip.encode(hashlib.md5(self._data, usedforsecurity=False).digest())


class Loader:
    """A loader from its start to its end: bytes in, actions out."""

    def __init__(self, model: Model, flash: Flash) -> None:
        self.in_stub: bool = False
        self._model = model
        self._flash = flash
        self._registers = Registers(model, flash.size)
        self._slip = slip.Decoder(MAX_FRAME)
        self._baudrate = 115200
        self._loading = False
        self._writing: Writing | None = None
        self._reading: Reading | None = None

    def receive(self, data: bytes) -> Iterator[Action]:
        """Take what the host sent, give what is to be done. No bytes whatsoever make it raise."""
        for frame in self._slip.receive(data):
            if self._reading is not None and self._reading.acknowledge(frame):
                yield from self._read_on()
            else:
                self._reading = None
                yield from self._execute(frame)

    def _read_on(self) -> Iterator[bytes]:
        assert self._reading is not None
        yield from self._reading.frames()
        if self._reading.done:
            self._reading = None

    def _execute(self, frame: bytes) -> Iterator[Action]:
        if len(frame) < _HEADER.size or frame[0] != _REQUEST:
            return
        _, opcode, size, checksum = _HEADER.unpack_from(frame)
        payload = frame[_HEADER.size :]
        # The request that starts the stub is still answered in the ROM's manner.
        status_size = 2 if self.in_stub else 4
        status = 0
        try:
            if len(payload) != size:
                raise Refused(Status.INVALID)
            answer = self._dispatch(opcode, payload, checksum)
        except Refused as refusal:
            answer, status = Answer(), refusal.status
        except ValueError:  # a range outside the flash
            answer, status = Answer(), Status.FAILED
        data = answer.data + bytes([status > 0, status]).ljust(status_size, b"\0")
        reply = slip.encode(_HEADER.pack(_REPLY, opcode, len(data), answer.value) + data)
        yield from [reply] * answer.times
        yield from answer.then
        if self._reading is not None:
            yield from self._read_on()

    def _dispatch(self, opcode: int, payload: bytes, checksum: int) -> Answer:
        command = _COMMANDS.get(opcode)
        if command is None or not (command.stub if self.in_stub else command.rom):
            raise Refused(Status.INVALID)
        if len(payload) < command.words.size:
            raise Refused(Status.INVALID)
        words = command.words.unpack_from(payload)
        rest = payload[command.words.size :]
        if command.block:
            if len(rest) != words[0]:
                raise Refused(Status.INVALID)
            if checksum != _checksum(rest):
                raise Refused(Status.CHECKSUM)
        return command.handler(self, words, rest)

    # What both loaders do.

    def _accept(self, words: tuple[int, ...], rest: bytes) -> Answer:
        return Answer()

    def _sync(self, words: tuple[int, ...], rest: bytes) -> Answer:
        # Any value but 0 says that this is no stub.
        return Answer(value=0 if self.in_stub else SYNC_WORD, times=8)

    def _read_register(self, words: tuple[int, ...], rest: bytes) -> Answer:
        (address,) = words
        if address == self._model.clock_divider:
            return Answer(value=CRYSTAL // self._baudrate)
        return Answer(value=self._registers.read(address))

    def _write_registers(self, words: tuple[int, ...], rest: bytes) -> Answer:
        then: tuple[Action, ...] = ()
        for address, value, mask, _delay in Struct("<4I").iter_unpack(rest[: len(rest) // 16 * 16]):
            self._registers.write(address, value, mask)
            if address == self._model.watchdog and value & mask & 1 << 31:
                then = (Restart.WATCHDOG,)
        return Answer(then=then)

    def _security_info(self, words: tuple[int, ...], rest: bytes) -> Answer:
        if self._model.security_info is None:
            raise Refused(Status.INVALID)
        return Answer(self._model.security_info)

    def _change_baudrate(self, words: tuple[int, ...], rest: bytes) -> Answer:
        new, _old = words
        if not 0 < new <= MAX_BAUDRATE:
            raise Refused(Status.INVALID)
        self._baudrate = new
        return Answer(then=(SetBaudrate(new),))

    def _flash_begin(self, words: tuple[int, ...], rest: bytes) -> Answer:
        size, _blocks, block_size, offset = words
        self._flash.erase(offset, size)
        self._writing = Writing(offset, size, block_size)
        return Answer()

    def _flash_data(self, words: tuple[int, ...], rest: bytes) -> Answer:
        _length, sequence, *_ = words
        writing = self._writing
        if writing is None or writing.inflater is not None or len(rest) > writing.block_size:
            raise Refused(Status.INVALID)
        self._flash.program(writing.offset + sequence * writing.block_size, rest)
        return Answer()

    def _deflated_begin(self, words: tuple[int, ...], rest: bytes) -> Answer:
        self._flash_begin(words, rest)
        assert self._writing is not None
        self._writing.inflater = zlib.decompressobj()
        return Answer()

    def _deflated_data(self, words: tuple[int, ...], rest: bytes) -> Answer:
        writing = self._writing
        if writing is None or writing.inflater is None:
            raise Refused(Status.INVALID)
        left = writing.size - writing.written
        try:
            data = writing.inflater.decompress(rest, left + 1)
        except zlib.error:
            raise Refused(Status.DEFLATE) from None
        if len(data) > left:
            raise Refused(Status.DEFLATE)
        self._flash.program(writing.offset + writing.written, data)
        writing.written += len(data)
        return Answer()

    def _flash_end(self, words: tuple[int, ...], rest: bytes) -> Answer:
        (stay,) = words
        self._writing = None
        if not self.in_stub:
            return Answer(then=(Restart.FIRMWARE,))
        # A reset by software keeps the strapping that was sampled: the ROM waits for a download again.
        return Answer() if stay else Answer(then=(Restart.ROM,))

    def _md5(self, words: tuple[int, ...], rest: bytes) -> Answer:
        offset, size, *_ = words
        digest = hashlib.md5(self._flash.read(offset, size), usedforsecurity=False)
        return Answer(digest.digest() if self.in_stub else digest.hexdigest().encode())

    # What only the ROM does.

    def _read_slowly(self, words: tuple[int, ...], rest: bytes) -> Answer:
        offset, size = words
        if size > 64:
            raise Refused(Status.INVALID)
        return Answer(self._flash.read(offset, size).ljust(64, b"\0"))

    def _memory_begin(self, words: tuple[int, ...], rest: bytes) -> Answer:
        self._loading = True
        return Answer()

    def _memory_data(self, words: tuple[int, ...], rest: bytes) -> Answer:
        if not self._loading:
            raise Refused(Status.INVALID)
        return Answer()

    def _memory_end(self, words: tuple[int, ...], rest: bytes) -> Answer:
        no_entry, _entry = words
        if not self._loading:
            raise Refused(Status.INVALID)
        self._loading = False
        if no_entry:
            return Answer()
        self.in_stub = True
        return Answer(then=(slip.encode(b"OHAI"),))

    # What only the stub does.

    def _erase_all(self, words: tuple[int, ...], rest: bytes) -> Answer:
        self._flash.erase(0, self._flash.size)
        return Answer()

    def _erase_region(self, words: tuple[int, ...], rest: bytes) -> Answer:
        offset, size = words
        if offset % SECTOR or size % SECTOR:
            raise Refused(Status.INVALID)
        self._flash.erase(offset, size)
        return Answer()

    def _read_fast(self, words: tuple[int, ...], rest: bytes) -> Answer:
        offset, size, block, in_flight = words
        if not 0 < block <= MAX_READ_BLOCK or not in_flight:
            raise Refused(Status.INVALID)
        self._reading = Reading(self._flash.read(offset, size), block, min(in_flight, MAX_READ_WINDOW))
        return Answer()

    def _run_firmware(self, words: tuple[int, ...], rest: bytes) -> Answer:
        return Answer(then=(Restart.FIRMWARE,))


def _checksum(data: bytes) -> int:
    """XOR all bytes and 0xEF, by folding one large number in halves."""
    size = 1 << max(len(data) - 1, 0).bit_length()
    folded = int.from_bytes(data)
    while size > 1:
        size //= 2
        folded = folded >> 8 * size ^ folded & (1 << 8 * size) - 1
    return folded ^ 0xEF


@dataclass(frozen=True, slots=True)
class Command:
    """How many words a request begins with, who carries it out, and who knows it.

    ``block``: data follows; the first word is its length, the header's checksum covers it.
    """

    handler: Callable[[Loader, tuple[int, ...], bytes], Answer]
    words: Struct
    rom: bool = True
    stub: bool = True
    block: bool = False


_WORDS = [Struct(f"<{count}I") for count in range(7)]

_COMMANDS = {
    0x02: Command(Loader._flash_begin, _WORDS[4]),
    0x03: Command(Loader._flash_data, _WORDS[4], block=True),
    0x04: Command(Loader._flash_end, _WORDS[1]),
    0x05: Command(Loader._memory_begin, _WORDS[4]),
    0x06: Command(Loader._memory_end, _WORDS[2]),
    0x07: Command(Loader._memory_data, _WORDS[4], block=True),
    0x08: Command(Loader._sync, _WORDS[0]),
    0x09: Command(Loader._write_registers, _WORDS[0]),
    0x0A: Command(Loader._read_register, _WORDS[1]),
    0x0B: Command(Loader._accept, _WORDS[6]),  # SPI_SET_PARAMS
    0x0D: Command(Loader._accept, _WORDS[1]),  # SPI_ATTACH
    0x0E: Command(Loader._read_slowly, _WORDS[2], stub=False),
    0x0F: Command(Loader._change_baudrate, _WORDS[2]),
    0x10: Command(Loader._deflated_begin, _WORDS[4]),
    0x11: Command(Loader._deflated_data, _WORDS[4], block=True),
    0x12: Command(Loader._flash_end, _WORDS[1]),
    0x13: Command(Loader._md5, _WORDS[4]),
    0x14: Command(Loader._security_info, _WORDS[0]),
    0xD0: Command(Loader._erase_all, _WORDS[0], rom=False),
    0xD1: Command(Loader._erase_region, _WORDS[2], rom=False),
    0xD2: Command(Loader._read_fast, _WORDS[4], rom=False),
    0xD3: Command(Loader._run_firmware, _WORDS[0], rom=False),
}
