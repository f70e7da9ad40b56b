"""A pyserial object driven by threads of its own: what blocks is here, without an event loop."""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeAlias

import serial

from ..core.endpoint import Endpoint
from ..core.errors import EndpointError, LineError, LineUnsupportedError, OpenError
from ..values.settings import FlowControl, Inputs, LineSettings, Outputs, Parity, Purge, StopBits
from ._failures import GONE, UNSUPPORTED, cannot_open, gone
from ._line_options import SerialOptions

__all__ = ["PyserialPort"]

logger = logging.getLogger("serialnet.serial")

#: Received bytes that may wait until the reading thread stops, and bytes that may wait to be written.
MOST_RECEIVED = 65536
MOST_UNSENT = 16384
#: The most bytes of one write, which a purge may have to interrupt.
CHUNK = 4096
#: Seconds that a read lasts where it cannot be cancelled.
READ_TIMEOUT = 0.05
#: Seconds that a read or a write may take to stop when it is asked to, and between two such requests.
STOPPING = 0.5
ASK_AGAIN = 0.01

Tell: TypeAlias = Callable[[], object]


class PyserialPort:
    """One port. All methods but :meth:`take` and :meth:`put` may block: call them in one thread.

    Reading and writing have a thread each, for a write may wait as long as the device takes nothing, and
    the lines of a stuck device must still be reached.

    :param tell: called in any thread when there is something to receive, or room to send, or a failure
    """

    def __init__(self, endpoint: Endpoint, options: SerialOptions, tell: Tell) -> None:
        self._endpoint = endpoint
        self._options = options
        self._tell = tell
        self._port: Any = None  # of any class, with pyserial's methods
        self._changed = threading.Condition()
        self._received = bytearray()
        self._unsent = bytearray()
        self._in_flight = 0
        self._purging = self._pausing = self._closing = False
        self._is_paused = True
        self._warned = False
        self._threads: list[threading.Thread] = []
        self.failure: str | None = None
        """Why reading or writing has failed, once it has."""
        self.settings: LineSettings = options.settings(LineSettings())
        self.outputs: Outputs = Outputs(options.dtr is not False, options.rts is not False)

    def open(self) -> None:
        """Open the port and start the threads.

        :raises EndpointError: if pyserial cannot make sense of the URL
        :raises OpenError: if it cannot be opened
        """
        try:
            self._port = port = serial.serial_for_url(
                self._endpoint.path,
                do_not_open=True,
                exclusive=self._options.exclusive or None,
                **_pyserial_settings(self.settings),
            )
            # Before it is open, so that pyserial opens it so.
            port.dtr, port.rts = self.outputs.dtr, self.outputs.rts
            port.timeout = None if hasattr(port, "cancel_read") else READ_TIMEOUT
            port.open()
        except Exception as error:
            raise _explained(error, self._endpoint) from error
        if self._options.low_latency and hasattr(port, "set_low_latency_mode"):
            with suppress(Exception):  # a wish
                port.set_low_latency_mode(True)
        self.settings = self._settings_in_force()
        for work in (self._read, self._write):
            thread = threading.Thread(
                target=self._run, args=[work], name=f"serialnet{work.__name__} {self._endpoint}", daemon=True
            )
            self._threads.append(thread)
            thread.start()

    # What never blocks, and may be called on an event loop.

    def take(self, view: memoryview) -> int:
        """Take received bytes."""
        with self._changed:
            n = min(len(view), len(self._received))
            view[:n] = self._received[:n]
            del self._received[:n]
            self._changed.notify_all()
            return n

    def put(self, view: memoryview) -> int:
        """Leave bytes to be written, as many as there is room for."""
        with self._changed:
            n = min(len(view), MOST_UNSENT - len(self._unsent) - self._in_flight)
            self._unsent += view[:n]
            self._changed.notify_all()
            return n

    # The two threads.

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001  # drivers raise anything; the device is lost then
            with self._changed:
                self.failure = self.failure or _text(error)
        with self._changed:
            if work == self._read:
                self._is_paused = True
            else:
                self._in_flight = 0
            self._changed.notify_all()
        self._tell()

    def _read(self) -> None:
        while True:
            with self._changed:
                self._is_paused = True
                self._changed.notify_all()
                self._changed.wait_for(
                    lambda: self._closing or not (self._pausing or len(self._received) >= MOST_RECEIVED)
                )
                if self._closing:
                    return
                self._is_paused = False
                room = MOST_RECEIVED - len(self._received)
            data = self._port.read(max(1, min(self._port.in_waiting, room)))
            if data:
                with self._changed:
                    self._received += data
                self._tell()

    def _write(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or (self._unsent and not self._purging))
                if self._closing:
                    return
                chunk = bytes(self._unsent[:CHUNK])
                del self._unsent[: len(chunk)]
                self._in_flight = len(chunk)
            written = self._port.write(chunk)
            with self._changed:
                if written is not None and not self._purging:  # it was cut short
                    self._unsent[:0] = chunk[written:]
                self._in_flight = 0
                self._changed.notify_all()
            self._tell()

    # The line.

    def unsent(self) -> int:
        """How many bytes wait here and in the driver, as far as it tells."""
        with self._changed:
            ours = len(self._unsent) + self._in_flight
        with self._failures():
            return ours or int(getattr(self._port, "out_waiting", 0))

    def configure(self, settings: LineSettings) -> LineSettings:
        """Put settings in force, all in one step; what was in force before is, if the port refuses."""
        with self._failures():
            before = self._port.get_settings()
            try:
                self._reconfigure(_pyserial_settings(settings))
            except BaseException:
                with suppress(Exception):
                    self._reconfigure(before)
                raise
            self.settings = self._settings_in_force()
            return self.settings

    def set_outputs(self, dtr: bool | None, rts: bool | None, brk: bool | None) -> Outputs:
        """Drive the outputs, both lines as near together as pyserial can."""
        if brk is not None and brk != self.outputs.brk:  # first, because it is what may be refused
            with self._failures("this port cannot send a BREAK"):
                self._port.break_condition = brk
            self.outputs = Outputs(self.outputs.dtr, self.outputs.rts, brk)
        if dtr is not None or rts is not None:
            old = self.outputs
            new = Outputs(old.dtr if dtr is None else dtr, old.rts if rts is None else rts, old.brk)
            with self._failures():
                try:
                    if new.dtr and not old.dtr:  # RTS alone would be a reset: DTR on before it, off after it
                        self._port.dtr = True
                    if rts is not None:
                        self._port.rts = new.rts
                    # Also when it is the same: Windows' usbser.sys sends RTS only with the next DTR.
                    self._port.dtr = new.dtr
                except (OSError, NotImplementedError) as error:
                    if not _is_unsupported(error):
                        raise
                    if not self._warned:
                        self._warned = True
                        logger.warning("%s has no modem lines: DTR and RTS have no effect", self._endpoint)
            self.outputs = new
        return self.outputs

    def inputs(self) -> Inputs:
        """Read the modem status lines; all off where there are none."""
        port = self._port
        try:
            with self._failures(""):
                return Inputs(bool(port.cts), bool(port.dsr), bool(port.ri), bool(port.cd))
        except LineUnsupportedError:
            return Inputs()

    def purge(self, what: Purge) -> None:
        """Throw away bytes, also those that are being read or written just now."""
        with self._failures():
            if Purge.RECEIVED in what:
                with self._paused_reading():
                    with self._changed:
                        self._received.clear()
                    self._port.reset_input_buffer()
            if Purge.UNSENT in what:
                with self._changed:
                    self._unsent.clear()
                    self._purging = True
                try:
                    self._stop(lambda: not self._in_flight, self._stop_writing)
                    self._port.reset_output_buffer()
                finally:
                    self._forget_cancelled_writes()
                    with self._changed:
                        self._purging = False
                        self._changed.notify_all()
        self._tell()

    def close(self) -> None:
        """Stop the threads, release BREAK and close the port; what is unsent is lost."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._port is None or not self._port.is_open:
            return
        stopped = self._stop(
            lambda: not any(thread.is_alive() for thread in self._threads), self._stop_reading_and_writing
        )
        if not stopped:
            logger.warning("%s: a read or a write does not end; its thread is left alone", self._endpoint)
        with suppress(Exception):  # the device may have gone: then there is nothing to tidy
            if self.outputs.brk:
                self._port.break_condition = False
            if self._options.hupcl:
                self._port.rts = False
                self._port.dtr = False
        try:
            self._port.close()
        except Exception as error:  # noqa: BLE001  # nobody could do anything about it
            logger.debug("%s: closing failed: %r", self._endpoint, error)

    # Helpers.

    @contextmanager
    def _paused_reading(self) -> Iterator[None]:
        """Keep the reader from its port, so that no byte is between the port and us."""
        with self._changed:
            self._pausing = True
        try:
            self._stop(lambda: self._is_paused, lambda: self._cancel("cancel_read"))
            yield
        finally:
            with self._changed:
                self._pausing = False
                self._changed.notify_all()

    def _stop(self, done: Callable[[], bool], ask: Callable[[], object]) -> bool:
        """Ask until it is done: a request that comes before the read or the write is lost."""
        deadline = time.monotonic() + STOPPING
        while time.monotonic() < deadline:
            with self._changed:
                if done():
                    return True
            ask()
            with self._changed:
                self._changed.wait_for(done, ASK_AGAIN)
        return done()

    def _stop_writing(self) -> None:
        self._cancel("cancel_write")
        with suppress(Exception):  # makes room, too, for a write that cannot be cancelled
            self._port.reset_output_buffer()

    def _stop_reading_and_writing(self) -> None:
        self._stop_writing()
        self._cancel("cancel_read")  # last: loop:// keeps it in the queue that was emptied just now

    def _forget_cancelled_writes(self) -> None:
        # pyserial keeps a request that came too late, and would cut the next write short, by a wrong count.
        with suppress(OSError, TypeError):
            os.read(getattr(self._port, "pipe_abort_write_r", -1), 4096)

    def _cancel(self, name: str) -> None:
        with suppress(Exception):
            getattr(self._port, name, lambda: None)()

    def _reconfigure(self, settings: dict[str, Any]) -> None:
        # The setters would reconfigure the port one by one, by way of settings that it may not have.
        for name, value in settings.items():
            setattr(self._port, f"_{name}", value)
        self._port.baudrate = settings["baudrate"]

    def _settings_in_force(self) -> LineSettings:
        port = self._port
        flow = (
            FlowControl.RTSCTS if port.rtscts else FlowControl.XONXOFF if port.xonxoff else FlowControl.NONE
        )
        return LineSettings(port.baudrate, port.bytesize, Parity(port.parity), StopBits(port.stopbits), flow)

    @contextmanager
    def _failures(self, unsupported: str | None = None) -> Iterator[None]:
        """Say what pyserial raises in our words.

        :param unsupported: what to say where the port cannot do it at all
        """
        if self.failure is not None:
            raise gone(OSError(errno.EIO, self.failure))
        try:
            yield
        except Exception as error:
            code = _code(error)
            if isinstance(error, serial.PortNotOpenError) or code in GONE:
                raise gone(OSError(code or errno.EIO, _text(error))) from error
            if isinstance(error, OSError | ValueError | NotImplementedError | AttributeError) or code:
                if unsupported is not None and _is_unsupported(error):
                    raise LineUnsupportedError(unsupported) from error
                raise LineError(f"the port refused: {_text(error)}") from error
            raise


def _pyserial_settings(settings: LineSettings) -> dict[str, Any]:
    return {
        "baudrate": settings.baudrate,
        "bytesize": settings.bytesize,
        "parity": settings.parity.value,
        "stopbits": settings.stopbits.value,
        "xonxoff": settings.flow is FlowControl.XONXOFF,
        "rtscts": settings.flow is FlowControl.RTSCTS,
    }


def _code(error: BaseException | None) -> int | None:
    """The errno of an error or of what it came from; termios.error, which is no OSError, has one, too."""
    while error is not None:
        number = getattr(error, "errno", None) or (error.args[0] if error.args else None)
        if isinstance(number, int):
            return number
        error = error.__cause__ or error.__context__
    return None


def _is_unsupported(error: BaseException) -> bool:
    return isinstance(error, NotImplementedError | AttributeError) or _code(error) in UNSUPPORTED


def _text(error: BaseException) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def _explained(error: Exception, endpoint: Endpoint) -> EndpointError | OpenError:
    text = str(error)
    if isinstance(error, KeyError):  # pyserial's own message about its options fails so
        text = "these options are not known"
    if isinstance(error, ValueError | KeyError) or text.startswith("expected a string in the form"):
        return EndpointError(f"'{endpoint}': pyserial says: {text}")
    code = _code(error)
    # Of Windows' own errors pyserial leaves nothing but their texts.
    if "PermissionError" in text:
        code = errno.EBUSY  # a port can be open once
    elif "FileNotFoundError" in text:
        code = errno.ENOENT
    return cannot_open(str(endpoint) if "://" in endpoint.path else endpoint.path, code, text)
