"""What a serial port does for a program, checked with our client on a simulated board behind something."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import anyio

from serialnet import Inputs, InputsChanged, LineSettings, Outputs, Purge, Transport
from serialnet.chips import Board
from serialnet.core.line import Line
from serialnet.transports.rfc2217 import RFC2217Transport
from serialnet.values.settings import FlowControl, StopBits

from .matrix import Can
from .tools import until

ALL_BYTES = bytes(range(256)) * 4 + b"\xff" * 500 + b"\r\n\r\0\n"


@dataclass(frozen=True)
class Session:
    """Our client, and the board at the far end.

    :param wake: to be called when the board's inputs were changed
    """

    client: Transport
    board: Board
    wake: Callable[[], object]

    @property
    def line(self) -> Line:
        assert self.client.line is not None
        return self.client.line


async def echo(session: Session, data: bytes) -> bytes:
    """What comes back: the board's application sends what it hears."""
    heard = b""
    await session.client.send(data)
    with anyio.fail_after(10):
        while len(heard) < len(data):
            heard += await session.client.receive()
    return heard


async def settle(session: Session) -> None:
    """Let the board start: some servers restart it when a client comes, or leave another baud rate."""
    await session.line.configure(LineSettings())
    with anyio.fail_after(10):
        while True:
            heard = b""
            await session.client.send(b"?")
            with anyio.move_on_after(0.3):
                while True:
                    heard += await session.client.receive()
            if heard == b"?":
                return


async def comes(look: Callable[[], object], expected: object) -> None:
    """Wait until the board has what it is to have."""
    await until(lambda: look() == expected, 5)


async def all_bytes(session: Session) -> None:
    assert await echo(session, ALL_BYTES) == ALL_BYTES


async def settings(session: Session) -> None:
    board = session.board
    for asked in (
        LineSettings(57600, stopbits=StopBits.TWO),
        LineSettings(9600, flow=FlowControl.XONXOFF),
        LineSettings(115200),
    ):
        assert await session.line.configure(asked) == asked
        await comes(lambda: board.settings, asked)


async def outputs(session: Session) -> None:
    for dtr, rts in ((True, False), (False, False), (True, True)):
        await session.line.set_outputs(dtr=dtr, rts=rts)
        await comes(lambda: session.board.outputs, Outputs(dtr=dtr, rts=rts))
        await anyio.sleep(0.5)  # Espressif's server passes by there, in a sequence of its own
        assert session.board.outputs == Outputs(dtr=dtr, rts=rts)


async def break_(session: Session) -> None:
    before = session.board.breaks
    await session.line.set_outputs(brk=True)
    await session.line.set_outputs(brk=False)
    await until(lambda: session.board.breaks == before + 1 and not session.board.outputs.brk, 2)


async def inputs(session: Session) -> None:
    async with session.line.events() as events:
        for state in (Inputs(cts=True, dsr=True), Inputs(cd=True), Inputs()):
            session.board.set_inputs(state)
            session.wake()
            with anyio.fail_after(4):  # unasked
                async for event in events:
                    if isinstance(event, InputsChanged) and event.after == state:
                        break
            assert await session.line.get_inputs() == state


async def purge(session: Session) -> None:
    await session.client.send(b"stale")
    await session.client.receive(1)
    await anyio.sleep(0.2)
    client = session.client
    assert isinstance(client, RFC2217Transport)
    assert await client.request(client.session.purge(Purge.BOTH)), "it was not answered"
    await session.line.purge(Purge.BOTH)
    assert await echo(session, b"fresh") == b"fresh"


CHECKS: Mapping[Can, Callable[[Session], Awaitable[None]]] = {
    Can.BYTES: all_bytes,
    Can.SETTINGS: settings,
    Can.BREAK: break_,
    Can.INPUTS: inputs,
    Can.PURGE: purge,
    Can.OUTPUTS: outputs,  # after which the board may run something else
}


async def failures(session: Session) -> dict[Can, str]:
    """Check all; what went wrong."""
    failed: dict[Can, str] = {}
    await settle(session)
    for can, check in CHECKS.items():
        try:
            await check(session)
        except (AssertionError, TimeoutError) as error:
            failed[can] = repr(error)
    return failed
