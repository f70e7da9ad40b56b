"""A device behind a server, and all who use it there.

python -m benchmarks.programs.sharing            it says where the device listens, then takes one line:
                                                 the server's ports for the writer and for watchers, how many
                                                 watch, whether one of them is stopped, seconds, round trips
python -m benchmarks.programs.sharing watch PORT a watcher
"""

from __future__ import annotations

import json
import selectors
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time

HOST = "127.0.0.1"
BUFFER = bytearray(65536)
PIECE = bytes(range(256)) * 64


def connect(port: int) -> socket.socket:
    connection = socket.create_connection((HOST, port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def watch(port: int) -> None:
    connection = connect(port)
    print("watching", flush=True)
    while connection.recv_into(BUFFER):
        pass


def read_all(connections: list[socket.socket]) -> None:
    buffer = bytearray(65536)
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            selector.register(connection, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                assert isinstance(key.fileobj, socket.socket)
                if not key.fileobj.recv_into(buffer):
                    return


def stream(device: socket.socket, writer: socket.socket, seconds: float) -> float:
    """Send from the device as fast as it goes; returns bytes per second at the writer."""
    sent = 0
    over = threading.Event()

    def send() -> None:
        nonlocal sent
        while not over.is_set():
            device.sendall(PIECE)
            sent += len(PIECE)

    sender = threading.Thread(target=send)
    sender.start()
    received, began = 0, time.monotonic()
    while time.monotonic() - began < seconds:
        received += writer.recv_into(BUFFER)
    rate = received / (time.monotonic() - began)
    over.set()
    while sender.is_alive() or received < sent:
        received += writer.recv_into(BUFFER)
    return rate


def round_trips(device: socket.socket, writer: socket.socket, count: int) -> float:
    """Bytes to the device, each of which sends one back; returns the median in seconds."""
    times = []
    for _ in range(count):
        began = time.perf_counter()
        writer.send(b"?")
        device.recv(1)
        device.send(b"!")
        writer.recv(1)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def main() -> None:
    with socket.create_server((HOST, 0)) as listener:
        print(f"listening on tcp://{HOST}:{listener.getsockname()[1]}", flush=True)
        device, _ = listener.accept()
    device.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    writing, watching, count, stopped, seconds, trips = sys.stdin.readline().split()
    writer = connect(int(writing))
    writer.send(b"here")
    device.recv(4)
    command = [sys.executable, "-m", "benchmarks.programs.sharing", "watch", watching]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as watcher:
        assert watcher.stdout is not None
        watcher.stdout.readline()
        if stopped == "stopped":
            watcher.send_signal(signal.SIGSTOP)
        others = [connect(int(watching)) for _ in range(int(count) - 1)]
        threading.Thread(target=read_all, args=(others,), daemon=True).start()
        stream(device, writer, float(seconds) / 4)  # fills the buffers of the one that is stopped
        answer = {"stream": stream(device, writer, float(seconds))}
        time.sleep(0.2)
        answer["round trip"] = round_trips(device, writer, int(trips))
        print(json.dumps(answer), flush=True)
        watcher.kill()


if __name__ == "__main__":
    if sys.argv[1:2] == ["watch"]:
        watch(int(sys.argv[2]))
    else:
        main()
