"""What a transport tells of itself, and that it leaves nothing behind."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable

import anyio

from ...core.endpoint import Endpoint
from ...core.transport import TransportAttribute
from ._pairs import Check, Pair
from ._promises import PATIENCE, QUIET, beside, expect, promised

__all__ = ["CHECKS"]

ROUNDS = 4


async def attributes(pair: Pair) -> None:
    """Read the typed attributes."""
    here = pair.here
    with promised("extra(TransportAttribute.url) is a URL without secrets"):
        url: object = here.extra(TransportAttribute.url, None)
        if url is not None:
            expect(isinstance(url, str), f"it is {url!r}")
            expect(str(Endpoint.parse(str(url))) == url, f"it is {url!r}")
            expect(not re.search(r"//[^/]*:[^/]*@", str(url)), "there is a password before the host")
    for told in (repr(here), *map(repr, _values(here.extra_attributes))):
        with promised("secrets never show"):
            for secret in pair.pairs.secrets:
                expect(secret not in told, f"there is one in {told.replace(secret, '***')!r}")
    with promised("extra(TransportAttribute.peer) is a text, as host:port"):
        peer: object = here.extra(TransportAttribute.peer, "host:port")
        expect(isinstance(peer, str) and peer, f"it is {peer!r}")
    with promised("extra(TransportAttribute.usb) is a pair of numbers, vendor and product"):
        usb: object = here.extra(TransportAttribute.usb, (0, 0))
        fits = isinstance(usb, tuple) and [isinstance(n, int) and 0 <= n < 65536 for n in usb] == [True] * 2
        expect(fits, f"it is {usb!r}")


def _values(extra: object) -> list[object]:
    assert hasattr(extra, "values")
    return [value() for value in extra.values()]


async def leaks(pair: Pair) -> None:
    """Open and close, and count what is left."""
    counts: dict[str, Callable[[], int]] = {
        "tasks": lambda: len(anyio.get_running_tasks()),
        "descriptors": _descriptors,
        "threads": threading.active_count,
    }
    await _use(pair)
    before = {name: count() for name, count in counts.items()}
    for _ in range(ROUNDS):
        await _use(pair)
    for name, count in counts.items():
        # Event loops keep a thread or two for other calls to come; what ends may take a moment.
        most = before[name] + (ROUNDS - 1 if name == "threads" else 0)
        with promised(f"a transport that was closed leaves no {name}"):
            with anyio.move_on_after(PATIENCE / 2):
                while count() > most:  # noqa: ASYNC110  # nobody would tell
                    await anyio.sleep(QUIET / 10)
            left = count() - before[name]
            expect(count() <= most, f"{left} were left by {ROUNDS} pairs")


async def _use(pair: Pair) -> None:
    async with pair.pairs.open() as other:
        await other.here.send(b"x")
        await other.there.receive()
        async with beside(other.here.receive):
            pass


def _descriptors() -> int:
    directory = "/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"
    return len(os.listdir(directory)) if os.path.isdir(directory) else 0


CHECKS: list[Check] = [attributes, leaks]
