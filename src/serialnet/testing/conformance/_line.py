"""What a transport offers as its line does what it says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import anyio

from ...core.errors import LineUnsupportedError
from ...core.line import Line
from ...core.transport import AskingTransport, Transport
from ...values.events import InputsChanged
from ...values.requests import Configure, LineRequest, PurgeRequest, SetOutputs
from ...values.settings import Inputs, LineSettings, Outputs, Purge
from ._pairs import Check, Pair
from ._promises import QUIET, expect, promised, receive_exactly

__all__ = ["CHECKS", "grant", "granting"]


async def settings(pair: Pair) -> None:
    """Change the settings."""
    if (line := pair.here.line) is None:
        return
    async with granting(pair.there):
        with promised("line.configure returns the settings in force, and line.settings has them"):
            for baudrate in (9600, 9600, 115200):
                in_force = await line.configure(replace(line.settings, baudrate=baudrate))
                _is_a(in_force, LineSettings, "configure")
                expect(in_force == line.settings, f"it returned {in_force}, settings has {line.settings}")
                expect(in_force.baudrate == baudrate, f"{baudrate} was asked, it returned {in_force}")


async def outputs(pair: Pair) -> None:
    """Drive DTR, RTS and BREAK."""
    if (line := pair.here.line) is None:
        return
    async with granting(pair.there):
        with promised("line.set_outputs drives what is named, in one step, and returns the outputs in force"):
            await _drive(line, dtr=False, rts=False)
            await _drive(line, rts=True)
            await _drive(line, dtr=True, rts=False)
            await _drive(line)
        with promised("line.set_outputs raises LineUnsupportedError if the device cannot send a BREAK"):
            try:
                await _drive(line, brk=True)
            except LineUnsupportedError:
                expect(not line.outputs.brk, "yet line.outputs says that BREAK is on")
            else:
                await _drive(line, brk=False)
        if (wired := pair.pairs.wired) is not None:
            for changes in ({"dtr": False, "rts": True}, {"dtr": True, "rts": False}):
                with promised("line.get_inputs reads what the line is wired to"):
                    now = await line.set_outputs(**changes)
                    _equal(await line.get_inputs(), wired(now), "get_inputs")


async def _drive(
    line: Line, *, dtr: bool | None = None, rts: bool | None = None, brk: bool | None = None
) -> None:
    expected = SetOutputs(dtr, rts, brk, unchanged=line.outputs).asked
    in_force = await line.set_outputs(dtr=dtr, rts=rts, brk=brk)
    _is_a(in_force, Outputs, "set_outputs")
    _equal(in_force, expected, "set_outputs")
    _equal(line.outputs, expected, "line.outputs")


async def events(pair: Pair) -> None:
    """Watch the inputs."""
    if (line := pair.here.line) is None:
        return
    async with granting(pair.there), line.events() as watched:
        with promised("the first event of line.events() is an InputsChanged that tells the state"):
            first = await anext(watched)
            state = await line.get_inputs()
            _is_a(state, Inputs, "get_inputs")
            _equal(first, InputsChanged(state, state), "the watch")
        with promised("cancelling the wait for an event ends no watch"):
            for delay in (0, QUIET / 4):
                with anyio.move_on_after(delay):
                    event = await anext(watched)
                    raise AssertionError(f"nothing happened, and it told of {event}")
        if (wired := pair.pairs.wired) is not None:
            with promised("a watch tells of each change of the inputs, with the state before and after"):
                now = await line.set_outputs(rts=not line.outputs.rts)
                _equal(await anext(watched), InputsChanged(state, wired(now)), "the watch")


async def purging(pair: Pair) -> None:
    """Throw bytes away, and let all leave that was sent."""
    here, there = pair.here, pair.there
    if (line := here.line) is None:
        return
    async with granting(there):
        with promised("line.drain returns once all that was sent has left, and line.purge at once"):
            await line.drain()
            for what in (Purge(0), Purge.RECEIVED, Purge.UNSENT, Purge.BOTH):
                await line.purge(what)
        if pair.is_loop or (isinstance(there, AskingTransport) and pair.pairs.in_order):
            with promised("line.purge throws received bytes away, those in its own buffers included"):
                await there.send(b"junk")
                if not pair.is_loop:
                    await receive_exactly(here, 1)  # it is there
                await line.purge(Purge.RECEIVED)
                await there.send(b"x")
                data = await here.receive()
                expect(data == b"x", f"received after the purge: {data!r}")
    if not isinstance(there, AskingTransport):
        with promised("after a purge the transport is as usable as before"):
            await here.send(b"on")
            data = await receive_exactly(there, 2)
            expect(data == b"on", f"'on' arrived as {data!r}")


@asynccontextmanager
async def granting(transport: Transport) -> AsyncIterator[None]:
    """Grant all requests, if this is an end that asks."""
    if not isinstance(transport, AskingTransport):
        yield
        return
    asker = transport
    failure: Exception | None = None  # out of the task group's wrapping

    async def serve() -> None:
        while True:
            event = await asker.receive_event(bytearray(4096))
            if not isinstance(event, int):
                await grant(event)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve)
        try:
            yield
        except Exception as error:  # noqa: BLE001  # raised below
            failure = error
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def grant(request: LineRequest) -> None:
    """Answer that all is as it was asked."""
    match request:
        case Configure():
            await request.answer(request.settings)
        case SetOutputs():
            await request.answer(request.asked)
        case PurgeRequest():
            await request.answer(request.what)
        case _:
            await request.refuse()


def _is_a(value: object, kind: type, what: str) -> None:
    expect(isinstance(value, kind), f"{what} returned {value!r}")


def _equal(value: object, expected: object, what: str) -> None:
    expect(value == expected, f"{what} has {value}, expected was {expected}")


CHECKS: list[Check] = [settings, outputs, events, purging]
