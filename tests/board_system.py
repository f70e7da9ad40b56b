"""The system calls of serial ports, for simulated ones in this process: what the shim does for others."""

from __future__ import annotations

import struct
import termios
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import anyio.from_thread
import anyio.lowlevel
from typing_extensions import override

from serialnet.chips import Board
from serialnet.testing.pty import SimulatedPort
from serialnet.testing.usb import UsbSocket, usb_socket
from serialnet.transports._termios import TIOCCBRK, TIOCSBRK, System

T = TypeVar("T")

INT = struct.Struct("@i")
OURS = {
    termios.TIOCMGET,
    termios.TIOCMSET,
    termios.TIOCOUTQ,
    termios.TIOCGICOUNT,
    TIOCSBRK,
    TIOCCBRK,
}


class BoardSystem(System):
    """Gives the PTYs of simulated boards modem lines.

    :param find: finds the port behind a path, if there is one
    """

    def __init__(self, find: Callable[[str], SimulatedPort | None]) -> None:
        self._find = find
        self._ports: dict[int, SimulatedPort] = {}
        #: the TIOCMSETs, in their order
        self.driven: list[int] = []

    @override
    def open(self, path: str) -> int:
        descriptor = super().open(path)
        if (port := self._find(path)) is not None:
            self._ports[descriptor] = port
            _in_loop(port.wake)  # it sees the open, and raises DTR and RTS
        return descriptor

    @override
    def close(self, descriptor: int) -> None:
        self._ports.pop(descriptor, None)
        super().close(descriptor)

    @override
    def ioctl(self, descriptor: int, request: int, argument: int | bytes = 0) -> bytes:
        port = self._ports.get(descriptor)
        if port is None or request not in OURS:
            return super().ioctl(descriptor, request, argument)
        number = argument if isinstance(argument, int) else int.from_bytes(argument[:4], "little")
        if request == termios.TIOCMSET:
            self.driven.append(number)
        values = _in_loop(lambda: _ask(port, request, number))
        size = len(argument) if isinstance(argument, bytes) else INT.size
        return struct.pack(f"@{len(values)}i", *values).ljust(size, b"\0")


class UsbSystem(BoardSystem):
    """Gives modem lines to what is plugged into simulated USB sockets."""

    def __init__(self) -> None:
        self._sockets: list[UsbSocket] = []
        super().__init__(self._port_of)

    def _port_of(self, path: str) -> SimulatedPort | None:
        there = [socket for socket in self._sockets if [port.url for port in socket.ports] == [path]]
        return there[0].port if there else None

    @asynccontextmanager
    async def plugged_in(self, board: Board) -> AsyncIterator[UsbSocket]:
        """Plug a board in, as long as the block lasts."""
        async with usb_socket(board) as socket:
            self._sockets.append(socket)
            yield socket


def _ask(port: SimulatedPort, request: int, argument: int) -> list[int]:
    port.wake()
    answer = port._carry_out(request, argument)
    try:
        answer.send(None)
    except StopIteration as done:
        port.wake()
        values: list[int] = done.value
        return values
    raise AssertionError("this waits for something")


def _in_loop(call: Callable[[], T]) -> T:
    """Call in the event loop's thread, from there or from a worker thread."""
    try:
        anyio.lowlevel.current_token()
    except anyio.NoEventLoopError:
        return anyio.from_thread.run_sync(call)
    return call()
