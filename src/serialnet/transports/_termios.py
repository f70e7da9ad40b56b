"""A serial port by its system calls: what termios(3), tty_ioctl(4) and the drivers know, with types."""

from __future__ import annotations

import fcntl
import os
import struct
import sys
import termios
from dataclasses import dataclass

from typing_extensions import Buffer

from ..values.events import LineErrors
from ..values.settings import FlowControl, Inputs, LineSettings, Parity, Purge, StopBits
from ._failures import UNSUPPORTED

__all__ = ["System", "Tty"]

# <asm-generic/termbits.h> and <asm-generic/ioctls.h>, where Python's termios has no name for them
CMSPAR = 0o10000000000
TIOCSBRK = getattr(termios, "TIOCSBRK", 0x5427 if sys.platform == "linux" else 0x2000747B)
TIOCCBRK = getattr(termios, "TIOCCBRK", 0x5428 if sys.platform == "linux" else 0x2000747A)

BYTE_SIZES = {5: termios.CS5, 6: termios.CS6, 7: termios.CS7, 8: termios.CS8}
PARITIES = {
    Parity.NONE: 0,
    Parity.ODD: termios.PARENB | termios.PARODD,
    Parity.EVEN: termios.PARENB,
    Parity.MARK: termios.PARENB | termios.PARODD | CMSPAR,
    Parity.SPACE: termios.PARENB | CMSPAR,
}
PARITY_MASK = termios.PARENB | termios.PARODD | CMSPAR
XON_XOFF = termios.IXON | termios.IXOFF
QUEUES = {
    Purge.RECEIVED: termios.TCIFLUSH,
    Purge.UNSENT: termios.TCOFLUSH,
    Purge.BOTH: termios.TCIOFLUSH,
}
ASYNC_LOW_LATENCY = 1 << 13  # <linux/tty_flags.h>
INT = struct.Struct("@i")


class System:
    """The system calls that reach a port, so that tests can stand in for the kernel."""

    def open(self, path: str) -> int:
        # O_NONBLOCK: an open must not wait for a carrier, nor a read for bytes
        return os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def read_into(self, descriptor: int, view: memoryview) -> int:
        return os.readv(descriptor, [view])

    def write(self, descriptor: int, data: Buffer) -> int:
        return os.write(descriptor, data)

    def lock(self, descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def ioctl(self, descriptor: int, request: int, argument: int | bytes = 0) -> bytes:
        result = fcntl.ioctl(descriptor, request, argument)
        return result if isinstance(result, bytes) else b""


@dataclass(slots=True)
class Attributes:
    """What ``struct termios2`` has of interest; ``speed`` is in bits per second."""

    iflag: int
    oflag: int
    cflag: int
    lflag: int
    discipline: int
    characters: bytes
    speed: int

    def make_raw(self, hangup: bool) -> None:
        self.iflag = self.oflag = self.lflag = 0
        self.cflag |= termios.CLOCAL | termios.CREAD
        self.cflag = self.cflag | termios.HUPCL if hangup else self.cflag & ~termios.HUPCL
        # One byte satisfies a read: what is not there yet is EAGAIN, and 0 bytes are a hang-up.
        characters = bytearray(self.characters)
        characters[termios.VMIN], characters[termios.VTIME] = 1, 0
        self.characters = bytes(characters)

    @property
    def settings(self) -> LineSettings:
        size = self.cflag & termios.CSIZE
        parity = self.cflag & PARITY_MASK if self.cflag & termios.PARENB else 0
        stopbits = StopBits.ONE
        if self.cflag & termios.CSTOPB:
            # The same bit: a 16550 sends one and a half with characters of five bits.
            stopbits = StopBits.ONE_POINT_FIVE if size == termios.CS5 else StopBits.TWO
        flow = FlowControl.XONXOFF if self.iflag & XON_XOFF else FlowControl.NONE
        if self.cflag & termios.CRTSCTS:
            flow = FlowControl.RTSCTS
        return LineSettings(
            self.speed or 1,  # 0 after a hang-up
            next(bits for bits, flag in BYTE_SIZES.items() if flag == size),
            next(value for value, flags in PARITIES.items() if flags == parity),
            stopbits,
            flow,
        )

    @settings.setter
    def settings(self, settings: LineSettings) -> None:
        self.speed = settings.baudrate
        self.cflag &= ~(termios.CSIZE | PARITY_MASK | termios.CSTOPB | termios.CRTSCTS)
        self.cflag |= BYTE_SIZES[settings.bytesize] | PARITIES[settings.parity]
        if settings.stopbits is not StopBits.ONE:
            self.cflag |= termios.CSTOPB
        if settings.flow is FlowControl.RTSCTS:
            self.cflag |= termios.CRTSCTS
        self.iflag &= ~XON_XOFF
        if settings.flow is FlowControl.XONXOFF:
            self.iflag |= XON_XOFF


if sys.platform == "linux":
    TCGETS2 = 0x802C542A
    TCSETS2 = 0x402C542B
    BOTHER = 0o010000
    # The kernel's names of rates. Not those of Python's termios: with glibc 2.42, B115200 is 115200 there.
    SLOW = (50, 75, 110, 134, 150, 200, 300, 600, 1200, 1800, 2400, 4800, 9600, 19200, 38400)
    FAST = (
        *(57600, 115200, 230400, 460800, 500000, 576000, 921600, 1000000),
        *(1152000, 1500000, 2000000, 2500000, 3000000, 3500000, 4000000),
    )
    RATE_NAMES = {rate: name for name, rate in [*enumerate(SLOW, 1), *enumerate(FAST, BOTHER + 1)]}
    TERMIOS2 = struct.Struct("@4IB19s2I")

    def get_attributes(system: System, descriptor: int) -> Attributes:
        """Read the attributes in force; the speed is the number that the driver works with."""
        raw = system.ioctl(descriptor, TCGETS2, bytes(TERMIOS2.size))
        iflag, oflag, cflag, lflag, discipline, characters, _, speed = TERMIOS2.unpack(raw)
        return Attributes(iflag, oflag, cflag, lflag, discipline, characters, speed)

    def set_attributes(system: System, descriptor: int, new: Attributes) -> None:
        """Put attributes in force at once: no drain, which could wait for ever."""
        # A rate with a name goes by it, so that programs which know only names can read it back.
        rate = RATE_NAMES.get(new.speed, BOTHER)
        cflag = new.cflag & ~(termios.CBAUD | termios.CIBAUD) | rate
        system.ioctl(
            descriptor,
            TCSETS2,
            TERMIOS2.pack(
                new.iflag, new.oflag, cflag, new.lflag, new.discipline, new.characters, new.speed, new.speed
            ),
        )

else:
    IOSSIOSPEED = 0x80045402  # <IOKit/serial/ioss.h>: any rate

    def get_attributes(system: System, descriptor: int) -> Attributes:
        """Read the attributes in force."""
        try:
            iflag, oflag, cflag, lflag, _, speed, characters = termios.tcgetattr(descriptor)
        except termios.error as error:  # which is no OSError
            raise OSError(*error.args) from error
        plain = b"".join(bytes([c]) if isinstance(c, int) else c for c in characters)
        return Attributes(iflag, oflag, cflag, lflag, 0, plain, speed)

    def set_attributes(system: System, descriptor: int, new: Attributes) -> None:
        """Put attributes in force at once: no drain, which could wait for ever."""
        named = getattr(termios, f"B{new.speed}", None)
        speed = termios.B9600 if named is None else named
        characters = [bytes([c]) for c in new.characters]
        attributes = [new.iflag, new.oflag, new.cflag, new.lflag, speed, speed, characters]
        try:
            termios.tcsetattr(descriptor, termios.TCSANOW, attributes)
        except termios.error as error:
            raise OSError(*error.args) from error
        if named is None:
            system.ioctl(descriptor, IOSSIOSPEED, struct.pack("@L", new.speed))


class Tty:
    """One open serial port; every method is one or two system calls and raises ``OSError``."""

    def __init__(self, system: System, path: str) -> None:
        self.system = system
        self.descriptor: int = system.open(path)
        self._exclusive = False

    def close(self) -> None:
        try:
            if self._exclusive:
                # The mark is on the device, and would outlive us if somebody else had it open before.
                self.system.ioctl(self.descriptor, termios.TIOCNXCL)
        except OSError:
            pass  # the device has gone
        finally:
            self.system.close(self.descriptor)

    def take_exclusively(self) -> None:
        """Lock others out: those who lock, too (``flock``), and those who just open (``TIOCEXCL``)."""
        self.system.lock(self.descriptor)
        self.system.ioctl(self.descriptor, termios.TIOCEXCL)
        self._exclusive = True

    def make_raw(self, settings: LineSettings, hangup: bool) -> LineSettings:
        """Put settings in force on a port in whatever state; returns what the driver took.

        :param hangup: whether the last close drops DTR and RTS
        """
        attributes = get_attributes(self.system, self.descriptor)
        attributes.make_raw(hangup)
        attributes.settings = settings
        set_attributes(self.system, self.descriptor, attributes)
        return get_attributes(self.system, self.descriptor).settings

    def configure(self, settings: LineSettings) -> LineSettings:
        """Put settings in force; returns what the driver took, silently it may be less."""
        attributes = get_attributes(self.system, self.descriptor)
        attributes.settings = settings
        set_attributes(self.system, self.descriptor, attributes)
        return get_attributes(self.system, self.descriptor).settings

    def modem_bits(self) -> int | None:
        """The modem lines as ``TIOCM_`` bits, or ``None`` on a tty without modem control (a PTY)."""
        try:
            return self._get(termios.TIOCMGET)
        except OSError as error:
            if error.errno in UNSUPPORTED:
                return None
            raise

    def set_modem_bits(self, bits: int) -> None:
        self.system.ioctl(self.descriptor, termios.TIOCMSET, INT.pack(bits))

    def set_break(self, on: bool) -> None:
        self.system.ioctl(self.descriptor, TIOCSBRK if on else TIOCCBRK)

    def unsent(self) -> int:
        """How many bytes the driver holds that have not gone to the device."""
        return self._get(termios.TIOCOUTQ)

    def transmitter_is_empty(self) -> bool:
        """Whether the last bit has left, beyond the driver's buffer; true where a driver cannot tell."""
        if sys.platform != "linux":
            return True
        try:
            return bool(self._get(termios.TIOCSERGETLSR) & termios.TIOCSER_TEMT)
        except OSError as error:
            if error.errno in UNSUPPORTED:
                return True
            raise

    def flush(self, what: Purge) -> None:
        if sys.platform == "linux":
            self.system.ioctl(self.descriptor, termios.TCFLSH, QUEUES[what])
        else:
            try:
                termios.tcflush(self.descriptor, QUEUES[what])
            except termios.error as error:
                raise OSError(*error.args) from error

    def counters(self) -> LineErrors | None:
        """How many errors the driver has counted so far (``struct serial_icounter_struct``), if it counts."""
        if sys.platform != "linux":
            return None
        try:
            counters = self.system.ioctl(self.descriptor, termios.TIOCGICOUNT, bytes(80))
        except OSError as error:
            if error.errno in UNSUPPORTED:
                return None
            raise
        frame, overrun, parity, breaks, buffer_overrun = struct.unpack_from("@5i", counters, 6 * 4)
        return LineErrors(overrun + buffer_overrun, parity, frame, breaks)

    def set_low_latency(self) -> None:
        """Ask for each byte at once (ftdi_sio otherwise collects for 16 ms); what cannot is left alone."""
        if sys.platform != "linux":
            return
        try:
            serial = bytearray(self.system.ioctl(self.descriptor, termios.TIOCGSERIAL, bytes(128)))
            flags = INT.unpack_from(serial, 4 * 4)[0]  # struct serial_struct: the fifth int
            INT.pack_into(serial, 4 * 4, flags | ASYNC_LOW_LATENCY)
            self.system.ioctl(self.descriptor, termios.TIOCSSERIAL, bytes(serial))
        except OSError:
            return

    def _get(self, request: int) -> int:
        value: int = INT.unpack(self.system.ioctl(self.descriptor, request, bytes(INT.size)))[0]
        return value


def inputs_of(bits: int | None) -> Inputs:
    """What ``TIOCM_`` bits say of the modem status lines."""
    bits = bits or 0
    return Inputs(
        cts=bool(bits & termios.TIOCM_CTS),
        dsr=bool(bits & termios.TIOCM_DSR),
        ri=bool(bits & termios.TIOCM_RI),
        cd=bool(bits & termios.TIOCM_CD),
    )
