"""A pyserial object as Windows has it, and worse: no descriptor, slow, stubborn, failing on request."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from serial.serialutil import SerialBase
from typing_extensions import override


class FakePyserial(SerialBase):
    """One port. ``calls`` lists what was done to it."""

    _bytesize: int
    _parity: str
    _stopbits: float

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._dtr_state = self._rts_state = True
        self._break_state = False
        self._baudrate: int = 0
        self.calls: list[tuple[str, object]] = []
        self.incoming = bytearray()
        self.written = bytearray()
        #: how many bytes the device takes before it takes no more
        self.room: float = float("inf")
        #: raised by the call of that name
        self.errors: dict[str, Exception] = {}
        #: the rate that the driver makes of what was asked
        self.real_baudrate: int | None = None
        #: called with what a read gives, when the driver has it no more
        self.read_returns: Callable[[bytes], None] = lambda data: None
        self.changed = threading.Condition()
        super().__init__(*args, **kwargs)

    def _called(self, name: str, argument: object = None) -> None:
        self.calls.append((name, argument))
        if name in self.errors:
            raise self.errors[name]

    def feed(self, data: bytes) -> None:
        with self.changed:
            self.incoming += data
            self.changed.notify_all()

    def fail(self, error: Exception) -> None:
        with self.changed:
            self.errors["read"] = error
            self.changed.notify_all()

    def open(self) -> None:
        self._called("open", (self._dtr_state, self._rts_state))
        self.is_open = True
        self._reconfigure_port()

    @override
    def close(self) -> None:
        self._called("close")
        with self.changed:
            self.is_open = False
            self.changed.notify_all()

    def _reconfigure_port(self) -> None:
        self._called("configure", (self._baudrate, self._bytesize, self._parity, self._stopbits))
        if self.real_baudrate is not None:
            self._baudrate = self.real_baudrate

    @property
    def in_waiting(self) -> int:
        return len(self.incoming)

    @property
    def out_waiting(self) -> int:
        return 0

    @override
    def read(self, size: int = 1, /) -> bytes:
        deadline = None if self.timeout is None else time.monotonic() + self.timeout
        with self.changed:
            while not self.incoming and self.is_open:
                if "read" in self.errors:
                    raise self.errors["read"]
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    break
                self.changed.wait(left)
            data = bytes(self.incoming[:size])
            del self.incoming[:size]
        self.read_returns(data)
        return data

    @override
    def write(self, data: Any, /) -> int:
        self._called("write", len(data))
        with self.changed:
            taken = 0
            while taken < len(data) and self.is_open:
                n = int(min(len(data) - taken, self.room))
                self.written += data[taken : taken + n]
                self.room -= n
                taken += n
                if taken < len(data):
                    self.changed.wait()
            return taken

    def take(self) -> None:
        with self.changed:
            self.room = float("inf")
            self.changed.notify_all()

    def reset_input_buffer(self) -> None:
        self._called("reset_input_buffer")
        with self.changed:
            self.incoming.clear()

    def reset_output_buffer(self) -> None:
        pass

    def _update_dtr_state(self) -> None:
        self._called("dtr", self._dtr_state)

    def _update_rts_state(self) -> None:
        self._called("rts", self._rts_state)

    def _update_break_state(self) -> None:
        self._called("break", self._break_state)

    def _line(self, name: str) -> bool:
        if name in self.errors:
            raise self.errors[name]
        return False

    cts = property(lambda self: self._line("cts"))
    dsr = property(lambda self: self._line("dsr"))
    ri = property(lambda self: self._line("ri"))
    cd = property(lambda self: self._line("cd"))
