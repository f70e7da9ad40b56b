"""pyserial's miniterm on a running application, at a terminal of its own."""

from __future__ import annotations

import sys

import pytest

from serialnet import Outputs

from .matrix import TOOLS, shows
from .terminal import at_terminal
from .tools import served

EXIT = b"\x1d"


@shows(TOOLS["miniterm"])
@pytest.mark.parametrize("options", [[], ["--dtr", "0", "--rts", "0"], ["--dtr", "1", "--rts", "1"]])
async def test_miniterm(options: list[str]) -> None:
    async with served() as shared:
        miniterm = [sys.executable, "-m", "serial.tools.miniterm", *options, shared.url, "115200"]
        async with at_terminal(*miniterm) as terminal:
            await terminal.read_until(b"Quit: Ctrl+]")
            shared.say(b"hello from the application\r\n")
            await terminal.read_until(b"hello from the application")
            await terminal.type(b"typed")
            await terminal.read_until(b"typed")
            assert shared.board.outputs == (Outputs() if "0" in options else Outputs(dtr=True, rts=True))
            await terminal.type(EXIT)
            await terminal.read_until(b"--- exit ---")
        assert terminal.process.returncode == 0
        assert b"Traceback" not in terminal.screen
        assert shared.board.boots == []
