"""``/dev/ttyUSB0`` or ``serial:///dev/ttyUSB0``: a serial port of a POSIX system."""

from __future__ import annotations

import errno
import logging
import os
import termios
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from anyio.lowlevel import checkpoint, checkpoint_if_cancelled
from anyio.to_thread import run_sync
from typing_extensions import override

from ..core.endpoint import Endpoint
from ..core.errors import EndpointError, OpenError
from ..core.line import Line
from ..core.registry import TransportFactory
from ..core.transport import Listener, Transport
from ..port_list import PortInfo, find_port
from ..values.settings import LineSettings, Outputs
from ._attributes import port_attributes
from ._descriptor import DescriptorTransport, part_from
from ._failures import GONE, cannot_open, gone
from ._line_options import SerialOptions
from ._serial_line import SerialLine
from ._termios import System, Tty

__all__ = ["SerialFactory", "SerialOptions", "SerialTransport", "factory"]

logger: logging.Logger = logging.getLogger("serialnet.serial")


@dataclass(frozen=True, slots=True)
class _Opened:
    tty: Tty
    settings: LineSettings
    outputs: Outputs
    port: PortInfo | None


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
        self._port = opened.port
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
        self._begin_closing()
        await part_from(self._descriptor)
        await self._line.aclose()

    @property
    @override
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return port_attributes(self._endpoint, self._port)


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
        if endpoint.netloc or not endpoint.path:
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
        except OpenError:
            raise
        except OSError as error:
            raise cannot_open(path, error.errno, error.strerror or str(error)) from error

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
        try:
            settings = tty.make_raw(wanted, options.hupcl)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            text = f"cannot open {self._endpoint.path}: its driver refuses {wanted}"
            raise OpenError(error.errno, text) from error
        if settings != wanted:
            logger.warning("%s: asked for %s, in force is %s", self._endpoint, wanted, settings)
        outputs = _open_outputs(tty, options.dtr, options.rts)
        if options.low_latency:
            tty.set_low_latency()
        return _Opened(tty, settings, outputs, find_port(self._endpoint.path))


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
