"""Between an end that offers a line and one that asks, each request comes in its place and is answered."""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import replace

import anyio

from ...core.errors import LineError
from ...core.line import Line
from ...core.transport import AskingTransport
from ...values.events import InputsChanged
from ...values.requests import Configure, LineRequest, SetOutputs
from ...values.settings import Inputs, LineSettings
from ._line import grant, granting
from ._pairs import Check, Pair
from ._promises import QUIET, beside, expect, promised, raises, receive_exactly, together

__all__ = ["CHECKS"]

SOME = LineSettings(baudrate=9600)
OTHER = LineSettings(baudrate=19200)


def _roles(pair: Pair) -> tuple[Line, AskingTransport] | None:
    if pair.here.line is not None and isinstance(pair.there, AskingTransport):
        return pair.here.line, pair.there
    return None


async def next_request(asker: AskingTransport) -> LineRequest:
    """Wait for a request, whatever bytes come before."""
    while isinstance(event := await asker.receive_event(bytearray(4096)), int):
        pass
    return event


async def order(pair: Pair) -> None:
    """Bytes and requests, mixed at random."""
    if (roles := _roles(pair)) is None or not pair.pairs.in_order:
        return
    line, asker = roles
    seed = random.getrandbits(32)
    choices = random.Random(seed)
    kinds: list[bytes | int] = [b"ab", 1200, 9600, True, False]
    script = choices.choices(kinds, k=40)
    sent: list[object] = []
    arrived: list[object] = []

    async def ask() -> None:
        for item in script:
            # What is in force already need not be asked for.
            if isinstance(item, bytes):
                sent.extend(chr(byte) for byte in item)
                await pair.here.send(item)
            elif isinstance(item, bool):
                if item != line.outputs.rts:
                    sent.append(f"rts={item}")
                    await line.set_outputs(rts=item)
            elif item != line.settings.baudrate:
                sent.append(item)
                await line.configure(replace(line.settings, baudrate=item))
        await pair.here.send(b".")

    async def answer() -> None:
        buffer = bytearray(16)
        while True:
            event = await asker.receive_event(buffer)
            if isinstance(event, int):
                arrived.extend(chr(byte) for byte in buffer[:event])
                if arrived[-1] == ".":
                    return
                continue
            if isinstance(event, Configure):
                arrived.append(event.settings.baudrate)
            elif isinstance(event, SetOutputs):
                arrived.append(f"rts={event.asked.rts}")
            await grant(event)

    with promised(f"bytes and line requests keep their order, exactly (seed {seed})", patience=30):
        await together(ask, answer)
        expect(arrived == [*sent, "."], f"{sent} arrived as {arrived}")


async def answers(pair: Pair) -> None:
    """Grant, grant something else, refuse, and answer twice."""
    if (roles := _roles(pair)) is None:
        return
    line, asker = roles
    async with beside(lambda: line.configure(SOME)) as asking:
        with promised("each request of an asking transport comes out of receive_event"):
            request = await next_request(asker)
            expect(isinstance(request, Configure), f"{SOME} was asked, and there came {request}")
            assert isinstance(request, Configure)
        with promised("nothing from beyond a request is handed out until that was answered"):
            await pair.here.send(b"beyond")
            with anyio.move_on_after(QUIET):
                event = await asker.receive_event(bytearray(16))
                raise AssertionError(f"there came {event}")
        with promised("a request is answered exactly once: a second answer raises RuntimeError"):
            await request.answer(OTHER)
            with raises(RuntimeError):
                await request.answer(OTHER)
        with promised("what stands beyond a request is handed out once that was answered"):
            data = await receive_exactly(asker, 6)
            expect(data == b"beyond", f"'beyond' arrived as {data!r}")
        if not pair.pairs.in_order:
            return
        with promised("line.configure returns what the answer says is in force"):
            in_force = await asking.outcome()
            expect(in_force == line.settings == OTHER, f"{OTHER} was answered, and it returned {in_force}")
    async with beside(lambda: line.configure(SOME)) as asking:
        with promised("a request that is refused leaves in force what was"):
            await (await next_request(asker)).refuse()
            in_force = await asking.outcome()
            expect(in_force == line.settings == OTHER, f"{OTHER} was in force, and it returned {in_force}")


async def plain_stream(pair: Pair) -> None:
    """Read an asking end as a plain stream of bytes."""
    if (roles := _roles(pair)) is None:
        return
    line, asker = roles
    before = line.settings
    async with beside(lambda: receive_exactly(asker, 2)) as receiving:
        with promised("who reads an asking transport as a plain byte stream refuses all requests"):
            in_force = await line.configure(SOME)
            if pair.pairs.in_order:
                expect(in_force == before, f"{before} was in force, and it returned {in_force}")
            await pair.here.send(b"on")
            data = await receiving.outcome()
            expect(data == b"on", f"'on' arrived as {data!r}")


async def cancelled_request(pair: Pair) -> None:
    """Cancel a request that waits for its answer."""
    if (roles := _roles(pair)) is None or not pair.pairs.in_order:
        return
    line, asker = roles
    with promised("a line request that is cancelled is still answered, and its late answer discarded"):
        async with beside(lambda: line.configure(SOME)) as asking:
            request = await next_request(asker)
            await asking.cancel()
        await grant(request)
        async with granting(asker):
            in_force = await line.configure(OTHER)
        expect(in_force == OTHER, f"{OTHER} was granted, and it returned {in_force}")


async def closed_unanswered(pair: Pair) -> None:
    """Close an asking end that owes an answer."""
    if (roles := _roles(pair)) is None:
        return
    line, asker = roles

    async def ask() -> None:
        with suppress(anyio.BrokenResourceError, LineError):  # an answer, too
            await line.configure(SOME)

    async with beside(ask) as asking:
        with promised("every request is answered, at the latest when the transport closes"):
            await next_request(asker)
            await asker.aclose()
            await asking.outcome()


async def notified(pair: Pair) -> None:
    """Tell the asker of an event."""
    if (roles := _roles(pair)) is None or not pair.pairs.in_order:
        return
    line, asker = roles
    async with granting(asker), line.events() as watched:
        await anext(watched)
        with promised("notify tells the asker what happened to the line"):
            event = InputsChanged(Inputs(), Inputs(cts=True))
            await asker.notify(event)
            told = await anext(watched)
            expect(told == event, f"{event} was told as {told}")


CHECKS: list[Check] = [order, answers, plain_stream, cancelled_request, closed_unanswered, notified]
