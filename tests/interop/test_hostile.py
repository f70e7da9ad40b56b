"""What clients send cannot end a server, nor make it grow."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random

import psutil
import pytest

from .hostile import COM_PORT, DO, FLOODS, IAC, KNOWN, SB, SE, WILL, command, make_up
from .tools import times

BATCH = 100
INPUTS = times(200, 10_000)
# What a server may grow by: its buffers, however often it is attacked, and less than the greatest flood.
GROWTH = 12 << 20

# Until a server sees that a client has gone, it digests what that has sent, and may have another one waiting
# that has gone, too: who comes meanwhile is refused, and tries again.
PATIENCE = 3.0

# Ends whatever a client may have begun, then asks for the server's signature.
MARK = b"\0" + IAC + SE + command(0)
ANSWER = IAC + SB + COM_PORT + bytes([100])


class Victim:
    """A server in a process of its own."""

    def __init__(self, address: tuple[str, int], process: subprocess.Popen[str]) -> None:
        self._address = address
        self._process = process
        self._usage = psutil.Process(process.pid)

    def connect(self) -> socket.socket:
        return socket.create_connection(self._address, timeout=10)

    def open(self) -> socket.socket:
        """Connect, and wait for the greeting: the port is ours."""
        deadline = time.monotonic() + PATIENCE
        while True:
            connection = self.connect()
            if connection.recv(3) == IAC + DO + COM_PORT:
                return connection
            connection.close()
            assert time.monotonic() < deadline, "the server turned us away"

    def check(self) -> None:
        """Be a proper client, and find all as it should be."""
        assert self._process.poll() is None
        with self.open() as client:
            client.sendall(IAC + WILL + COM_PORT)
            for code, payload in (
                (1, b"\0\x01\xc2\0"),
                (2, b"\x08"),
                (3, b"\x01"),
                (4, b"\x01"),
                (5, b"\x01"),  # no flow control
                (5, b"\x06"),  # no BREAK
                (5, b"\x0c"),  # no RTS
                (5, b"\x09"),  # no DTR
                (5, b"\x0b"),  # RTS: reset
            ):
                client.sendall(command(code, payload))
                read_until(client, command(code + 100, payload))
            client.sendall(command(5, b"\x0c"))
            read_until(client, b"serialnet-app:factory\r\n")
            client.sendall(b"and echoes")
            read_until(client, b"and echoes")

    @property
    def memory(self) -> int:
        return int(self._usage.memory_info().rss)

    @property
    def descriptors(self) -> int:
        return self._usage.num_fds()


@contextmanager
def victim(backend: str, directory: Path) -> Iterator[Victim]:
    program = Path(__file__).with_name("serve_board.py")
    with (
        (directory / "errors").open("w") as errors,
        subprocess.Popen(
            [sys.executable, str(program), backend], stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        try:
            assert process.stdout is not None
            url = process.stdout.readline()
            victim = Victim(("127.0.0.1", int(url.rpartition(":")[2])), process)
            victim.check()
            memory, descriptors = victim.memory, victim.descriptors
            yield victim
            victim.check()
            deadline = time.monotonic() + 5
            while victim.descriptors > descriptors and time.monotonic() < deadline:
                time.sleep(0.05)
            assert victim.descriptors <= descriptors
            assert victim.memory - memory < GROWTH
        finally:
            process.kill()
    assert "Traceback" not in (directory / "errors").read_text()


def read_until(client: socket.socket, text: bytes) -> None:
    received = b""
    while text not in received:
        more = client.recv(65536)
        assert more, f"the server closed the connection before it sent {text!r}, after {received[-100:]!r}"
        received += more


def reset(client: socket.socket) -> None:
    """End a connection at once, without a farewell (RST)."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def is_open(client: socket.socket) -> bool:
    """Whether the server keeps a connection."""
    client.settimeout(1)
    try:
        while client.recv(4096):
            pass
    except TimeoutError:
        return True
    return False


def send(victim: Victim, data: bytes) -> None:
    """Send it, and make sure that the server has digested it."""
    client = victim.open()
    try:
        client.sendall(data + MARK)
        read_until(client, ANSWER)
    except (BrokenPipeError, ConnectionResetError) as error:
        raise AssertionError(f"the server closed the connection on {data[:200]!r}") from error
    finally:
        reset(client)


@pytest.fixture(params=["asyncio", "trio", "uvloop"])
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.mark.timeout(120)
def test_known(backend: str, tmp_path: Path) -> None:
    with victim(backend, tmp_path) as target:
        for name, data in KNOWN.items():
            try:
                send(target, data)
                with target.open() as client:  # and from a client that leaves at once
                    client.sendall(data)
            except (AssertionError, OSError) as error:
                raise AssertionError(f"at or after: {name}") from error
        target.check()


@pytest.mark.timeout(times(120, 1800))
def test_made_up(backend: str, tmp_path: Path) -> None:
    with victim(backend, tmp_path) as target:
        for number in range(INPUTS):
            random = Random(f"{backend} {number}")
            data = make_up(random)
            try:
                match random.randrange(6):
                    case 0:  # gone before it is read
                        client = target.open()
                        client.sendall(data)
                        reset(client)
                    case 1:  # no greeting waited for
                        client = target.connect()
                        client.sendall(data)
                        reset(client)
                    case _:
                        send(target, data)
                if number % BATCH == BATCH - 1:
                    target.check()
            except (AssertionError, OSError) as error:
                raise AssertionError(f"at input {number} on {backend}: {data[:200]!r}") from error


@pytest.mark.timeout(120)
def test_floods(backend: str, tmp_path: Path) -> None:
    with victim(backend, tmp_path) as target:
        for data in FLOODS.values():
            client = target.open()
            client.settimeout(0.5)
            try:  # nobody reads the answers, so the server need not take it all
                client.sendall(data)
            except TimeoutError:
                pass
            finally:
                reset(client)
            target.check()


@pytest.mark.timeout(60)
def test_connections_that_say_nothing(backend: str, tmp_path: Path) -> None:
    with victim(backend, tmp_path) as target:
        with ExitStack() as stack:
            crowd = [stack.enter_context(target.connect()) for _ in range(100)]
            # Whichever has the port keeps it; all others are turned away.
            assert sum(is_open(client) for client in crowd) == 1
        target.check()
        for _ in range(100):
            reset(target.connect())
        target.check()


@pytest.mark.timeout(60)
def test_a_half_closed_connection_ends(backend: str, tmp_path: Path) -> None:
    with victim(backend, tmp_path) as target:
        client = target.open()
        client.sendall(b"last words")
        client.shutdown(socket.SHUT_WR)
        received = b""
        while more := client.recv(4096):
            received += more
        client.close()
        assert received.endswith(b"last words")
        target.check()
