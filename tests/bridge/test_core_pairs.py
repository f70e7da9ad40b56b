"""The copy core between any two ends with descriptors, in bad weather: what goes in comes out."""

from __future__ import annotations

import anyio
import pytest

from ..interop.tools import SOAK
from .core_bridges import ENDS, PAIRS, bridged, name
from .core_ends import (
    End,
    asking,
    exchange,
    far_port,
    offer_to_stalled,
    receive_hashed,
    send_random,
    tcp,
    tty_port,
)

SIZE = 1 << 30 if SOAK else 1 << 20
OFFERED = 1 << 30 if SOAK else 64 << 20
# Of what each call is disturbed, a hundredth of that will do.
STORMY_SIZE = SIZE // 100 if SOAK else SIZE // 4
CODED = [(asking, tcp), (asking, tty_port), (tcp, far_port), (tty_port, far_port), (asking, far_port)]
HALVES = [pair for pair in PAIRS if tty_port not in pair]

weather = pytest.mark.parametrize("seed", [None, 1, 2], ids=["calm", "stormy", "gusty"])


@pytest.mark.parametrize("ends", PAIRS, ids=name)
async def test_all_bytes_arrive_both_ways(ends: tuple[End, End]) -> None:
    async with bridged(ends) as session:
        await exchange(session.beyond_a, session.beyond_b, SIZE)


@pytest.mark.parametrize("seed", [1, 2], ids=["stormy", "gusty"])
@pytest.mark.parametrize("ends", PAIRS + CODED, ids=name)
async def test_short_calls_and_false_alarms_lose_nothing(ends: tuple[End, End], seed: int) -> None:
    async with bridged(ends, seed) as session:
        await exchange(session.beyond_a, session.beyond_b, STORMY_SIZE)


@pytest.mark.parametrize("ends", PAIRS, ids=name)
async def test_a_stalled_reader_stops_the_source(ends: tuple[End, End]) -> None:
    async with bridged(ends) as session:
        await offer_to_stalled(session.beyond_a, session.beyond_b, OFFERED)


@weather
@pytest.mark.parametrize("ends", HALVES, ids=name)
async def test_each_half_closes_by_itself(ends: tuple[End, End], seed: int | None) -> None:
    async with bridged(ends, seed) as session:
        a, b = session.beyond_a, session.beyond_b
        for sender, receiver in ((a, b), (b, a)):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(send_random, sender, 300_000, 1)
                await receive_hashed(receiver, 300_000, 2)
            await sender.send_eof()
            with pytest.raises(anyio.EndOfStream):
                await receiver.receive()
    assert session.end is not None
    assert (session.end.by, session.end.error) == ("a", None)


@pytest.mark.parametrize(
    ("ends", "half"),
    [*((ends, True) for ends in HALVES), *((ends, False) for ends in PAIRS if ends[0] is not tty_port)],
    ids=lambda each: name(each) if isinstance(each, tuple) else "half closed" if each else "open",
)
async def test_who_has_left_is_heard_out_by_a_stalled_reader(ends: tuple[End, End], half: bool) -> None:
    """Also when the reader has nothing more to say, and so nothing is open any more."""
    async with bridged(ends) as session:
        a, b = session.beyond_a, session.beyond_b
        if half:
            await b.send_eof()
            with pytest.raises(anyio.EndOfStream):
                await a.receive()
        sent = 0
        with anyio.move_on_after(0.1):  # until nothing goes
            while True:
                sent += await a.send_some(bytes(65536))
        await a.aclose()
        with anyio.move_on_after(0.2):  # in which it is looked several times who has hung up
            await session.over.wait()
        await receive_hashed(b, sent, 1)


@weather
@pytest.mark.parametrize("end", [end for end in ENDS if end is not tty_port], ids=lambda end: end.__name__)
async def test_an_end_of_file_waits_for_a_slow_port(end: End, seed: int | None) -> None:
    """The port cannot be half-closed: it gets all bytes before it is closed."""
    async with bridged((end, tty_port), seed) as session, anyio.create_task_group() as tasks:

        async def send() -> None:
            await send_random(session.beyond_a, 300_000, 1)
            await session.beyond_a.send_eof()

        tasks.start_soon(send)
        await receive_hashed(session.beyond_b, 300_000, 2)
        await session.over.wait()
    assert session.end is not None
    assert (session.end.by, session.end.error) == ("a", None)
