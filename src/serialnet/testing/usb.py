"""A simulated USB socket: boards that are plugged in, unplugged and restart under another name."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from ..chips import Board, Mode
from ..port_list import PortInfo, PortSource, use_source
from .pty import SimulatedPort, host_board

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

__all__ = ["Product", "UsbSocket", "ports_in", "usb_socket"]

ESPRESSIF = 0x303A
#: Seconds between two looks at a board that is being hosted: it does not tell when it disappears.
LOOK = 0.002


@dataclass(frozen=True, slots=True)
class Product:
    """What a device says that it is."""

    pid: int
    serial_number: str


FIRMWARE = Product(0x4001, "the firmware's")
LOADER = Product(0x0002, "the loader's")


@asynccontextmanager
async def usb_socket(
    board: Board, location: str = "1-1", *, firmware: Product = FIRMWARE, loader: Product = LOADER
) -> AsyncIterator[UsbSocket]:
    """Plug a board into a USB socket of this machine, as long as the block lasts. Linux only.

    While it does, all that lists ports in this process sees this one and no other; other processes do by
    :func:`ports_in`. Each time that the board enumerates, it has another name, unless it is told to keep it.

    :param location: the socket's
    :param firmware: what the board is while it runs its firmware
    :param loader: what it is in its boot loader
    """
    with tempfile.TemporaryDirectory(prefix="serialnet-") as directory:
        async with anyio.create_task_group() as tasks:
            socket = UsbSocket(board, location, firmware, loader, Path(directory), tasks)
            with use_source(lambda: socket.ports):
                await socket.plug_in()
                yield socket
            tasks.cancel_scope.cancel()


def ports_in(listing: Path) -> PortSource:
    """List the ports that a :class:`UsbSocket` of another process has.

    Listing them also lets the shim find the modem lines of the device that is there (see
    :func:`~serialnet.testing.pty.host_board`).

    :param listing: :attr:`UsbSocket.listing`
    """

    def source() -> list[PortInfo]:
        seen = json.loads(listing.read_text())
        os.environ.update(seen["environment"])
        return [PortInfo(**port) for port in seen["ports"]]

    return source


class UsbSocket:
    """A socket, and the board that is plugged into it or not."""

    def __init__(
        self,
        board: Board,
        location: str,
        firmware: Product,
        loader: Product,
        directory: Path,
        tasks: TaskGroup,
    ) -> None:
        self.board = board
        self.enumerations: int = 0
        """How often a device has appeared."""
        self.renames: bool = True
        """Whether the next one that appears has another name."""
        self.listing: Path = directory / "listing"
        """A file with all that there is to know of the device that is there, for :func:`ports_in`."""
        self._location = location
        self._products = firmware, loader
        self._directory = directory
        self._names = 0
        self._tasks = tasks
        self._plugged_in = anyio.CancelScope()
        self._port: SimulatedPort | None = None
        self._info: PortInfo | None = None
        self._changed = anyio.Event()

    @property
    def port(self) -> SimulatedPort | None:
        """The device that is there now."""
        return self._port

    @property
    def ports(self) -> list[PortInfo]:
        """What a listing shows."""
        return [] if self._info is None else [self._info]

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
                    try:
                        self._appear(port)
                        while self.board.connected:  # noqa: ASYNC110  # nobody tells
                            await anyio.sleep(LOOK)
                    finally:
                        port.unplug()
                        self._disappear()
                while not self.board.connected:
                    await anyio.sleep(LOOK)
                    self.board.advance(anyio.current_time())

    def _appear(self, port: SimulatedPort) -> None:
        self.enumerations += 1
        self._names += self.renames
        # The kernel soon gives the number of a PTY to the next one: only a link can have another name.
        name = self._directory / f"ttyACM{self._names}"
        name.symlink_to(port.path)
        product = self._products[self.board.mode in (Mode.DOWNLOAD, Mode.STUB)]
        info = PortInfo(
            str(name), "a simulated board", ESPRESSIF, product.pid, product.serial_number, self._location
        )
        self._show(port, info)

    def _disappear(self) -> None:
        assert self._info is not None
        Path(self._info.url).unlink()
        self._show(None, None)

    def _show(self, port: SimulatedPort | None, info: PortInfo | None) -> None:
        self._port, self._info = port, info
        shown = {
            "environment": {} if port is None else dict(port.environment),
            "ports": [asdict(port) for port in self.ports],
        }
        written = self.listing.with_suffix(".new")
        written.write_text(json.dumps(shown))
        written.replace(self.listing)
        changed, self._changed = self._changed, anyio.Event()
        changed.set()
