"""The object with pyserial's interface, beside pyserial on a local PTY."""

from __future__ import annotations

import os
import pty
import socket
import statistics
import subprocess
import sys
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import serial

from serialnet.pyserial import Serial

from .candidates import Candidate
from .workloads import Figures, Scale

__all__ = ["PTY", "PYSERIAL", "TCP", "reading"]

PYSERIAL = Candidate("pyserial on a PTY", ())
PTY = Candidate("serialnet's object on a PTY", ())
TCP = Candidate("serialnet's object, tcp://", ())

TOTAL = 32 << 20

ECHO = """
import os, sys
while data := os.read(int(sys.argv[1]), 65536):
    os.write(int(sys.argv[1]), data)
"""
FLOOD = """
import os, sys
descriptor, left = int(sys.argv[1]), int(sys.argv[2])
while left:
    left -= os.write(descriptor, bytes(min(left, 65536)))
os.read(descriptor, 1)
"""


def reading(candidate: Candidate, scale: Scale) -> Figures:
    """Bytes per second, and seconds for a byte to come back."""
    with _far_end(candidate) as (port, descriptor), _running(FLOOD, descriptor, TOTAL):
        receiving = _receive(port)
    with _far_end(candidate) as (port, descriptor), _running(ECHO, descriptor):
        return {"receiving": receiving, "round trip": _round_trip(port, scale.trips // 5)}


@contextmanager
def _far_end(candidate: Candidate) -> Iterator[tuple[Any, int]]:
    """An open port, and the descriptor at its far end."""
    if candidate is TCP:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = Serial(f"tcp://127.0.0.1:{server.getsockname()[1]}")
            connection, _ = server.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with port, connection:
                yield port, connection.fileno()
        return
    master, slave = pty.openpty()
    try:
        tty.setraw(slave)
        kind: Callable[[str], Any] = serial.Serial if candidate is PYSERIAL else Serial
        with kind(os.ttyname(slave)) as port:
            yield port, master
    finally:
        os.close(master)
        os.close(slave)


@contextmanager
def _running(program: str, descriptor: int, *arguments: int) -> Iterator[None]:
    command = [sys.executable, "-c", program, str(descriptor), *map(str, arguments)]
    with subprocess.Popen(command, pass_fds=(descriptor,)) as process:
        try:
            yield
        finally:
            process.kill()


def _receive(port: Any) -> float:
    """Bytes per second, from the first on."""
    port.timeout = 30
    left = TOTAL - len(port.read(1))
    start = time.perf_counter()
    while left:
        data = port.read(min(left, 65536))
        if not data:
            raise TimeoutError("nothing came for 30 s")
        left -= len(data)
    return TOTAL / (time.perf_counter() - start)


def _round_trip(port: Any, trips: int) -> float:
    """Seconds for a byte to come back."""
    port.timeout = 30
    times = []
    for _ in range(trips):
        start = time.perf_counter()
        port.write(b"x")
        port.read(1)
        times.append(time.perf_counter() - start)
    return statistics.median(times)
