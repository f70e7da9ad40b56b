"""A program: pyserial's RFC 2217 server, as its manual shows it, for one client."""

from __future__ import annotations

import socket
import sys
import threading

import serial
from serial.rfc2217 import PortManager


class Connection:
    """What PortManager writes its answers to."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._lock = threading.Lock()

    def write(self, data: bytes) -> None:
        with self._lock:
            self._socket.sendall(data)


def serve_client(port: serial.Serial, sock: socket.socket) -> None:
    connection = Connection(sock)
    manager = PortManager(port, connection)  # type: ignore[arg-type]  # it needs a write() only
    over = threading.Event()

    def from_port() -> None:
        while not over.is_set():
            if data := port.read(port.in_waiting or 1):
                connection.write(b"".join(manager.escape(data)))
            manager.check_modem_lines()

    reader = threading.Thread(target=from_port)
    reader.start()
    sock.settimeout(None)
    try:
        while data := sock.recv(1024):
            port.write(b"".join(manager.filter(data)))
    except ConnectionResetError:
        pass
    finally:
        over.set()
        reader.join(10)


def main() -> None:
    device, number = sys.argv[1:]
    with (
        serial.Serial(device, 115200, timeout=0.05) as port,
        socket.create_server(("127.0.0.1", int(number))) as listener,
    ):
        sock, _ = listener.accept()
        with sock:
            serve_client(port, sock)


if __name__ == "__main__":
    main()
