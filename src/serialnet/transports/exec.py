"""``exec:COMMAND``: a command's standard input and output."""

from __future__ import annotations

import logging
import os
import select
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import anyio
import anyio.lowlevel
from typing_extensions import Buffer, override

from ..core.endpoint import Endpoint
from ..core.errors import EndpointError, OpenError
from ..core.options import NoOptions
from ..core.registry import TransportFactory
from ..core.transport import Listener, Transport, TransportAttribute
from ._pipes import PipeTransport

__all__ = ["ExecTransport", "factory", "run_command"]

logger: logging.Logger = logging.getLogger("serialnet.exec")

# How long a command may take to end by itself once its input has ended, and how long after SIGTERM.
GRACE = 2.0
# How long the end of its output may come before its own.
EXIT_DELAY = 1.0
# How often it is looked after where the system has no descriptor for a process.
LOOK = 0.1
MOST_LINE = 1024
CHUNK = 4096


class ExecTransport(PipeTransport):
    """The standard streams of a process, which belongs to the transport and ends with it.

    It is in a session of its own: Ctrl+C ends us, and we end it in good order. A thread waits for it and
    hands what it says on standard error to the log, so nothing depends on the event loop.

    :param process: with pipes for its three streams
    """

    def __init__(self, process: subprocess.Popen[bytes], name: str) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        reading, writing = os.dup(process.stdout.fileno()), os.dup(process.stdin.fileno())
        process.stdout.close()
        process.stdin.close()
        for descriptor in (reading, writing):  # these ends of the pipes are ours alone
            os.set_blocking(descriptor, False)
        super().__init__(reading, writing)
        self.name = name
        self._keeper = _Keeper(process, name)
        self._received = False
        self._told = False

    @override
    async def receive_into(self, buffer: Buffer) -> int:
        try:
            n = await super().receive_into(buffer)
        except anyio.EndOfStream:
            await self._tell_status()
            raise
        self._received = True
        return n

    @override
    async def send_some(self, data: Buffer) -> int:
        try:
            return await super().send_some(data)
        except anyio.BrokenResourceError:
            await self._tell_status()
            raise

    async def _tell_status(self) -> None:
        """Log how it ended; if that is all that came of it, raise it."""
        with anyio.move_on_after(EXIT_DELAY):
            await self._keeper.wait()
        if not (status := self._keeper.status):
            return
        text = f"{self.name} {_explained(status)}"
        if not self._received:
            said = f": {self._keeper.last_line}" if self._keeper.last_line else ""
            raise anyio.BrokenResourceError(text + said)
        if not self._told:
            self._told = True
            logger.warning("%s", text)

    @override
    async def aclose(self) -> None:
        """Close its input and output, and wait for its end; it is made to end if that takes too long.

        When this is cancelled, it is killed at once.
        """
        try:
            await super().aclose()
            for number in (signal.SIGTERM, signal.SIGKILL):
                with anyio.move_on_after(GRACE):
                    await self._keeper.wait()
                    return
                self._keeper.kill(number)
            await self._keeper.wait()
        except BaseException:
            self._keeper.kill(signal.SIGKILL)
            raise

    @property
    @override
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return {TransportAttribute.url: lambda: f"exec:{self.name}"}


class _Keeper:
    """Waits for a process in a thread, and reads its standard error meanwhile."""

    def __init__(self, process: subprocess.Popen[bytes], name: str) -> None:
        assert process.stderr is not None
        self.status: int | None = None
        self.last_line = ""
        self._process = process
        self._name = name
        self._errors = process.stderr.fileno()
        self._partial = b""
        self._lock = threading.Lock()
        self._ended, self._end = os.pipe()
        threading.Thread(target=self._keep, name=f"serialnet exec:{name}", daemon=True).start()

    async def wait(self) -> None:
        """Wait for the end of the process."""
        with self._lock:
            if self.status is not None:
                return
            ended = os.dup(self._ended)  # each who waits needs one of his own
        try:
            await anyio.wait_readable(ended)
        finally:
            os.close(ended)

    def kill(self, number: signal.Signals) -> None:
        """Send a signal to the process, and to those that it has started, unless it has ended."""
        with self._lock:
            if self._process.returncode is None:
                logger.info("%s goes on without input: it gets %s", self._name, number.name)
                with suppress(OSError):  # it may be another user's: sudo
                    os.killpg(self._process.pid, number)

    def _keep(self) -> None:
        poll = select.poll()
        poll.register(self._errors, select.POLLIN)
        handle = _handle(self._process.pid)
        if handle is not None:
            poll.register(handle, select.POLLIN)
        while not self._reaped():
            for descriptor, _ in poll.poll(None if handle is not None else LOOK * 1000):
                if descriptor == self._errors and not self._read_errors():
                    poll.unregister(self._errors)
        os.set_blocking(self._errors, False)
        with suppress(BlockingIOError):  # others may have it open still
            while self._read_errors():
                pass
        self._log(self._partial)
        assert self._process.stderr is not None
        self._process.stderr.close()
        if handle is not None:
            os.close(handle)
        with self._lock:
            self.status = self._process.returncode
            os.close(self._ended)
            os.close(self._end)

    def _reaped(self) -> bool:
        with self._lock:  # lest a signal go to another process that has got the number
            return self._process.poll() is not None

    def _read_errors(self) -> bool:
        data = os.read(self._errors, CHUNK)
        *lines, self._partial = (self._partial + data).split(b"\n")
        if len(self._partial) > MOST_LINE:
            lines.append(self._partial)
            self._partial = b""
        for line in lines:
            self._log(line)
        return bool(data)

    def _log(self, line: bytes) -> None:
        text = "".join(
            character if character.isprintable() else "?"
            for character in line[:MOST_LINE].decode(errors="replace").strip()
        )
        if text:
            self.last_line = text
            logger.info("%s: %s", self._name, text)


class _Factory:
    options = NoOptions
    layer = False

    async def connect(self, endpoint: Endpoint, options: NoOptions, over: Transport | None) -> ExecTransport:
        try:
            command = shlex.split(endpoint.path)
        except ValueError as error:
            raise EndpointError(
                f"'{endpoint}': expected a command, split as a shell does: {str(error).lower()}"
            ) from None
        if not command or not command[0]:
            raise EndpointError(f"'{endpoint}': expected exec:COMMAND, as 'exec:ssh pi cat /dev/ttyUSB0'")
        return run_command(command)

    async def listen(self, endpoint: Endpoint, options: NoOptions, over: Listener | None) -> Listener:
        raise EndpointError(f"'{endpoint}': a command is connected to, it cannot listen")


factory: TransportFactory = _Factory()


def run_command(command: Sequence[str]) -> ExecTransport:
    """Start a command.

    :raises EndpointError: if the system cannot do it this way
    :raises OpenError: if there is no such command, or it may not be run
    """
    if os.name != "posix":
        raise EndpointError("exec: needs Linux, macOS or the like; expected another scheme")
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
    except OSError as error:
        raise OpenError(error.errno, f"cannot run {command[0]}: {error.strerror}") from error
    try:
        return ExecTransport(process, os.path.basename(command[0]))
    except BaseException:  # no more descriptors or threads
        process.kill()
        process.wait()
        raise


def _handle(pid: int) -> int | None:
    """A descriptor that becomes readable when a process ends, where the system has such."""
    if sys.platform == "linux":
        with suppress(OSError):
            return os.pidfd_open(pid)
    return None


def _explained(status: int) -> str:
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"ended with status {status}"
