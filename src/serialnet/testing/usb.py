"""A simulated USB socket: boards that are plugged in, unplugged and restart under another name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio

from ..chips import Board
from ..port_list import PortInfo, use_source
from .pty import SimulatedPort, host_board

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

__all__ = ["UsbSocket", "usb_socket"]

ESPRESSIF = 0x303A
#: Seconds between two looks at a board that is being hosted: it does not tell when it disappears.
LOOK = 0.002


@asynccontextmanager
async def usb_socket(
    board: Board, location: str = "1-1", *, vid: int = ESPRESSIF, pid: int = 0x0002
) -> AsyncIterator[UsbSocket]:
    """Plug a board into a USB socket of this machine, as long as the block lasts. Linux only.

    While it does, all that lists ports in this process sees this one and no other. Each time that the board
    enumerates, it has another PTY, and so another name.

    :param location: the socket's
    """
    async with anyio.create_task_group() as tasks:
        socket = UsbSocket(board, PortInfo("", "a simulated board", vid, pid, "1", location), tasks)
        with use_source(lambda: socket.ports):
            await socket.plug_in()
            yield socket
        tasks.cancel_scope.cancel()


class UsbSocket:
    """A socket, and the board that is plugged into it or not."""

    def __init__(self, board: Board, info: PortInfo, tasks: TaskGroup) -> None:
        self.board = board
        self.enumerations: int = 0
        """How often a device has appeared."""
        self._info = info
        self._tasks = tasks
        self._plugged_in = anyio.CancelScope()
        self._port: SimulatedPort | None = None
        self._changed = anyio.Event()

    @property
    def port(self) -> SimulatedPort | None:
        """The device that is there now."""
        return self._port

    @property
    def ports(self) -> list[PortInfo]:
        """What a listing shows."""
        if self._port is None:
            return []
        info = self._info
        return [
            PortInfo(self._port.path, info.description, info.vid, info.pid, info.serial_number, info.location)
        ]

    async def plug_in(self) -> None:
        """Plug the board in, and wait until it is there."""
        self._plugged_in = anyio.CancelScope()
        self._tasks.start_soon(self._host, self._plugged_in)
        while self._port is None:
            await self._changed.wait()

    async def unplug(self) -> None:
        """Pull the cable; the board keeps its power."""
        self._plugged_in.cancel()
        while self._port is not None:
            await self._changed.wait()

    async def _host(self, plugged_in: anyio.CancelScope) -> None:
        with plugged_in:
            while True:
                async with host_board(self.board) as port:
                    self.enumerations += 1
                    try:
                        self._show(port)
                        while self.board.connected:  # noqa: ASYNC110  # nobody tells
                            await anyio.sleep(LOOK)
                    finally:
                        port.unplug()
                        self._show(None)
                while not self.board.connected:
                    await anyio.sleep(LOOK)
                    self.board.advance(anyio.current_time())

    def _show(self, port: SimulatedPort | None) -> None:
        self._port = port
        changed, self._changed = self._changed, anyio.Event()
        changed.set()
