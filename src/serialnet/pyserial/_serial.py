"""The object with pyserial's interface."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import fields, replace
from enum import Enum
from functools import partial
from typing import Any, TypeVar

import serial
from serial.serialutil import PortNotOpenError, to_bytes  # type: ignore[attr-defined]
from typing_extensions import override

from ..core.endpoint import Endpoint
from ..core.errors import EndpointError, LineError
from ..core.line import Line
from ..core.options import parse_options
from ..core.transport import Transport
from ..transports._line_options import LineOptions
from ..values.settings import FlowControl, Inputs, LineSettings, Parity, Purge, StopBits
from ..wire.comport.codes import is_granted
from ._connection import PATIENCE, Connection, connected

__all__ = ["Serial"]

T = TypeVar("T")


class Serial(serial.SerialBase):
    """A port of pyserial's kind at the other end of any URL of serialnet's.

    :param port: the URL or device; opened at once, unless ``None``
    :param options: as for :class:`serial.Serial`
    :raises serial.SerialException: if it cannot be opened
    """

    flash_assist: bool = os.environ.get("SERIALNET_ASSIST") != "off"
    """Whether esptool is kept waiting while the answer of a chip far away is under way; see
    :class:`serialnet.hooks.FlashAssist`. Looked at when the port is opened; off if the environment says
    ``SERIALNET_ASSIST=off``."""

    name: str | None
    is_open: bool
    # Of the base class, whose stubs have only the properties.
    _timeout: float | None
    _write_timeout: float | None
    _inter_byte_timeout: float | None
    _dsrdtr: bool
    _rs485_mode: object

    def __init__(self, port: str | None = None, *args: Any, **options: Any) -> None:
        self._connection: Connection | None = None
        self._held = False  # settings, until all are known
        self._asked = LineSettings()
        super().__init__(port, *args, **options)

    # Opening and closing

    @property
    def port(self) -> str | None:
        """The URL or device.

        What it names of the settings, DTR and RTS is taken over from it, until it is set anew.
        """
        return super().port

    @port.setter
    def port(self, port: str | None) -> None:
        if port is not None:
            self._take_settings(port)
        serial.SerialBase.port.__set__(self, port)  # type: ignore[attr-defined]

    def _take_settings(self, url: str) -> None:
        try:
            endpoint = Endpoint.parse(url)
            known = endpoint.options.keys() & {field.name for field in fields(LineOptions)}
            options = parse_options(LineOptions, {name: endpoint.options[name] for name in known}, url)
        except EndpointError:
            return  # what is wrong with it is said when it is opened
        for name in known:
            value = getattr(options, name)
            attribute = f"_{name}_state" if name in ("dtr", "rts") else f"_{name}"
            setattr(self, attribute, value.value if isinstance(value, Enum) else value)

    def open(self) -> None:
        """Open the port, with the settings and the DTR and RTS that were set before, or are named in the URL.

        DTR and RTS are on unless somebody says otherwise.

        :raises serial.SerialException: if it cannot be opened
        """
        if self.port is None:
            raise serial.SerialException("Port must be configured before it can be used.")
        if self.is_open:
            raise serial.SerialException("Port is already open.")
        settings = self._settings()
        prepare = partial(
            _prepare,
            settings=settings,
            dtr=None if self._dsrdtr else bool(self._dtr_state),
            rts=None if self._rtscts else bool(self._rts_state),
            brk=True if self._break_state else None,
        )
        connection = connected(self.port)
        connection.start(prepare, flash_assist=self.flash_assist)
        self._connection = connection
        self._asked = settings
        line = self._connection.line
        if line is not None:
            self._show_outputs(line)
        # esptool resets by DTR and RTS, rather than by ioctls on a descriptor, what has the one name, and not
        # at all what has the other.
        scheme = "socket:" if line is None else "rfc2217:"
        shown = _shown(self.port)
        self.name = shown if shown.startswith(scheme) else scheme + shown
        self.is_open = True

    def close(self) -> None:
        """Close the port, once what was written has been sent; it can be opened again."""
        self.is_open = False
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    @override
    def __repr__(self) -> str:
        shown = self.port and _shown(self.port)
        return super().__repr__().replace(f"port={self.port!r}", f"port={shown!r}")

    # Reading

    @property
    def in_waiting(self) -> int:
        """How many bytes can be read at once."""
        incoming = self._opened.incoming
        waiting = len(incoming)
        if not waiting and incoming.ended:
            raise serial.SerialException(incoming.ended)
        return waiting

    @override
    def read(self, size: int = 1) -> bytes:
        return self._opened.incoming.read(size, self._timeout, self._inter_byte_timeout)

    def cancel_read(self) -> None:
        """Let a read that waits in another thread, or the next that would, return what it has."""
        if self._connection is not None:
            self._connection.incoming.cancel()

    def reset_input_buffer(self) -> None:
        """Throw away what was received, and what the other end sends before it hears of this."""
        connection = self._opened
        connection.begin(connection.purge_received)

    def fileno(self) -> int:
        """A descriptor to ``select`` on: readable exactly while a read returns at once. It is no terminal."""
        return self._opened.incoming.fileno()

    @property
    def fd(self) -> int | None:
        """The same, or ``None`` when closed."""
        return self.fileno() if self.is_open else None

    # Writing

    @property
    def out_waiting(self) -> int:
        """How many bytes have not left this machine's buffer yet."""
        return len(self._opened.outgoing)

    @override
    def write(self, data: Any) -> int:
        return self._opened.outgoing.write(to_bytes(data), self._write_timeout)

    def cancel_write(self) -> None:
        """Let a write that waits in another thread, or the next that would, return."""
        if self._connection is not None:
            self._connection.outgoing.cancel()

    def reset_output_buffer(self) -> None:
        """Throw away what was written and not sent."""
        connection = self._opened
        connection.begin(connection.purge_unsent)

    @override
    def flush(self) -> None:
        connection = self._opened
        connection.outgoing.wait_until_empty(self._write_timeout)
        if connection.line is not None:
            connection.call(connection.line.drain)

    # The line

    @override
    def apply_settings(self, d: dict[str, Any]) -> None:
        self._held = True
        try:
            super().apply_settings(d)
        finally:
            self._held = False
        if self.is_open:
            self._reconfigure_port()

    def _reconfigure_port(self) -> None:
        """Put the settings in force, if they are others than before. Called when anything at all is set."""
        connection = self._opened
        if self._held or connection.line is None:
            return
        asked = self._asked
        try:
            self._asked = self._settings()
            if self._asked != asked:
                connection.outgoing.wait_until_empty(None, PATIENCE)
                # What was in force before will be granted again.
                ask = connection.begin if self._asked == connection.found else connection.call
                ask(_configure, connection.line, self._asked)
        except BaseException:
            self._asked = asked
            self._show(asked)
            raise

    def _settings(self) -> LineSettings:
        """The settings that the properties name.

        :raises ValueError: if there are none of the kind
        """
        if self._rtscts and self._xonxoff:
            raise ValueError("rtscts and xonxoff exclude each other")
        if self._rs485_mode is not None:
            raise NotImplementedError("rs485_mode is not supported: set it at the port")
        return LineSettings(
            self._baudrate,
            self._bytesize,
            Parity(self._parity),
            StopBits(self._stopbits),
            FlowControl.RTSCTS
            if self._rtscts
            else FlowControl.XONXOFF
            if self._xonxoff
            else FlowControl.NONE,
        )

    def _show(self, settings: LineSettings) -> None:
        """Let the properties name these settings."""
        self._baudrate = settings.baudrate
        self._bytesize = settings.bytesize
        self._parity = settings.parity.value
        self._stopbits = settings.stopbits.value
        self._rtscts = settings.flow is FlowControl.RTSCTS
        self._xonxoff = settings.flow is FlowControl.XONXOFF

    def _show_outputs(self, line: Line) -> None:
        """Let the properties name what is in force."""
        outputs = line.outputs
        self._dtr_state, self._rts_state, self._break_state = outputs.dtr, outputs.rts, outputs.brk

    def _update_dtr_state(self) -> None:
        self._set_outputs(dtr=bool(self._dtr_state))

    def _update_rts_state(self) -> None:
        self._set_outputs(rts=bool(self._rts_state))

    def _update_break_state(self) -> None:
        self._set_outputs(brk=bool(self._break_state))

    def _set_outputs(self, **outputs: bool) -> None:
        connection = self._opened
        if connection.line is not None:
            connection.set_outputs(**outputs)

    @property
    def cts(self) -> bool:
        """Whether CTS is on."""
        return self._inputs().cts

    @property
    def dsr(self) -> bool:
        """Whether DSR is on."""
        return self._inputs().dsr

    @property
    def ri(self) -> bool:
        """Whether RI is on."""
        return self._inputs().ri

    @property
    def cd(self) -> bool:
        """Whether CD is on."""
        return self._inputs().cd

    def _inputs(self) -> Inputs:
        connection = self._opened
        if connection.line is None:
            return _NO_LINE
        return connection.call(connection.line.get_inputs)

    def call_with_line(self, func: Callable[[Line], Awaitable[T]]) -> T:
        """Await something on the port's event loop that needs its line, such as a reset.

        :raises serial.SerialException: if there is no line, or it fails
        """
        connection = self._opened
        if connection.line is None:
            raise serial.SerialException(f"{self.port} carries no DTR and RTS")
        try:
            return connection.call(func, connection.line)
        finally:
            self._show_outputs(connection.line)

    @property
    def _opened(self) -> Connection:
        if self._connection is None:
            raise PortNotOpenError()
        return self._connection


def _shown(url: str) -> str:
    """A URL without secrets."""
    try:
        return str(Endpoint.parse(url))
    except EndpointError:
        return url


# What is told where there is no line: what a null modem shows while the other end is there.
_NO_LINE = Inputs(cts=True, dsr=True, cd=True)


async def _prepare(
    transport: Transport, settings: LineSettings, dtr: bool | None, rts: bool | None, brk: bool | None
) -> None:
    """Bring a transport that was just opened to where the properties say."""
    line = transport.line
    if line is None:
        return
    steps: list[Callable[[], Awaitable[object]]] = [partial(_configure, line, settings)]
    if (dtr, rts, brk) != (None, None, None):
        steps.append(partial(line.set_outputs, dtr=dtr, rts=rts, brk=brk))
    # As pyserial does: what was said to others is none of this program's business.
    steps.append(partial(line.purge, Purge.RECEIVED))
    if line._pipelines:
        await asyncio.gather(*(step() for step in steps))
    else:
        for step in steps:
            await step()


async def _configure(line: Line, asked: LineSettings) -> None:
    """Put settings in force.

    :raises LineError: if others are in force then; a baud rate close by will do
    """
    got = await line.configure(asked)
    if replace(got, baudrate=asked.baudrate) != asked or not is_granted(asked.baudrate, got.baudrate):
        raise LineError(f"the port refuses {asked}; in force is {got}")
