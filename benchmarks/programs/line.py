"""Both ends of a line, with the time of each change.

python -m benchmarks.programs.line serialnet|pyserial        a server with a port that notes when DTR was set
python -m benchmarks.programs.line client PORT COUNT SECONDS
"""

from __future__ import annotations

import json
import os
import random
import socket
import struct
import sys
import termios
import threading
import time
from collections.abc import Callable
from typing import Any

import anyio
import anyio.to_thread
from serial.rfc2217 import PortManager
from serial.urlhandler import protocol_loop
from typing_extensions import override

import serialnet
from serialnet.transports._termios import System
from serialnet.transports.serial import SerialFactory

INT = struct.Struct("@i")
BETWEEN_CHANGES = 0.2
#: How often the server that comes with pyserial looks at its modem lines.
PYSERIAL_POLL = 1.0

stamps: dict[str, list[int]] = {"dtr": [], "cts": []}


def stamp(what: str) -> None:
    stamps[what].append(time.monotonic_ns())


def answer() -> None:
    """Tell the stamps when asked for."""
    sys.stdin.readline()
    print(json.dumps(stamps), flush=True)


def keep_changing(change: Callable[[], None]) -> None:
    """Change CTS now and then, in step with nothing."""

    def run() -> None:
        while True:
            time.sleep(BETWEEN_CHANGES * random.uniform(0.5, 1.5))
            stamp("cts")
            change()

    threading.Thread(target=run, daemon=True).start()


class ModemLines(System):
    """A PTY as the kernel has it, with modem lines."""

    def __init__(self) -> None:
        self.bits = 0

    def change(self) -> None:
        self.bits ^= termios.TIOCM_CTS

    @override
    def ioctl(self, descriptor: int, request: int, argument: int | bytes = 0) -> bytes:
        if request == termios.TIOCMGET:
            return INT.pack(self.bits)
        if request == termios.TIOCMSET:
            assert isinstance(argument, bytes)
            stamp("dtr")
            self.bits = INT.unpack(argument)[0]
            return argument
        return super().ioctl(descriptor, request, argument)


async def serve() -> None:
    system = ModemLines()
    keep_changing(system.change)
    _, slave = os.openpty()
    serialnet.register_transport("modem", SerialFactory(system))
    url = f"modem://{os.ttyname(slave)}"
    async with serialnet.serve(url, "rfc2217://127.0.0.1:0", auto_reset=False) as server:
        print(f"listening on {server.urls[0]}", flush=True)
        await anyio.to_thread.run_sync(answer)


class ModemDevice(protocol_loop.Serial):
    """pyserial's loop, with a CTS that changes."""

    clear = False

    def change(self) -> None:
        self.clear = not self.clear

    def _update_dtr_state(self) -> None:
        stamp("dtr")

    @property
    def cts(self) -> bool:
        return self.clear


def serve_pyserial() -> None:
    device = ModemDevice("loop://")
    keep_changing(device.change)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(f"listening on rfc2217://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        client, _ = listener.accept()
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    class Connection:
        write = staticmethod(client.sendall)

    # It takes any port, and anything that writes, whatever its stubs say.
    port: Any = device
    connection: Any = Connection()
    manager = PortManager(port, connection)

    def poll() -> None:
        while True:
            time.sleep(PYSERIAL_POLL)
            manager.check_modem_lines()

    def receive() -> None:
        while data := client.recv(1024):
            for _ in manager.filter(data):
                pass

    for task in (poll, receive):
        threading.Thread(target=task, daemon=True).start()
    answer()


async def use(port: str, count: str, seconds: str) -> None:
    async with serialnet.connect(f"rfc2217://127.0.0.1:{port}") as transport:
        line = transport.line
        assert line is not None
        for i in range(int(count)):
            stamp("dtr")
            await line.set_outputs(dtr=i % 2 == 0)
        with anyio.move_on_after(float(seconds)):
            async with line.events() as events:
                async for event in events:
                    if isinstance(event, serialnet.InputsChanged):
                        stamp("cts")
    print(json.dumps(stamps), flush=True)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serialnet"]:
            anyio.run(serve)
        case ["pyserial"]:
            serve_pyserial()
        case ["client", port, count, seconds]:
            anyio.run(use, port, count, seconds)
