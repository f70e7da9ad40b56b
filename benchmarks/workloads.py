"""What the relays have to do: each workload runs one candidate once and returns its figures."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from .candidates import DIRECT, Candidate, running
from .processes import Process, awake, start

__all__ = ["Figures", "Scale", "Workload"]

Figures: TypeAlias = dict[str, float]
Workload: TypeAlias = Callable[[Candidate, "Scale"], Figures]

GIGABYTE = 1e9
WARM_UP = 0.1
# As a UART hands them over: what fits into a FIFO, at the rate at which it fills.
PACED_SIZE = 16
BITS_A_BYTE = 10
#: How often a second a request comes while the event loop is busy.
REQUESTS = 500
BEFORE = 20


@dataclass(frozen=True)
class Scale:
    """How long it may take, and with what.

    :param load: the load generator
    :param seconds: of each stream
    :param trips: round trips of each sort
    :param bridges: how many are many
    """

    load: Path
    seconds: float
    trips: int
    bridges: int
    cpu: int = field(default_factory=lambda: max(os.sched_getaffinity(0)))


@dataclass(frozen=True)
class _Joined:
    """A load generator with a relay between its ends."""

    load: Process
    relay: Process | None
    port: int

    def ask(self, command: str) -> tuple[Figures, float]:
        """Put something to the load generator; also returns what CPU time the relay used for it."""
        before = self.cpu_time()
        answer = self.load.ask(command)
        return answer, self.cpu_time() - before

    def cpu_time(self) -> float:
        return self.relay.cpu_time() if self.relay is not None else 0.0


@contextmanager
def _started(relay: Candidate, scale: Scale, kind: str, cpu: int | None = None) -> Iterator[_Joined]:
    """A load generator and a relay, not yet connected."""
    with start([str(scale.load), kind], cpu) as load:
        far = load.answer()["far"]
        if relay is DIRECT:
            yield _Joined(load, None, 0)
        else:
            with running(relay, far, cpu) as (process, port):
                yield _Joined(load, process, port)


@contextmanager
def _joined(relay: Candidate, scale: Scale, kind: str, cpu: int | None = None) -> Iterator[_Joined]:
    """One connection through a relay."""
    with _started(relay, scale, kind, cpu) as joined:
        if relay is DIRECT:
            joined.load.ask("direct")
        else:
            joined.load.ask(f"connect {joined.port} {'telnet' if relay.telnet else 'raw'}")
        yield joined


@contextmanager
def _pinned(relay: Candidate, scale: Scale, kind: str) -> Iterator[_Joined]:
    """One connection, with everything on one CPU that does not sleep."""
    with awake(scale.load), _joined(relay, scale, kind, scale.cpu) as joined:
        yield joined


def streams(kind: str, ways: dict[str, str], pattern: str = "ascii") -> Workload:
    """As much as goes through.

    :param ways: the names of the ways, and which they are: ``out`` (to the far end), ``in`` or ``both``
    """

    def measure(relay: Candidate, scale: Scale) -> Figures:
        figures = {}
        with _joined(relay, scale, kind) as joined:
            for name, way in ways.items():
                joined.ask(f"stream {way} {WARM_UP} {pattern}")
                answer, cpu_time = joined.ask(f"stream {way} {scale.seconds} {pattern}")
                figures[name] = answer["bytes"] / answer["seconds"]
                figures[f"{name}, CPU per GB"] = cpu_time / answer["bytes"] * GIGABYTE
        return figures

    return measure


def round_trips(kind: str) -> Workload:
    """One byte there and back, again and again."""

    def measure(relay: Candidate, scale: Scale) -> Figures:
        with _pinned(relay, scale, kind) as joined:
            joined.ask(f"pingpong {scale.trips // 10} 1 {scale.seconds}")
            answer, cpu_time = joined.ask(f"pingpong {scale.trips} 1 {4 * scale.seconds}")
            return {
                "round trip": answer["p50"],
                "round trip, p99": answer["p99"],
                "CPU per round trip": cpu_time / answer["count"],
            }

    return measure


def paced(relay: Candidate, scale: Scale) -> Figures:
    """Messages as often as a UART hands them over."""
    figures = {}
    with _pinned(relay, scale, "tcp") as joined:
        for baudrate in (115200, 921600):
            rate = baudrate / BITS_A_BYTE / PACED_SIZE
            count = max(int(rate * scale.seconds), 10)
            _, cpu_time = joined.ask(f"paced {count} {rate} {PACED_SIZE}")
            figures[f"CPU per round trip at {baudrate}"] = cpu_time / count
    return figures


def requests(relay: Candidate, scale: Scale) -> Figures:
    """Requests that come when they come, whether or not the last was answered."""
    with awake(scale.load), _joined(relay, scale, "tcp") as joined:
        # The system takes a while until it has found a CPU for each thread.
        joined.ask(f"paced {REQUESTS} {REQUESTS} 1")
        answer, _ = joined.ask(f"paced {int(REQUESTS * (1 + scale.seconds))} {REQUESTS} 1")
        return {"answer, p50": answer["p50"], "answer, p99": answer["p99"]}


def many(relay: Candidate, scale: Scale) -> Figures:
    """Many bridges in one process: what an idle one takes, and how they do when all are active."""
    with awake(scale.load), _started(relay, scale, "tcp", scale.cpu) as joined:
        assert joined.relay is not None
        joined.load.ask(f"open {BEFORE} {joined.port}")
        before = joined.relay.memory()
        joined.load.ask(f"open {scale.bridges - BEFORE} {joined.port}")
        memory = joined.relay.memory() - before
        joined.load.ask(f"storm {WARM_UP}")
        answer, _ = joined.ask(f"storm {2 * scale.seconds}")
        return {
            "KiB per idle bridge": memory / 1024 / (scale.bridges - BEFORE),
            "operations per second": answer["operations_per_second"],
            "round trip, p99": answer["p99"],
        }


def connections(relay: Candidate, scale: Scale) -> Figures:
    """Connect, send one byte, close; one after the other."""
    with awake(scale.load), _started(relay, scale, "tcp", scale.cpu) as joined:
        joined.load.ask(f"reconnect 10 {joined.port}")
        answer = joined.load.ask(f"reconnect {scale.trips // 20} {joined.port}")
        return {
            "connect, one byte, close": answer["each"],
            "connect to first byte": answer["first_byte_p50"],
        }


@contextmanager
def _served(face: Candidate, scale: Scale, cpu: int | None = None) -> Iterator[tuple[Process, Process]]:
    """A load generator behind our server on a PTY, and a client of that."""
    listen = ("--listen", "rfc2217://127.0.0.1:0", "--listen", "tcp://127.0.0.1:0")
    with start([str(scale.load), "pty"], cpu) as load:
        serve = (sys.executable, "-m", "serialnet", "serve", load.answer()["far"], *listen)
        with start(serve, cpu) as server:
            ports = server.ports(2)
            command = [word.format(rfc2217=ports[0], tcp=ports[1]) for word in face.command]
            with start(command, cpu) as client:
                client.answer()
                yield load, client


def clients(face: Candidate, scale: Scale) -> Figures:
    """A client's own end."""
    trips = scale.trips // 4
    with awake(scale.load), _served(face, scale, scale.cpu) as (load, client):
        load.write_line(f"echo {trips}")
        round_trip = client.ask(f"trips {trips}")
        load.answer()
    with _served(face, scale) as (load, client):
        load.write_line("sink")
        client.ask(f"send {scale.seconds}")
        sent = load.answer()
        load.write_line(f"source {scale.seconds + 0.2} ascii")
        received = client.ask(f"receive {scale.seconds}")
    return {
        "receiving": received["bytes"] / received["seconds"],
        "sending": sent["bytes"] / sent["seconds"],
        "round trip": round_trip["p50"],
    }
