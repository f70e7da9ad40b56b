"""A client that measures its own end of a connection to a server, while the load generator has the far one.

python -m benchmarks.programs.client serialnet|socket|pyserial URL

Commands come on the standard input, one a line; each is answered with a line of JSON.
"""

from __future__ import annotations

import json
import socket
import statistics
import sys
import time
from abc import ABC, abstractmethod
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import serial
from typing_extensions import override

import serialnet

CHUNK = bytes(range(32, 96)) * 1024


def read_command() -> list[str]:
    return sys.stdin.readline().split()


def say(**answer: float) -> None:
    print(json.dumps(answer), flush=True)


async def measure_serialnet(url: str) -> None:
    buffer = bytearray(262144)
    async with serialnet.connect(url) as port:
        say()
        while command := read_command():
            match command:
                case ["receive", seconds]:
                    await port.receive_into(buffer)
                    start, received = time.perf_counter(), 0
                    while (now := time.perf_counter()) < start + float(seconds):
                        received += await port.receive_into(buffer)
                    say(bytes=received, seconds=now - start)
                case ["send", seconds]:
                    start = time.perf_counter()
                    while time.perf_counter() < start + float(seconds):
                        await port.send(CHUNK)
                    say()
                case ["trips", count]:
                    times = []
                    for _ in range(int(count)):
                        start = time.perf_counter()
                        await port.send(b"x")
                        await port.receive_into(buffer)
                        times.append(time.perf_counter() - start)
                    say(p50=statistics.median(times))


class Blocking(ABC):
    """A client that blocks."""

    @abstractmethod
    def receive(self) -> int: ...

    @abstractmethod
    def send(self, data: bytes) -> None: ...

    def measure(self) -> None:
        say()
        while command := read_command():
            match command:
                case ["receive", seconds]:
                    self.receive()
                    start, received = time.perf_counter(), 0
                    while (now := time.perf_counter()) < start + float(seconds):
                        received += self.receive()
                    say(bytes=received, seconds=now - start)
                case ["send", seconds]:
                    start = time.perf_counter()
                    while time.perf_counter() < start + float(seconds):
                        self.send(CHUNK)
                    say()
                case ["trips", count]:
                    times = []
                    for _ in range(int(count)):
                        start = time.perf_counter()
                        self.send(b"x")
                        self.receive()
                        times.append(time.perf_counter() - start)
                    say(p50=statistics.median(times))


class Socket(Blocking):
    """Bare TCP, without any library."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.port is not None
        self._socket = socket.create_connection(("127.0.0.1", parts.port), timeout=30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray(262144)

    @override
    def receive(self) -> int:
        return self._socket.recv_into(self._buffer)

    @override
    def send(self, data: bytes) -> None:
        self._socket.sendall(data)


class Pyserial(Blocking):
    """pyserial's own client."""

    def __init__(self, url: str) -> None:
        self._port = serial.serial_for_url(url, baudrate=115200, timeout=30)

    @override
    def receive(self) -> int:
        return len(self._port.read(max(1, min(self._port.in_waiting, 65536))))

    @override
    def send(self, data: bytes) -> None:
        self._port.write(data)


def main() -> None:
    face, url = sys.argv[1:]
    if face == "serialnet":
        anyio.run(measure_serialnet, url)
    else:
        {"socket": Socket, "pyserial": Pyserial}[face](url).measure()


if __name__ == "__main__":
    main()
