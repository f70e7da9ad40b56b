"""How long a line request and a modem event are under way through an RFC 2217 server."""

from __future__ import annotations

import bisect
import statistics
import sys

from .candidates import Candidate
from .processes import start
from .workloads import Figures, Scale

__all__ = ["OURS", "PYSERIAL", "requests_and_events"]

PROGRAM = (sys.executable, "-m", "benchmarks.programs.line")
OURS = Candidate("serialnet", (*PROGRAM, "serialnet"))
PYSERIAL = Candidate("pyserial's PortManager", (*PROGRAM, "pyserial"))


def requests_and_events(candidate: Candidate, scale: Scale) -> Figures:
    """A client sets DTR again and again, then waits for CTS to change."""
    with start(candidate.command) as server:
        port = server.ports()[0]
        with start([*PROGRAM, "client", str(port), str(scale.trips // 50), str(4 * scale.seconds)]) as client:
            asked = client.answer()
        done = server.ask("stamps")
    requests = [done["dtr"][bisect.bisect(done["dtr"], stamp)] - stamp for stamp in asked["dtr"]]
    # The first change that the client had not yet been told of.
    changes = [bisect.bisect(done["cts"], stamp) for stamp in asked["cts"][:-1]]
    events = [
        heard - done["cts"][change]
        for heard, change in zip(asked["cts"][1:], changes, strict=True)
        if change < len(done["cts"])
    ]
    return {
        "client's DTR to ioctl": statistics.median(requests),
        "modem change to notification": statistics.median(events),
    }
