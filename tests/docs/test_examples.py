"""The examples in the README and the documentation do what they say.

- A ``python`` block is a whole program that ends by itself; it is run.
- A ``console`` block whose first command is ``serialnet`` is a session: each ``$ command`` is run, and
  ``serialnet serve`` goes on beside the others until the block ends. Port 4000 stands for one that is free.
- What follows a command, and a ``text`` block right after a ``python`` block, is what it prints; ``...``
  stands for anything there. Where nothing is written, anything will do.
- ``<!-- not run: why -->`` before a block says that it is not run; Python must still compile.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest
import serial

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(
    r"(?P<not_run><!-- not run: [^\n]+ -->\n)?```(?P<language>python|console)\n(?P<text>.*?)^```\n"
    r"(?:\n```text\n(?P<output>.*?)^```\n)?",
    re.DOTALL | re.MULTILINE,
)
PORT = "4000"
TIMEOUT = 20


@dataclass(frozen=True)
class Block:
    language: str
    text: str
    output: str | None
    is_run: bool
    page: Path
    line: int

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True)
class Command:
    arguments: list[str]
    output: str

    @property
    def serves(self) -> bool:
        return self.arguments[:2] == ["serialnet", "serve"]


def blocks(language: str) -> list[Block]:
    return [
        Block(
            language,
            found["text"],
            found["output"],
            not found["not_run"],
            page,
            text.count("\n", 0, found.start("text")),
        )
        for page in PAGES
        for text in [page.read_text()]
        for found in BLOCK.finditer(text)
        if found["language"] == language
    ]


def sessions() -> list[Block]:
    return [block for block in blocks("console") if block.is_run and block.text.startswith("$ serialnet ")]


def commands(text: str) -> list[Command]:
    parts = re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]
    return [
        Command(shlex.split(command), output)
        for command, _, output in (part.partition("\n") for part in parts)
    ]


def check(expected: str, actual: str) -> None:
    pattern = ".*".join(re.escape(part) for part in expected.strip().split("..."))
    assert re.fullmatch(pattern, actual.strip(), re.DOTALL), f"expected:\n{expected}\ngot:\n{actual}"


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_python(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = compile(block.text, str(block), "exec")
    if not block.is_run:
        return
    monkeypatch.chdir(tmp_path)
    # What an example installs in pyserial goes with it.
    monkeypatch.setattr(serial, "protocol_handler_packages", [*serial.protocol_handler_packages])
    exec(code, {"__name__": "__main__"})  # noqa: S102  # our own examples
    if block.output is not None:
        check(block.output, capsys.readouterr().out)


@pytest.mark.parametrize("block", sessions(), ids=str)
def test_console(block: Block, tmp_path: Path) -> None:
    free = free_port()
    servers = []
    try:
        for command in commands(block.text.replace(PORT, free)):
            if command.serves and command.output.startswith("listening"):
                servers.append(Process(command, tmp_path, free))
                servers[-1].expect_beginning(command.output)
            else:
                process = Process(command, tmp_path, free)
                status = process.wait()
                assert status == 0 or command.output, f"status {status}:\n{process.output}"
                if command.output:
                    check(command.output, process.output)
    finally:
        for server in servers:
            server.end()


class Process:
    """A command, with all that it prints."""

    def __init__(self, command: Command, directory: Path, port: str) -> None:
        program, *arguments = command.arguments
        assert program == "serialnet", f"{program} is not run here: mark the block"
        if command.serves and "--listen" not in arguments:
            arguments += ["--listen", f"rfc2217://127.0.0.1:{port}"]
        self.output = ""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "serialnet", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=directory,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        self._watchdog = threading.Timer(TIMEOUT, self._process.kill)
        self._watchdog.start()

    def expect_beginning(self, expected: str) -> None:
        """Read as many lines as are expected."""
        beginning = expected.partition("...")[0]
        for _ in beginning.splitlines():
            self.output += self._lines.readline()
        check(beginning, self.output)

    def wait(self) -> int:
        """Read all that it prints, to its end."""
        self.output += self._lines.read()
        status = self._process.wait()
        self._tidy()
        assert status >= 0, f"it took longer than {TIMEOUT} s, or crashed:\n{self.output}"
        return status

    def end(self) -> None:
        self._process.send_signal(signal.SIGINT)
        self._lines.read()
        status = self._process.wait()
        self._tidy()
        assert status == 0

    @property
    def _lines(self) -> IO[str]:
        assert self._process.stdout is not None
        return self._process.stdout

    def _tidy(self) -> None:
        self._watchdog.cancel()
        self._watchdog.join()
        self._process.__exit__(None, None, None)


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return str(listener.getsockname()[1])


def test_that_examples_are_found() -> None:
    assert len([block for block in blocks("python") if block.is_run]) >= 10
    assert len(sessions()) >= 3
