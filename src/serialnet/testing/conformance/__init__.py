"""The conformance kit: what every transport promises, checked on a connected pair."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ...core.transport import Transport
from ...values.settings import Inputs, Outputs
from . import _asking, _bytes, _closing, _line, _resources, _waiting
from ._pairs import Check, MakePair, Pairs

__all__ = ["check_transport"]

CHECKS: list[Check] = [
    *_bytes.CHECKS,
    *_waiting.CHECKS,
    *_closing.CHECKS,
    *_line.CHECKS,
    *_asking.CHECKS,
    *_resources.CHECKS,
]
# These want an end that can send no more.
CLOGGED_CHECKS: list[Check] = [*_waiting.CLOGGED_CHECKS, *_closing.CLOGGED_CHECKS]


async def check_transport(
    make_pair: MakePair,
    *,
    make_clogged_pair: MakePair | None = None,
    wired: Callable[[Outputs], Inputs] | None = None,
    in_order: bool = True,
    outlives_peer: tuple[type[Transport], ...] = (),
    secrets: Iterable[str] = (),
) -> None:
    """Check that a transport keeps the contract of :class:`~serialnet.Transport`.

    Runs in whatever async test calls it, on asyncio and on trio, and takes some seconds. Each check gets a
    pair of its own, and looks at both ends; a loopback is a pair of the same transport twice.

    :param make_pair: makes two connected transports: an async function that returns them, or one that makes
        an async context manager which yields them; they are closed after each check in any case
    :param make_clogged_pair: makes a pair whose first end can send no more until the second one receives;
        without it the kit sends until that is so, which must be within 64 MiB
    :param wired: what the inputs of an end that offers a line are when its outputs are these; without it they
        are read, but not compared
    :param in_order: whether the requests of an asking end keep their place among the bytes, and their
        answers reach the asker; false for a PTY's
    :param outlives_peer: transports that stay when their peer closes, as a PTY's do
    :param secrets: texts of the URLs in use that must not show in what a transport tells of itself
    :raises AssertionError: naming the rule that was broken, and how
    """
    pairs = Pairs(make_pair, make_clogged_pair, wired, in_order, outlives_peer, tuple(secrets))
    for check in CHECKS:
        await pairs.run(check)
    for check in CLOGGED_CHECKS:
        await pairs.run(check, clogged=True)
