"""What is closed says so, and so does what the peer closed; nobody is left waiting."""

from __future__ import annotations

import anyio

from ...core.transport import AskingTransport
from ...values.events import InputsChanged
from ...values.settings import Inputs, Purge
from ._pairs import Check, Pair
from ._promises import Call, beside, promised, raises

__all__ = ["CHECKS", "CLOGGED_CHECKS"]


async def closed(pair: Pair) -> None:
    """Use a transport that was closed."""
    here = pair.here
    calls: dict[str, Call] = {
        "receive": here.receive,
        "receive_into": lambda: here.receive_into(bytearray(1)),
        "send_some": lambda: here.send_some(b"x"),
        "send": lambda: here.send(b"x"),
    }
    if here.can_send_eof:
        calls["send_eof"] = here.send_eof
    if isinstance(here, AskingTransport):
        asker = here
        calls["receive_event"] = lambda: asker.receive_event(bytearray(1))
        calls["notify"] = lambda: asker.notify(InputsChanged(Inputs(), Inputs()))
    if (line := here.line) is not None:
        calls["line.configure"] = lambda: line.configure(line.settings)
        calls["line.set_outputs"] = lambda: line.set_outputs(rts=True)
        calls["line.get_inputs"] = line.get_inputs
        calls["line.purge"] = lambda: line.purge(Purge.BOTH)
        calls["line.drain"] = line.drain
    with promised("a transport can be closed, more than once"):
        await here.aclose()
        await here.aclose()
    for name, call in calls.items():
        with promised(f"{name} raises ClosedResourceError after aclose"), raises(anyio.ClosedResourceError):
            await call()


async def closed_while_receiving(pair: Pair) -> None:
    """Close beside a receive that waits."""
    async with beside(pair.here.receive) as receiving:
        with promised("a receive that waits raises ClosedResourceError when the transport is closed"):
            await pair.here.aclose()
            with raises(anyio.ClosedResourceError):
                await receiving.outcome()


async def closed_while_sending(pair: Pair) -> None:
    """Close beside a send that waits."""
    async with pair.clog() as clog:
        with promised("a send that waits raises ClosedResourceError when the transport is closed"):
            await pair.here.aclose()
            with raises(anyio.ClosedResourceError):
                await clog.sending.outcome()


async def closed_when_cancelled(pair: Pair) -> None:
    """Close in a scope that was cancelled, as a failing program does."""
    here, there = pair.here, pair.there
    with promised("aclose closes also when it is cancelled"):
        with anyio.CancelScope() as scope:
            scope.cancel()
            await here.aclose()
        with raises(anyio.ClosedResourceError):
            await here.receive()
        if Pair(pair.pairs, there, here).ends_with_peer:
            with raises(anyio.EndOfStream, anyio.BrokenResourceError):
                await there.receive()


async def closed_by_peer(pair: Pair) -> None:
    """Receive from, and send to, an end that was closed."""
    here, there = pair.here, pair.there
    if not pair.ends_with_peer:
        return
    async with beside(here.receive) as receiving:
        with promised("EndOfStream or BrokenResourceError tells a receive that waits of a peer that closes"):
            await there.aclose()
            for outcome in (receiving.outcome, here.receive):
                with raises(anyio.EndOfStream, anyio.BrokenResourceError):
                    await outcome()
    with (
        promised("sending to a peer that has closed soon raises BrokenResourceError"),
        raises(anyio.BrokenResourceError),
    ):
        while True:
            await here.send_some(b"x")
            await anyio.sleep(0.01)


CHECKS: list[Check] = [closed, closed_while_receiving, closed_when_cancelled, closed_by_peer]
CLOGGED_CHECKS: list[Check] = [closed_while_sending]
