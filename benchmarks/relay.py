"""A bridge between TCP connections against socat, both as processes of their own."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from .benchmark import Benchmark

TOTAL = 64 << 20
ROUND_TRIPS = 2000

OURS = """
import anyio, sys
import serialnet

async def main(target):
    async with serialnet.serve(target, "tcp://127.0.0.1:0", auto_reset=False) as server:
        print(server.urls[0].rpartition(":")[2], flush=True)
        await server.wait()

anyio.run(main, sys.argv[1])
"""


@contextmanager
def relayed(command: str) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two sockets with a relay between them."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        target = server.getsockname()[1]
        if command == "ours":
            port = 0
            arguments = [sys.executable, "-c", OURS, f"tcp://127.0.0.1:{target}"]
        else:
            with socket.create_server(("127.0.0.1", 0)) as free:
                port = free.getsockname()[1]
            listen = f"TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,nodelay"
            arguments = ["socat", listen, f"TCP:127.0.0.1:{target},nodelay"]
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE)
        try:
            if port == 0:
                assert process.stdout is not None
                port = int(process.stdout.readline())
            near = _connect(port)
            far, _ = server.accept()
            with near, far:
                for sock in (near, far):
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    sock.settimeout(30)
                yield near, far
        finally:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


def _connect(port: int) -> socket.socket:
    deadline = time.monotonic() + 10
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=10)
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def throughput(command: str) -> float:
    """Bytes per second one way."""
    with relayed(command) as (near, far):
        chunk = bytes(65536)

        def send() -> None:
            for _ in range(TOTAL // len(chunk)):
                near.sendall(chunk)

        sender = threading.Thread(target=send)
        start, received, buffer = time.perf_counter(), 0, bytearray(262144)
        sender.start()
        while received < TOTAL:
            received += far.recv_into(buffer)
        sender.join()
        return TOTAL / (time.perf_counter() - start)


def round_trips(command: str) -> float:
    """Round trips of one byte per second."""
    with relayed(command) as (near, far):

        def echo() -> None:
            for _ in range(ROUND_TRIPS):
                far.sendall(far.recv(1))

        echoing = threading.Thread(target=echo)
        echoing.start()
        start = time.perf_counter()
        for _ in range(ROUND_TRIPS):
            near.sendall(b"x")
            near.recv(1)
        elapsed = time.perf_counter() - start
        echoing.join()
        return ROUND_TRIPS / elapsed


def no_socat() -> str | None:
    return None if shutil.which("socat") else "socat is not installed"


BENCHMARKS = (
    Benchmark(
        "bridge, TCP to TCP, throughput one way",
        "socat",
        lambda: throughput("ours"),
        lambda: throughput("socat"),
        0.15,
        no_socat,
    ),
    Benchmark(
        "bridge, TCP to TCP, round trips of one byte",
        "socat",
        lambda: round_trips("ours"),
        lambda: round_trips("socat"),
        0.03,
        no_socat,
    ),
)
