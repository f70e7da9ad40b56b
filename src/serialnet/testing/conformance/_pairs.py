"""Pairs of transports: made anew for each check, looked at from both ends, closed in any case."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import anyio

from ...core.transport import Transport
from ...values.settings import Inputs, Outputs
from ._promises import PATIENCE, QUIET, Beside, beside, expect

__all__ = ["MOST", "Check", "Clog", "MakePair", "Pair", "Pairs"]

#: The most bytes that may wait for a peer that does not receive.
MOST = 64 << 20
FILLER = bytes(65536)

_Ends: TypeAlias = tuple[Transport, Transport]
MakePair: TypeAlias = Callable[[], AbstractAsyncContextManager[_Ends] | Awaitable[_Ends]]


@dataclass(frozen=True, slots=True)
class Pairs:
    """How pairs are made, and what holds for them."""

    make_pair: MakePair
    make_clogged_pair: MakePair | None
    wired: Callable[[Outputs], Inputs] | None
    in_order: bool
    outlives_peer: tuple[type[Transport], ...]
    secrets: tuple[str, ...]

    async def run(self, check: Check, *, clogged: bool = False) -> None:
        """Run a check on a new pair, and on another one the other way round."""
        make = (clogged and self.make_clogged_pair) or self.make_pair
        for swapped in (False, True):
            async with _open(make) as ends:
                pair = Pair(self, *(reversed(ends) if swapped else ends))
                try:
                    await check(pair)
                except AssertionError as error:
                    kinds = " and ".join(type(end).__name__ for end in (pair.here, pair.there))
                    error.add_note(f"found by {check.__name__!r}, between {kinds}")
                    raise
            if pair.is_loop or make is self.make_clogged_pair:
                return

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Pair]:
        """Make a pair, and close both ends after the block."""
        async with _open(self.make_pair) as ends:
            yield Pair(self, *ends)


@asynccontextmanager
async def _open(make: MakePair) -> AsyncIterator[_Ends]:
    made = make()
    if isinstance(made, AbstractAsyncContextManager):
        async with made as ends, _closing(ends):
            yield ends
    else:
        ends = await made
        async with _closing(ends):
            yield ends


@asynccontextmanager
async def _closing(ends: _Ends) -> AsyncIterator[None]:
    try:
        yield
    finally:
        with anyio.move_on_after(PATIENCE, shield=True):
            for end in ends:
                with suppress(Exception):  # there is a check for that
                    await end.aclose()


@dataclass(frozen=True, slots=True)
class Pair:
    """Two connected transports; a check is about the one that is here."""

    pairs: Pairs
    here: Transport
    there: Transport

    @property
    def is_loop(self) -> bool:
        """Whether this is a loopback: what it sends, it receives."""
        return self.here is self.there

    @property
    def ends_with_peer(self) -> bool:
        """Whether this end sees the other one close."""
        return not (self.is_loop or isinstance(self.here, self.pairs.outlives_peer))

    @asynccontextmanager
    async def clog(self) -> AsyncIterator[Clog]:
        """Send to an end that does not receive, until a ``send_some`` waits."""
        clog = Clog(self.here)
        async with beside(clog.fill) as clog.sending:
            before = -1
            while before != clog.sent and not clog.sending.finished.is_set():
                before = clog.sent
                with anyio.move_on_after(QUIET):
                    await clog.sending.finished.wait()
            if clog.sending.error is not None:
                raise clog.sending.error
            full = not clog.sending.finished.is_set()
            expect(full, f"it accepted {MOST >> 20} MiB that nobody received")
            yield clog


class Clog:
    """An end that waits in ``send_some``. All that it sent is zeros."""

    sending: Beside

    def __init__(self, end: Transport) -> None:
        self._end = end
        self.sent = 0

    async def fill(self) -> None:
        """Send more than may be accepted."""
        while self.sent < MOST:
            self.sent += await self._end.send_some(FILLER)


class Check(Protocol):
    """One check of the kit."""

    __name__: str

    async def __call__(self, pair: Pair, /) -> None:
        """Raise ``AssertionError`` if a rule is broken."""
