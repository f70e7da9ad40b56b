"""A board behind a TCP port of the loopback interface, in a thread: as bare as a network port can be."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from serialnet.chips import Board
from serialnet.values.settings import LineSettings, Outputs


def enter_download(board: Board, now: float) -> float:
    """Reset a board into its loader, both lines in one step; give the time when it is there."""
    board.set_outputs(Outputs(rts=True), now)
    board.set_outputs(Outputs(dtr=True), now + 0.1)
    board.set_outputs(Outputs(), now + 0.2)
    return now + 0.2


@contextmanager
def served(board: Board) -> Iterator[str]:
    """Serve a board to one client after the other; give the URL for pyserial."""
    listener = socket.create_server(("127.0.0.1", 0))
    ending = threading.Event()

    def serve() -> None:
        while True:
            connection, _ = listener.accept()
            with connection:
                if ending.is_set():
                    return
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                _serve(board, connection)

    thread = threading.Thread(target=serve)
    thread.start()
    port = listener.getsockname()[1]
    try:
        yield f"socket://127.0.0.1:{port}"
    finally:
        ending.set()
        socket.create_connection(("127.0.0.1", port)).close()
        thread.join()
        listener.close()


def _serve(board: Board, connection: socket.socket) -> None:
    while True:
        due = board.deadline
        connection.settimeout(None if due is None else max(due - time.monotonic(), 0.001))
        try:
            data = connection.recv(0x10000)
        except TimeoutError:
            data = None
        except ConnectionResetError:
            return
        if data == b"":
            return
        now = time.monotonic()
        # Raw TCP carries no baud rate: whoever changes it counts on a port that follows.
        board.configure(LineSettings(board.baudrate), now)
        board.receive_data(data or b"", now)
        connection.sendall(board.data_to_send())
