"""What waits can be cancelled; who waits in vain says so; nobody waits without letting others run."""

from __future__ import annotations

import itertools

import anyio
from anyio.lowlevel import checkpoint

from ._pairs import Check, Pair
from ._promises import (
    PATIENCE,
    QUIET,
    Call,
    beside,
    cancelled_after,
    expect,
    promised,
    raises,
    receive_exactly,
    together,
)

__all__ = ["CHECKS", "CLOGGED_CHECKS"]

MARK = b"\x01" * 4096
END = b"\x02"
# When a receive is cancelled while data comes in: rounds of the event loop, and seconds, later.
STEPS = range(12)
DELAYS = [n * 0.0002 for n in range(12)]


async def cancelled_receive(pair: Pair) -> None:
    """Cancel a receive at many moments, while data comes in."""
    here, there = pair.here, pair.there
    received = bytearray()

    async def receive() -> None:
        received.extend(await here.receive())

    async def receive_into() -> None:
        buffer = bytearray(16)
        n = await here.receive_into(buffer)
        received.extend(buffer[:n])

    data = bytes(range(100))
    attempts = itertools.cycle(
        (call, steps, delay)
        for call in (receive, receive_into)
        for steps, delay in [*((steps, 0.0) for steps in STEPS), *((0, delay) for delay in DELAYS)]
    )

    async def send() -> None:
        for byte in data:
            await there.send(bytes([byte]))
            await anyio.sleep(0.001)

    with promised("cancelling a receive loses nothing, and the transport stays usable", patience=30):
        async with beside(send) as sending:
            while not sending.finished.is_set():
                call, steps, delay = next(attempts)
                await cancelled_after(steps, call, delay)
            await sending.outcome()
        with anyio.move_on_after(PATIENCE / 5):
            while len(received) < len(data):
                received += await here.receive()
        lost = len(data) - len(received)
        expect(not lost, f"{lost} of {len(data)} bytes were lost")
        expect(received == data, "the bytes arrived in another order")


async def busy_receive(pair: Pair) -> None:
    """Receive in two tasks."""
    here, there = pair.here, pair.there
    async with beside(here.receive) as first:
        with promised("when two tasks receive at once, the second gets BusyResourceError"):
            for second in (here.receive, lambda: here.receive_into(bytearray(1))):
                with raises(anyio.BusyResourceError):
                    await second()
        with promised("a task that receives is not disturbed by another one that must not"):
            await there.send(b"x")
            data = await first.outcome()
            expect(data == b"x", f"'x' arrived as {data!r}")


async def checkpoints(pair: Pair) -> None:
    """Cancel, or look who else can run, when nothing has to be waited for."""
    here, there = pair.here, pair.there
    await there.send(b"0123456789")
    await _lets_others_run("receive", lambda: here.receive(1))
    await _lets_others_run("receive_into", lambda: here.receive_into(bytearray(1)))
    await _is_cancelled("receive", here.receive)
    await _is_cancelled("receive_into", lambda: here.receive_into(bytearray(1)))
    with promised("a receive that is cancelled at once loses nothing"):
        await receive_exactly(here, 4)
    await _lets_others_run("send", lambda: here.send(b"x"))
    await _lets_others_run("send_some", lambda: here.send_some(b"x"))
    await _lets_others_run("send (of nothing)", lambda: here.send(b""))
    with promised("what is sent arrives"):
        await receive_exactly(there, 6)
    await _is_cancelled("send_some", lambda: here.send_some(b"x"))
    if here.native_send_some:
        with promised("a send_some of its own, cancelled, has accepted nothing"):
            await here.send(END)
            data = await there.receive()
            expect(data == END, "what was cancelled arrived")
    await _is_cancelled("send", lambda: here.send(b"x"))


async def _lets_others_run(name: str, call: Call) -> None:
    """Three calls of one round each: another task comes to its turn in between, in whatever order."""
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await checkpoint()

    async def calls() -> None:
        nonlocal turns
        await checkpoint()
        turns = 0
        for _ in range(3):
            await call()
        tasks.cancel_scope.cancel()

    with promised(f"every call lets other tasks run, {name} as well"):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(other)
            tasks.start_soon(calls)
        expect(turns, "three calls in a row let nobody else run")


async def _is_cancelled(name: str, call: Call) -> None:
    with promised(f"every call can be cancelled, {name} as well"), anyio.CancelScope() as scope:
        scope.cancel()
        await call()
        raise AssertionError("in a scope that was cancelled before, it went on")


async def clogged_peer(pair: Pair) -> None:
    """Send to an end that does not receive, until that would have to wait."""
    here, there = pair.here, pair.there
    with promised("send_some waits for an end that does not receive: nothing grows without bound", 60):
        async with pair.clog() as clog:
            if not pair.is_loop:
                with promised("one direction that waits does not stop the other"):
                    await there.send(b"on")
                    await receive_exactly(here, 2)
            with promised("when two tasks send at once, the second gets BusyResourceError"):
                for second in (here.send_some, here.send):
                    with raises(anyio.BusyResourceError):
                        await second(b"x")
            await clog.sending.cancel()
    if not here.native_send_some:
        with (
            promised("a send_some that is derived from send breaks the transport when it is cancelled"),
            raises(anyio.BrokenResourceError),
        ):
            await here.send_some(b"x")
        return
    with promised("a send_some of its own, cancelled, has accepted nothing", patience=30):
        accepted = 0
        with anyio.move_on_after(QUIET):
            accepted = await here.send_some(MARK)
        zeros = marks = 0

        async def receive() -> None:
            nonlocal zeros, marks
            data = b""
            while not data.endswith(END):
                data = await there.receive()
                zeros += data.count(0)
                marks += data.count(MARK[0])

        await together(receive, lambda: here.send(END))
        expect(marks == accepted, f"{marks} bytes arrived of a call that accepted {accepted}")
        if pair.pairs.make_clogged_pair is None:
            expect(zeros == clog.sent, f"{zeros} bytes arrived, and {clog.sent} were accepted")


CHECKS: list[Check] = [cancelled_receive, busy_receive, checkpoints]
CLOGGED_CHECKS: list[Check] = [clogged_peer]
