"""A simulated board on a PTY, for programs that want a device: esptool, avrdude, a terminal."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import tempfile
import termios
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import anyio

from ..chips import Board
from ..core.opening import listen
from ..core.transport import Transport
from ..transports import _termios
from ..transports._pty import Pty
from ..transports._termios import System, get_attributes
from ..values.events import LineErrors
from ..values.settings import LineSettings, Outputs, Purge

__all__ = ["SimulatedPort", "host_board"]

#: The environment variable that tells the preloaded shim which PTYs have modem lines.
VARIABLE = "SERIALNET_MODEM_LINES"

#: The most bytes handed to the PTY at once.
CHUNK = 4096

FRAMING = termios.CSIZE | termios.PARENB
REQUEST = struct.Struct("=II")
REPLY = struct.Struct("=i12I")
MODEM_INPUTS = {
    "cts": termios.TIOCM_CTS,
    "dsr": termios.TIOCM_DSR,
    "ri": termios.TIOCM_RI,
    "cd": termios.TIOCM_CD,
}
PURGES = {
    termios.TCIFLUSH: Purge.RECEIVED,
    termios.TCOFLUSH: Purge.UNSENT,
    termios.TCIOFLUSH: Purge.BOTH,
}


@asynccontextmanager
async def host_board(board: Board) -> AsyncIterator[SimulatedPort]:
    """Host a board on a new PTY, as long as the block lasts; leaving it unplugs the device. Linux only.

    Programs open :attr:`SimulatedPort.path` as they open a serial port. Like a serial driver's, each open
    raises DTR and RTS, the last close drops them if HUPCL is set, and what arrives while nobody has the
    port open is lost.

    A bare PTY carries the bytes and the baud rate. Modem lines, BREAK, parity, data bits, counters and
    the number of unsent bytes need a shim in the program, which finds the way by
    :attr:`SimulatedPort.environment`.
    """
    with tempfile.TemporaryDirectory(prefix="serialnet-") as directory:
        port = SimulatedPort(board, Path(directory) / "port")
        try:
            async with (
                listen(f"unix://{directory}/port") as listener,
                anyio.create_task_group() as tasks,
            ):
                tasks.start_soon(listener.serve, port._answer)
                for task in (port._watch_opens, port._read, port._write, port._keep_time):
                    tasks.start_soon(task)
                yield port
                tasks.cancel_scope.cancel()
        finally:
            port.unplug()


class SimulatedPort:
    """A PTY with a board behind it."""

    #: the device: ``/dev/pts/4``
    path: str
    #: what a program needs in its environment, beside the shim itself, to reach the modem lines
    environment: Mapping[str, str]

    def __init__(self, board: Board, socket: Path) -> None:
        self._board = board
        self._system = System()
        # As a serial driver has it at first, but raw: nobody has opened the port, and nothing may echo.
        self._pty = Pty(LineSettings(9600))
        assert self._pty.opens is not None  # Linux tells
        self._master, self._opens, self.path = self._pty.master, self._pty.opens, self._pty.path
        device = os.stat(self.path).st_rdev
        self.environment = {VARIABLE: f"{os.major(device)}:{os.minor(device)}={socket}"}
        self._is_open = False
        self._unplugged = False
        self._framing = termios.CS8
        self._settings: LineSettings | None = None
        # The baud rate changes on the PTY, the framing here: nothing is looked at in between.
        self._between_settings = False
        self._outputs = Outputs()
        self._inputs = board.inputs
        self._edges = dict.fromkeys(MODEM_INPUTS, 0)
        self._received = self._sent = 0
        self._errors = LineErrors()
        self._serial_flags = 0
        self._unwritten = b""
        self._changed = anyio.Event()

    def wake(self) -> None:
        """Carry out what is due; to be called when the board was changed from outside."""
        if self._unplugged:
            return
        now = anyio.current_time()
        self._note_opens(now)
        self._note_settings(now)
        self._take(now)
        self._board.advance(now)
        self._give()
        self._note_inputs()
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    def unplug(self) -> None:
        """Take the device away, as when its cable is pulled. It does not come back."""
        if not self._unplugged:
            self._unplugged = True
            for descriptor in (self._master, self._opens):
                anyio.notify_closing(descriptor)
            self._pty.close()
            self._changed.set()

    # The tasks: each waits for one reason to look again.

    async def _watch_opens(self) -> None:
        while not self._unplugged:
            await self._look_after(anyio.wait_readable, self._opens)

    async def _read(self) -> None:
        while not self._unplugged:
            # Without a client the master is always "readable": poll says POLLHUP for ever.
            if self._is_open and self._board.room:
                await self._look_after(anyio.wait_readable, self._master)
            else:
                await self._changed.wait()

    async def _write(self) -> None:
        while not self._unplugged:
            if self._unwritten:
                await self._look_after(anyio.wait_writable, self._master)
            else:
                await self._changed.wait()

    async def _keep_time(self) -> None:
        while not self._unplugged:
            deadline = self._board.deadline
            with anyio.CancelScope(deadline=float("inf") if deadline is None else deadline) as scope:
                await self._changed.wait()
            if scope.cancelled_caught:
                self.wake()

    async def _look_after(self, wait: Callable[[int], Awaitable[None]], descriptor: int) -> None:
        with suppress(anyio.ClosedResourceError):  # unplugged
            await wait(descriptor)
        self.wake()

    async def _answer(self, stream: Transport) -> None:
        """Answer one request of the shim; what was written before it comes first."""
        try:
            async with stream:
                code, argument = REQUEST.unpack(await stream.receive(REQUEST.size))
                if code != termios.TCSETS:  # a program that failed in between says nothing
                    self._between_settings = False
                self.wake()
                error, results = 0, []
                try:
                    results = await self._carry_out(code, argument)
                except OSError as failure:
                    error = failure.errno or errno.EIO
                self.wake()
                padding = [0] * (12 - len(results))
                await stream.send(REPLY.pack(error, *(value & 0xFFFFFFFF for value in results), *padding))
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            pass  # the program has ended meanwhile

    async def _carry_out(self, code: int, argument: int) -> list[int]:
        if self._unplugged:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        modem = self._modem_bits()
        match code:
            case termios.TIOCMGET:
                return [modem]
            case termios.TIOCMSET:
                self._drive_bits(argument)
            case termios.TIOCMBIS:
                self._drive_bits(modem | argument)
            case termios.TIOCMBIC:
                self._drive_bits(modem & ~argument)
            case termios.TIOCMIWAIT:
                while not (modem ^ self._modem_bits()) & argument:
                    await self._changed.wait()
                    if self._unplugged:
                        raise OSError(errno.EIO, os.strerror(errno.EIO))
            case _termios.TIOCSBRK | _termios.TIOCCBRK:
                self._drive(replace(self._outputs, brk=code == _termios.TIOCSBRK))
            case termios.TIOCOUTQ:
                return [self._unsent()]
            case termios.TCFLSH if argument in PURGES:
                self._purge(PURGES[argument])
            case termios.TIOCGICOUNT:
                return self._counters()
            case termios.TIOCGSERIAL:
                return [self._serial_flags]
            case termios.TIOCSSERIAL:
                self._serial_flags = argument
            case termios.TCGETS:
                return [self._framing]
            case termios.TCSETSW:
                self._between_settings = True
            case termios.TCSETS:
                self._between_settings = False
                self._framing = argument & FRAMING
            case _:
                raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))
        return []

    # What wake() looks at.

    def _note_opens(self, now: float) -> None:
        client = self._pty.client
        opened = self._pty.look()
        if self._is_open and not (self._pty.present and self._pty.client == client):
            self._client_left(now)
        if self._pty.present and opened:
            self._client_came()

    def _client_left(self, now: float) -> None:
        self._take(now)
        self._is_open = self._between_settings = False
        self._unwritten = b""
        termios.tcflush(self._master, termios.TCIFLUSH)
        if get_attributes(self._system, self._master).cflag & termios.HUPCL:
            self._drive(replace(self._outputs, dtr=False, rts=False))

    def _client_came(self) -> None:
        self._is_open = True
        self._drive(replace(self._outputs, dtr=True, rts=True))

    def _note_settings(self, now: float) -> None:
        if self._between_settings:
            return
        attributes = get_attributes(self._system, self._master)
        attributes.cflag = attributes.cflag & ~FRAMING | self._framing
        if attributes.settings != self._settings:
            self._settings = attributes.settings
            self._board.configure(self._settings, now)

    def _take(self, now: float) -> None:
        while self._is_open and (room := self._board.room):
            try:
                data = os.read(self._master, room)
            except OSError:  # nothing there, or nobody
                return
            self._sent += len(data)
            self._board.receive_data(data, now)

    def _give(self) -> None:
        while data := self._unwritten or self._board.data_to_send(CHUNK):
            self._unwritten = b""
            if not self._is_open:
                continue
            try:
                written = self._pty.write(memoryview(data))
            except BlockingIOError:
                written = 0
            self._received += written
            self._unwritten = data[written:]
            if not written:
                return

    def _note_inputs(self) -> None:
        before, self._inputs = self._inputs, self._board.inputs
        for name in MODEM_INPUTS:
            self._edges[name] += getattr(before, name) != getattr(self._inputs, name)
        self._errors += self._board.take_errors()

    # What the requests do.

    def _modem_bits(self) -> int:
        bits = termios.TIOCM_DTR * self._outputs.dtr | termios.TIOCM_RTS * self._outputs.rts
        for name, bit in MODEM_INPUTS.items():
            bits |= bit * getattr(self._board.inputs, name)
        return bits

    def _drive_bits(self, bits: int) -> None:
        dtr, rts = bool(bits & termios.TIOCM_DTR), bool(bits & termios.TIOCM_RTS)
        self._drive(replace(self._outputs, dtr=dtr, rts=rts))

    def _drive(self, outputs: Outputs) -> None:
        if outputs != self._outputs:
            self._outputs = outputs
            self._board.set_outputs(outputs, anyio.current_time())

    def _unsent(self) -> int:
        self._pty.is_readable()  # the kernel moves what was written before it answers
        waiting = struct.unpack("i", fcntl.ioctl(self._master, termios.FIONREAD, bytes(4)))[0]
        return int(waiting) + self._board.unsent

    def _purge(self, what: Purge) -> None:
        self._board.purge(what, anyio.current_time())
        if Purge.RECEIVED in what:
            self._unwritten = b""
        if Purge.UNSENT in what:  # the kernel leaves those that have come as far as the master
            fcntl.ioctl(self._master, termios.TCFLSH, termios.TCIFLUSH)

    def _counters(self) -> list[int]:
        """``struct serial_icounter_struct`` (tty_ioctl(4)) as far as buf_overrun."""
        edges, errors = self._edges, self._errors
        lines = [edges[name] for name in ("cts", "dsr", "ri", "cd")]
        totals = [self._received, self._sent]
        return [*lines, *totals, errors.framing, errors.overrun, errors.parity, errors.breaks, 0]
