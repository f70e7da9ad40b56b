"""Join standard input and output to a Unix socket: ``python by_socket.py PATH ...``; it stands in for ssh."""

import contextlib
import os
import socket
import sys
import threading
from collections.abc import Callable


def copy(source: int, sink: int, done: Callable[[], None]) -> None:
    """Copy until one end has had enough."""
    with contextlib.suppress(OSError):
        while data := os.read(source, 65536):
            while data:
                data = data[os.write(sink, data) :]
    with contextlib.suppress(OSError):
        done()


with socket.socket(socket.AF_UNIX) as sock:
    sock.connect(sys.argv[1])
    arguments = 0, sock.fileno(), lambda: sock.shutdown(socket.SHUT_WR)
    to_socket = threading.Thread(target=copy, args=arguments)
    to_socket.start()
    copy(sock.fileno(), 1, lambda: os.close(1))
    to_socket.join()
