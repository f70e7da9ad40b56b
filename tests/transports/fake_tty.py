"""A serial driver in place of the kernel's: it stands below the system calls, and can misbehave."""

from __future__ import annotations

import errno
import os
import struct
import termios
from collections.abc import Callable, Iterator

from typing_extensions import Buffer, override

from serialnet.transports._termios import TCGETS2, TCSETS2, TIOCCBRK, TIOCSBRK, System

DTR, RTS = termios.TIOCM_DTR, termios.TIOCM_RTS
OUT2 = 0x4000  # a line that is none of ours

TERMIOS2 = struct.Struct("@4IB19s2I")
B9600 = 0o15  # the kernel's, which is not Python's with every C library

NAMES = {
    termios.TIOCMGET: "TIOCMGET",
    termios.TIOCMSET: "TIOCMSET",
    termios.TIOCOUTQ: "TIOCOUTQ",
    termios.TIOCSERGETLSR: "TIOCSERGETLSR",
    termios.TIOCGICOUNT: "TIOCGICOUNT",
    termios.TIOCGSERIAL: "TIOCGSERIAL",
    termios.TIOCSSERIAL: "TIOCSSERIAL",
    termios.TIOCEXCL: "TIOCEXCL",
    termios.TIOCNXCL: "TIOCNXCL",
    termios.TCFLSH: "TCFLSH",
    TCGETS2: "TCGETS2",
    TCSETS2: "TCSETS2",
    TIOCSBRK: "TIOCSBRK",
    TIOCCBRK: "TIOCCBRK",
}

ARGUMENTS = ("TIOCMSET", "TCFLSH")


class FakeTty(System):
    """One port. ``calls`` lists what was done to it, e.g. ``("TIOCMSET", DTR | RTS)``."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []
        self.modem = OUT2
        self.attributes = TERMIOS2.pack(
            0x500, 5, B9600 | termios.CS8 | termios.HUPCL, 0x8A3B, 0, bytes(19), 9600, 9600
        )
        self.unsent: Iterator[int] = iter(lambda: 0, 1)
        self.counters = [0] * 20
        self.serial_flags = 0
        #: what the driver makes of an asked baud rate and c_cflag
        self.take: Callable[[int, int], tuple[int, int]] = lambda baudrate, cflag: (baudrate, cflag)
        #: the error of each system call that fails
        self.errors: dict[str, int] = {"TIOCSERGETLSR": errno.ENOTTY}
        #: called before each system call, in its thread
        self.before: Callable[[str], None] = lambda name: None
        #: what reads give; an empty one is a hang-up
        self.incoming: list[bytes] = []
        self.written = b""
        self.open_descriptors: set[int] = set()

    def names(self, *but: str) -> list[str]:
        """The names of the calls so far, without those that only look."""
        looks = {"TIOCMGET", "TCGETS2", "TIOCOUTQ", "TIOCSERGETLSR", "TIOCGICOUNT", "TIOCGSERIAL", *but}
        return [name for name, _ in self.calls if name not in looks]

    def modem_settings(self) -> list[int]:
        return [bits for name, bits in self.calls if name == "TIOCMSET"]

    def _called(self, name: str, argument: int = 0) -> None:
        self.calls.append((name, argument))
        self.before(name)
        code = self.errors.get(name, self.errors.get("all", 0))
        if code:
            raise OSError(code, os.strerror(code))

    @override
    def open(self, path: str) -> int:
        self._called("open")
        descriptor = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        self.open_descriptors.add(descriptor)
        self.modem |= DTR | RTS  # as every driver does
        return descriptor

    @override
    def close(self, descriptor: int) -> None:
        self.calls.append(("close", 0))
        self.open_descriptors.remove(descriptor)
        os.close(descriptor)

    @override
    def lock(self, descriptor: int) -> None:
        self._called("flock")

    @override
    def read_into(self, descriptor: int, view: memoryview) -> int:
        self._called("read")
        data = self.incoming.pop(0)
        view[: len(data)] = data
        return len(data)

    @override
    def write(self, descriptor: int, data: Buffer) -> int:
        self._called("write")
        self.written += bytes(data)
        return len(bytes(data))

    @override
    def ioctl(self, descriptor: int, request: int, argument: int | bytes = 0) -> bytes:
        assert descriptor in self.open_descriptors
        name = NAMES[request]
        number = argument if isinstance(argument, int) else int.from_bytes(argument[:4], "little")
        self._called(name, number if name in ARGUMENTS else 0)
        match name:
            case "TIOCMGET":
                return struct.pack("@i", self.modem)
            case "TIOCMSET":
                self.modem = number
            case "TIOCOUTQ":
                return struct.pack("@i", next(self.unsent))
            case "TIOCSERGETLSR":
                return struct.pack("@i", termios.TIOCSER_TEMT)
            case "TIOCGICOUNT":
                return struct.pack("@20i", *self.counters)
            case "TIOCGSERIAL":
                return struct.pack("@32i", 0, 0, 0, 0, self.serial_flags, *[0] * 27)
            case "TIOCSSERIAL":
                assert isinstance(argument, bytes)
                self.serial_flags = struct.unpack_from("@5i", argument)[4]
            case "TCGETS2":
                return self.attributes
            case "TCSETS2":
                assert isinstance(argument, bytes)
                iflag, oflag, cflag, lflag, discipline, characters, _, speed = TERMIOS2.unpack(argument)
                speed, cflag = self.take(speed, cflag)
                self.attributes = TERMIOS2.pack(
                    iflag, oflag, cflag, lflag, discipline, characters, speed, speed
                )
        return b""
