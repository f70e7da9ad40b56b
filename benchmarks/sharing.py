"""What 63 watchers of a port cost its writer, and what it costs him that one of them is stopped."""

from __future__ import annotations

import sys

from .candidates import Candidate
from .processes import start
from .workloads import Figures, Scale

__all__ = ["ALL_GOING", "ONE_STOPPED", "writing_while_others_watch"]

WATCHERS = 63
PROGRAM = (sys.executable, "-m", "benchmarks.programs.sharing")
SERVE = (sys.executable, "-m", "serialnet", "serve")

ALL_GOING = Candidate("serialnet, 63 watchers", ("going",))
ONE_STOPPED = Candidate("serialnet, one of them stopped", ("stopped",))


def writing_while_others_watch(candidate: Candidate, scale: Scale) -> Figures:
    """The writer receives as much as goes, then plays ping-pong with the device."""
    with start(PROGRAM) as ends:
        device = f"tcp://127.0.0.1:{ends.ports()[0]}"
        listeners = ("--listen", "tcp://127.0.0.1:0", "--listen", "tcp://127.0.0.1:0?role=watch")
        with start([*SERVE, device, *listeners]) as server:
            ports = " ".join(str(port) for port in server.ports(2))
            answer = ends.ask(
                f"{ports} {WATCHERS} {candidate.command[0]} {4 * scale.seconds} {scale.trips // 50}"
            )
    return {"writer's stream": answer["stream"], "writer's round trip": answer["round trip"]}
