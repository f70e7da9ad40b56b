"""``/dev/ttyUSB0`` or ``serial:///dev/ttyUSB0``: a serial port of a POSIX system."""

from __future__ import annotations

import errno
import grp
import logging
import os
import termios
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
from anyio.lowlevel import checkpoint, checkpoint_if_cancelled
from anyio.to_thread import run_sync
from typing_extensions import override

from ..core.endpoint import Endpoint
from ..core.errors import EndpointError, OpenError, PortBusyError
from ..core.line import Line
from ..core.options import option
from ..core.registry import TransportFactory
from ..core.transport import Listener, Transport, TransportAttribute
from ..ports import ports
from ..values.settings import LineSettings, Outputs
from ._descriptor import DescriptorTransport
from ._line_options import LineOptions
from ._serial_line import GONE, SerialLine, gone
from ._termios import System, Tty

__all__ = ["SerialFactory", "SerialOptions", "SerialTransport", "factory"]

logger: logging.Logger = logging.getLogger("serialnet.serial")


@dataclass(frozen=True, slots=True)
class SerialOptions(LineOptions):
    """The options of a serial port. It is set to 115200 8N1 but for what is named; DTR and RTS are on."""

    hupcl: bool = option(False, "drop DTR and RTS when the port is closed")
    low_latency: bool = option(True, "ask the driver to pass each byte on at once")
    exclusive: bool = option(True, "keep other programs from opening the port meanwhile")


@dataclass(frozen=True, slots=True)
class _Opened:
    tty: Tty
    settings: LineSettings
    outputs: Outputs
    usb: tuple[int, int] | None


class SerialTransport(DescriptorTransport):
    """An open serial port.

    Opening raises DTR and RTS (the kernel does); what was asked otherwise follows in one step. Closing
    changes neither, unless ``hupcl`` was asked.
    """

    can_send_eof = False
    line: Line

    def __init__(self, opened: _Opened, endpoint: Endpoint) -> None:
        super().__init__(opened.tty.descriptor)
        self._tty = opened.tty
        self._endpoint = endpoint
        self._usb = opened.usb
        self.line = self._line = SerialLine(opened.tty, opened.settings, opened.outputs)

    @override
    def _read_into(self, view: memoryview) -> int:
        try:
            n = self._tty.system.read_into(self._descriptor, view)
        except OSError as error:
            raise (gone(error) if error.errno in GONE else error) from None
        if n == 0:  # unplugged: with VMIN=1 there is no other reason
            raise gone()
        return n

    @override
    def _write(self, view: memoryview) -> int:
        try:
            return self._tty.system.write(self._descriptor, view)
        except OSError as error:
            raise (gone(error) if error.errno in GONE else error) from None

    @override
    async def aclose(self) -> None:
        """Close the port, and release BREAK.

        What was sent leaves first, as long as it makes progress; after 1 s without, or when this is
        cancelled, the rest is discarded.
        """
        if self._closed:
            await checkpoint()
            return
        self._closed = True
        anyio.notify_closing(self._descriptor)
        await self._line.aclose()

    @property
    @override
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        attributes: dict[Any, Callable[[], Any]] = {TransportAttribute.url: lambda: str(self._endpoint)}
        if self._usb is not None:
            attributes[TransportAttribute.usb] = lambda: self._usb
        return attributes


class SerialFactory:
    """Opens serial ports.

    :param system: the system calls to use, in tests perhaps others than the kernel's
    """

    options = SerialOptions
    layer = False

    def __init__(self, system: System) -> None:
        self._system = system

    async def connect(
        self, endpoint: Endpoint, options: SerialOptions, over: Transport | None
    ) -> SerialTransport:
        """Open a port.

        :raises EndpointError: if the endpoint names no device
        :raises PortBusyError: if another program has it
        :raises OpenError: if it cannot be opened, or is no serial port
        """
        if endpoint.host or not endpoint.path:
            raise EndpointError(f"'{endpoint}': expected a device, as /dev/ttyUSB0 or serial:///dev/ttyUSB0")
        opening = _Opening(self._system, endpoint, options)
        try:
            opened = await run_sync(opening.run)
            await checkpoint_if_cancelled()  # the thread was waited for all the same
        except BaseException:
            opening.abandon()
            raise
        return SerialTransport(opened, endpoint)

    async def listen(self, endpoint: Endpoint, options: SerialOptions, over: Listener | None) -> Listener:
        """Refuse: a serial port has nobody who could come in."""
        raise EndpointError(f"'{endpoint}': a serial port is connected to, it cannot listen")


factory: TransportFactory = SerialFactory(System())


class _Opening:
    """Opens a port in a worker thread; whatever becomes of the task meanwhile, no descriptor is left.

    anyio would wait for the thread when cancelled, but asyncio's own cancellation does not.
    """

    def __init__(self, system: System, endpoint: Endpoint, options: SerialOptions) -> None:
        self._system = system
        self._endpoint = endpoint
        self._options = options
        self._lock = threading.Lock()
        self._opened: _Opened | None = None
        self._abandoned = False

    def run(self) -> _Opened:
        path = self._endpoint.path
        try:
            tty = Tty(self._system, path)
            try:
                opened = self._prepare(tty)
                with self._lock:
                    if self._abandoned:
                        raise OSError(errno.ECANCELED, os.strerror(errno.ECANCELED))
                    self._opened = opened
                    return opened
            except BaseException:
                tty.close()
                raise
        except OSError as error:
            raise _explained(error, path) from error

    def abandon(self) -> None:
        with self._lock:
            self._abandoned = True
            if self._opened is not None:
                self._opened.tty.close()

    def _prepare(self, tty: Tty) -> _Opened:
        options = self._options
        if options.exclusive:
            tty.take_exclusively()
        wanted = options.settings(LineSettings())
        settings = tty.make_raw(wanted, options.hupcl)
        if settings != wanted:
            logger.warning("%s: asked for %s, in force is %s", self._endpoint, wanted, settings)
        outputs = _open_outputs(tty, options.dtr, options.rts)
        if options.low_latency:
            tty.set_low_latency()
        return _Opened(tty, settings, outputs, _usb_id(self._endpoint.path))


def _open_outputs(tty: Tty, dtr: bool | None, rts: bool | None) -> Outputs:
    """Bring DTR and RTS from where the kernel's open put them to where they are wanted: one edge at most."""
    bits = tty.modem_bits()
    if bits is None:  # a PTY: nothing to drive
        return Outputs(dtr is not False, rts is not False)
    before = Outputs(bool(bits & termios.TIOCM_DTR), bool(bits & termios.TIOCM_RTS))
    wanted = Outputs(before.dtr if dtr is None else dtr, before.rts if rts is None else rts)
    if wanted != before:
        bits &= ~(termios.TIOCM_DTR | termios.TIOCM_RTS)
        tty.set_modem_bits(bits | termios.TIOCM_DTR * wanted.dtr | termios.TIOCM_RTS * wanted.rts)
    return wanted


def _usb_id(path: str) -> tuple[int, int] | None:
    device = os.path.realpath(path)
    for port in ports():
        if port.url == device and port.vid is not None and port.pid is not None:
            return port.vid, port.pid
    return None


def _explained(error: OSError, path: str) -> OpenError:
    code = error.errno
    if code in (errno.EBUSY, errno.EWOULDBLOCK):
        holders = ", ".join(_holders(path))
        return PortBusyError(errno.EBUSY, f"{path} is in use{f' by {holders}' if holders else ''}")
    if code in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        reason = "there is no such device"
    elif code in (errno.EACCES, errno.EPERM):
        reason = f"no permission{_group_hint(path)}"
    elif code in (errno.ENOTTY, errno.EINVAL, errno.EISDIR):
        reason = "this is not a serial port"
    elif code == errno.EIO:
        reason = "there is no hardware behind this name, or it has just gone"
    else:
        reason = error.strerror or str(error)
    return OpenError(code, f"cannot open {path}: {reason}")


def _group_hint(path: str) -> str:
    try:
        group = grp.getgrgid(os.stat(path).st_gid).gr_name
    except (OSError, KeyError):
        return ""
    return f"; it belongs to the group {group}: become a member (usermod -aG {group} ...) and log in again"


def _holders(path: str) -> list[str]:
    """Who has a device open, as far as /proc tells."""
    device = os.path.realpath(path)
    holders = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(os.readlink(link) == device for link in (process / "fd").iterdir()):
                holders.append(f"{(process / 'comm').read_text().strip()} (pid {process.name})")
        except OSError:
            continue  # it ended, or is none of our business
    return holders
