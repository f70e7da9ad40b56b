"""The processes that are measured: started, pinned, looked at and ended, each by its number."""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

__all__ = ["Process", "awake", "start"]

PATIENCE = 60.0
PAGE = os.sysconf("SC_PAGE_SIZE")
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


class Process:
    """A program that is running; lines go to it and come from it."""

    def __init__(self, command: Sequence[str], cpu: int | None) -> None:
        def prepare() -> None:
            LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # it does not outlive us
            if cpu is not None:
                os.sched_setaffinity(0, {cpu})

        self.name = " ".join(command)
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # close() closes it
        self._popen = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            bufsize=0,
            preexec_fn=prepare,  # noqa: PLW1509  # there are no threads
        )
        self._read = b""

    def close(self) -> None:
        """End it."""
        self._popen.terminate()
        try:
            self._popen.wait(2)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait(PATIENCE)
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        self._popen.stdin.close()
        self._popen.stdout.close()
        self._errors.close()

    def write_line(self, line: str) -> None:
        assert self._popen.stdin is not None
        self._popen.stdin.write(line.encode() + b"\n")

    def read_line(self) -> str:
        assert self._popen.stdout is not None
        deadline = time.monotonic() + PATIENCE
        while b"\n" not in self._read:
            if not select.select([self._popen.stdout], [], [], max(deadline - time.monotonic(), 0))[0]:
                raise TimeoutError(f"{self.name}: said nothing")
            data = self._popen.stdout.read(65536)
            if not data:
                self._errors.seek(0)
                raise RuntimeError(
                    f"{self.name}: ended: {self._errors.read().decode(errors='replace')[-500:]}"
                )
            self._read += data
        line, _, self._read = self._read.partition(b"\n")
        return line.decode()

    def answer(self) -> dict[str, Any]:
        """Read an answer in JSON."""
        answer: dict[str, Any] = json.loads(self.read_line())
        if "error" in answer:
            raise RuntimeError(f"{self.name}: {answer['error']}")
        return answer

    def ask(self, command: str) -> dict[str, Any]:
        self.write_line(command)
        return self.answer()

    def ports(self, count: int = 1) -> list[int]:
        """Read where it says that it listens."""
        found: list[int] = []
        while len(found) < count:
            line = self.read_line()
            if line.startswith("listening "):
                found.append(int(line.rpartition(":")[2]))
        return found

    def cpu_time(self) -> float:
        """Seconds of CPU that it has used so far, children included."""
        nanoseconds = 0
        for pid in _tree(self._popen.pid):
            for task in Path(f"/proc/{pid}/task").iterdir():
                nanoseconds += int((task / "schedstat").read_text().split()[0])
        return nanoseconds / 1e9

    def memory(self) -> int:
        """Bytes that it has in memory."""
        return PAGE * int(Path(f"/proc/{self._popen.pid}/statm").read_text().split()[1])


def _tree(pid: int) -> Iterator[int]:
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            yield from _tree(int(child))


@contextmanager
def start(command: Sequence[str], cpu: int | None = None) -> Iterator[Process]:
    """Run a program as long as the block lasts.

    :param cpu: the one CPU that it may use
    """
    process = Process(command, cpu)
    try:
        yield process
    finally:
        process.close()


@contextmanager
def awake(load: Path) -> Iterator[None]:
    """Keep every CPU from going to sleep: waking one takes longer than what is measured."""
    with ExitStack() as stack:
        for cpu in sorted(os.sched_getaffinity(0)):
            stack.enter_context(start([str(load), "spin", str(cpu)]))
        yield
