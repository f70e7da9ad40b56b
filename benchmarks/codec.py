"""The RFC 2217 codec against pyserial's, on the data path."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import serial
from serial.rfc2217 import PortManager

from serialnet.wire.comport import ComPortServer

from .candidates import Candidate
from .workloads import Figures, Scale

__all__ = ["GUARDS", "OURS", "PYSERIAL", "rates"]

CHUNK = 65536
ASCII = bytes(range(32, 96)) * (CHUNK // 64)
ERASED = b"\xff" * CHUNK
ONE_IAC_A_LINE = (bytes(range(32, 95)) + b"\xff") * (CHUNK // 64)


class _Nowhere:
    def write(self, data: bytes) -> None:
        pass


def _manager() -> PortManager:
    # It takes any port, and anything that writes, whatever its stubs say.
    port: Any = serial.serial_for_url("loop://")
    connection: Any = _Nowhere()
    return PortManager(port, connection)


def _rate(step: Callable[[], object], size: int, least: float = 0.1) -> float:
    """Bytes per second of a step."""
    start, count = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - start) < least:
        step()
        count += 1
    return size * count / elapsed


def receiving(data: bytes) -> tuple[Callable[[], float], Callable[[], float]]:
    wire = ComPortServer().send_data(data)

    def ours() -> float:
        session = ComPortServer()

        def step() -> None:
            session.receive_data(wire)
            while session.next_event() is not None:
                pass

        return _rate(step, len(data))

    def theirs() -> float:
        manager = _manager()
        return _rate(lambda: b"".join(manager.filter(wire)), len(data))

    return ours, theirs


def sending(data: bytes) -> tuple[Callable[[], float], Callable[[], float]]:
    def ours() -> float:
        session = ComPortServer()
        return _rate(lambda: session.send_data(data), len(data))

    def theirs() -> float:
        manager = _manager()
        return _rate(lambda: b"".join(manager.escape(data)), len(data))

    return ours, theirs


DIRECTIONS = {"receiving": receiving, "sending": sending}
KINDS = {"text": ASCII, "erased flash (0xFF)": ERASED, "text with an 0xFF in 64": ONE_IAC_A_LINE}
LEAST = {"text": 300.0, "erased flash (0xFF)": 300.0, "text with an 0xFF in 64": 30.0}
GUARDS = {f"{way} {kind}": LEAST[kind] for way in DIRECTIONS for kind in KINDS}

OURS = Candidate("serialnet", ())
PYSERIAL = Candidate("pyserial's PortManager", ())


def rates(candidate: Candidate, scale: Scale) -> Figures:
    """Bytes per second, by direction and kind of data."""
    which = 0 if candidate is OURS else 1
    return {
        f"{way} {kind}": direction(data)[which]()
        for way, direction in DIRECTIONS.items()
        for kind, data in KINDS.items()
    }
