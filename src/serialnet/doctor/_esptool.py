"""What a round trip means to esptool: facts about its time limits, measured."""

from __future__ import annotations

from ..core.endpoint import Endpoint
from ..distance import Distance
from ._finding import Finding, Verdict

__all__ = ["esptool_at"]

# esptool waits 0.1 s for an answer to SYNC, then pauses for 0.05 s and throws away what comes then: answers
# that take so long are never heard.
SYNC_WAITS = 0.1
NEVER_HEARD = ((0.1, 0.15), (0.25, 0.3))
# It gives the chip 0.2 s to start the stub.
STUB_WAITS = 0.2
# To identify a chip, load the stub and write 16 KiB.
ROUND_TRIPS = 95


def esptool_at(endpoint: Endpoint, distance: Distance) -> Finding:
    """Say whether esptool works over a distance, as it comes."""
    shortest, longest = distance.median - distance.jitter, distance.median + distance.jitter
    if longest < SYNC_WAITS:
        waits = ROUND_TRIPS * distance.median
        text = "the round trip is within esptool's time limits"
        if waits >= 1:
            text += f"; to write 16 KiB, it waits for about {waits:.0f} s of round trips"
        return Finding("esptool", Verdict.OK, text)
    reasons = []
    if any(shortest < end and longest >= begin for begin, end in NEVER_HEARD):
        reasons.append("it does not hear answers that take 100 to 150 ms or 250 to 300 ms")
    if longest >= STUB_WAITS:
        reasons.append("it gives its stub 200 ms to start, and then works at a second attempt at best")
    if not reasons:
        reasons.append("it works between 150 and 200 ms only, and no more or less")
    advice = (
        f"let serialnet keep esptool waiting: 'serialnet run -- esptool --port {endpoint} ...', or "
        f"'serialnet link listen:rfc2217://127.0.0.1:4000 {endpoint}' for a tool that is not Python"
    )
    return Finding("esptool", Verdict.PROBLEM, f"esptool fails as it comes: {'; '.join(reasons)}", advice)
