"""A board with MicroPython, as far as mpremote talks to it, on a pseudo terminal."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import threading
import traceback
import tty
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["fake_micropython"]

PROMPT = b">>> "
RAW_BANNER = b"raw REPL; CTRL-B to exit\r\n>"
SOFT_REBOOT = b"OK\r\nMPY: soft reboot\r\n"


class _Board:
    def __init__(self) -> None:
        self._names: dict[str, object] = {}
        self._raw = False
        self._line = b""

    def receive(self, data: bytes) -> bytes:
        return b"".join(self._receive_one(bytes((byte,))) for byte in data)

    def _receive_one(self, key: bytes) -> bytes:
        match key:
            case b"\1":
                self._raw, self._line = True, b""
                return b"\r\n" + RAW_BANNER
            case b"\2":
                self._raw, self._line = False, b""
                return b"\r\nMicroPython\r\n" + PROMPT
            case b"\3":
                self._line = b""
                return b"" if self._raw else b"\r\n" + PROMPT
            case b"\4" if self._raw and not self._line.strip():
                self._names.clear()
                return SOFT_REBOOT + RAW_BANNER
            case b"\4" if self._raw:
                source, self._line = self._line, b""
                output, errors = self._run(source.decode(), "exec")
                return b"OK" + output + b"\4" + errors + b"\4>"
            case b"\1" | b"\5":
                return b""
            case b"\r" | b"\n" if not self._raw:  # the latter from a terminal that is not raw yet
                source, self._line = self._line, b""
                output, errors = self._run(source.decode(), "single")
                return b"\r\n" + output + errors + PROMPT
        self._line += key
        if self._raw and self._line == b"\5A\1":  # raw paste
            self._line = b""
            return b"R\0"
        return b"" if self._raw else key

    def _run(self, source: str, mode: str) -> tuple[bytes, bytes]:
        output, errors = io.StringIO(), ""
        with contextlib.redirect_stdout(output):
            try:
                exec(compile(source.replace("\r", ""), "<stdin>", mode), self._names)  # noqa: S102
            except Exception:  # noqa: BLE001
                errors = traceback.format_exc()
        return tuple(text.encode().replace(b"\n", b"\r\n") for text in (output.getvalue(), errors))  # type: ignore[return-value]


@contextmanager
def fake_micropython() -> Iterator[str]:
    """A board; the path of its port."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    board = _Board()

    def answer() -> None:
        with contextlib.suppress(OSError):
            while data := os.read(master, 4096):
                os.write(master, board.receive(data))

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield os.ttyname(slave)
    finally:
        os.close(slave)
        thread.join(10)
        os.close(master)
