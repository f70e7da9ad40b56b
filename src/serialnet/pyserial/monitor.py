"""A terminal for a port: pyserial's miniterm, which can restart boards and outlives the connection."""

from __future__ import annotations

import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import fields
from typing import Any

import serial
from serial.tools.miniterm import Miniterm, key_description
from typing_extensions import override

from .. import resets
from ..core.line import Line
from ..values.events import InputsChanged, LineErrors
from ._serial import Serial

__all__ = ["Monitor"]

# Seconds between attempts to connect again: twice as many each time.
SHORTEST_PAUSE, LONGEST_PAUSE = 0.25, 5.0
# How long a reader that is just connecting may keep us from leaving.
PATIENCE = 1.0


class _Port(Serial):
    """A port whose loss the reader deals with: what is typed meanwhile is dropped."""

    @override
    def write(self, data: Any) -> int:
        with suppress(serial.SerialException):
            return super().write(data)
        return len(data)


class Monitor(Miniterm):
    """A miniterm.

    :param url: the port; opened at once
    :param baudrate: bits per second; 115200 if neither this nor the URL says
    :param eol: what ENTER sends: ``crlf``, ``cr`` or ``lf``
    :param raw: show control characters as they come
    :param lines: tell of each change of the status lines, and of line errors
    :raises serial.SerialException: if the port cannot be opened
    """

    _reader_alive: bool | None  # the base class has it, its stubs have not

    def __init__(
        self,
        url: str,
        *,
        baudrate: int | None = None,
        eol: str = "crlf",
        raw: bool = False,
        lines: bool = False,
    ) -> None:
        port: Any = _Port(None, 115200)  # Any: pyserial's stubs know of one kind of port only
        port.port = url
        if baudrate is not None:
            port.baudrate = baudrate
        super().__init__(port, eol=eol, filters=["default"])
        self.raw = raw
        self.set_rx_encoding("UTF-8")
        self.set_tx_encoding("UTF-8")
        self._lines = lines
        self._stopped = threading.Event()
        port.open()

    def run(self) -> None:
        """Be a terminal until its user leaves."""
        port = self.serial
        say(f"{port.port}  {port.baudrate},{port.bytesize},{port.parity},{port.stopbits:g}")
        menu, leave = key_description(self.menu_character), key_description(self.exit_character)
        say(f"Quit: {leave} | Menu: {menu} | Help: {menu} followed by {key_description(chr(8))}")
        self.start()
        with suppress(KeyboardInterrupt):
            self.join(True)
        self.stop()
        self.join()
        self.close()
        say("exit")

    @override
    def stop(self) -> None:
        super().stop()
        self._stopped.set()

    @override
    def join(self, transmit_only: bool = False) -> None:
        self.transmitter_thread.join()
        if not transmit_only and self.receiver_thread is not None:
            self.serial.cancel_read()
            self.receiver_thread.join(PATIENCE)

    @override
    def reader(self) -> None:
        self._watch_lines()
        while self.alive and self._reader_alive:
            try:
                self._show(self.serial.read(self.serial.in_waiting or 1))
            except serial.SerialException as error:
                if not self._stopped.is_set():
                    say(f"lost: {error}")
                    self._connect_again()

    def _show(self, data: bytes) -> None:
        if self.raw:
            self.console.write_bytes(data)
            return
        assert self.rx_decoder is not None
        text = self.rx_decoder.decode(data)
        for transformation in self.rx_transformations:
            text = transformation.rx(text)
        self.console.write(text)

    def _connect_again(self) -> None:
        pause = SHORTEST_PAUSE
        self.serial.close()
        said = None
        while not self._stopped.wait(pause) and self._reader_alive:
            pause = min(2 * pause, LONGEST_PAUSE)
            try:
                self.serial.open()
            except serial.SerialException as error:
                if str(error) != said:
                    said = str(error)
                    say(f"trying again: {said}")
            else:
                say("connected again")
                self._watch_lines()
                return

    # Keys

    @override
    def handle_menu_key(self, c: str) -> None:
        try:
            if c in RESETS:
                name, play = RESETS[c]
                say(f"restarting the board{name}")
                self._with_line(play)
            else:
                super().handle_menu_key(c)
        except (serial.SerialException, ValueError, NotImplementedError) as error:
            say(f"this failed: {error}")

    @override
    def get_help_text(self) -> str:
        return super().get_help_text() + HELP.format(menu=key_description(self.menu_character))

    # The line

    def _with_line(self, func: Callable[[Line], Awaitable[None]]) -> None:
        port: object = self.serial
        if not isinstance(port, Serial):  # the menu can change to a port of pyserial's
            raise NotImplementedError(f"{self.serial.port} was opened by pyserial")
        port.call_with_line(func)

    def _watch_lines(self) -> None:
        if self._lines:
            threading.Thread(target=self._watch, name="lines", daemon=True).start()

    def _watch(self) -> None:
        with suppress(serial.SerialException, NotImplementedError):  # the reader tells of it
            self._with_line(_tell)


async def _tell(line: Line) -> None:
    """Say what happens on the line."""
    async with line.events() as events:
        async for event in events:
            match event:
                case InputsChanged(before, after):
                    names = [field.name for field in fields(after)]
                    changed = [n for n in names if before == after or getattr(before, n) != getattr(after, n)]
                    say(", ".join(f"{n.upper()} {'on' if getattr(after, n) else 'off'}" for n in changed))
                case LineErrors():
                    say(", ".join(f"{f.name}: {n}" for f in fields(event) if (n := getattr(event, f.name))))


def say(text: str) -> None:
    """Say something between what the port says."""
    sys.stderr.write(f"\n--- {text} ---\n")


# What the menu's keys do to the board.
RESETS = {
    "g": ("", resets.reset),
    "l": (" into its boot loader", resets.enter_bootloader),
}
HELP = """\
---
--- Board ({menu} followed by the following):
---    g          go: restart it
---    l          restart it into its boot loader
"""
