"""Bytes arrive, all of them, in order, in pieces of any size; one direction can end before the other."""

from __future__ import annotations

import array
import random

import anyio
from typing_extensions import Buffer

from ...core.transport import Transport
from ._pairs import Check, Pair
from ._promises import QUIET, beside, expect, promised, raises, receive_exactly, together

__all__ = ["CHECKS"]

AMOUNT = 100_000


async def two_way(pair: Pair) -> None:
    """Random data in pieces of random sizes, both ways at once."""
    here, there = pair.here, pair.there
    seed = random.getrandbits(32)
    with promised(f"what is sent arrives, whole and in order (seed {seed})", patience=30):
        await together(
            lambda: _send(here, seed),
            lambda: _receive(there, seed),
            *(() if pair.is_loop else (lambda: _send(there, seed + 1), lambda: _receive(here, seed + 1))),
        )


async def _send(transport: Transport, seed: int) -> None:
    sizes = random.Random(-seed)
    rest = memoryview(random.Random(seed).randbytes(AMOUNT))
    while rest:
        size = min(1 << sizes.randrange(16), len(rest))
        if sizes.random() < 0.5:
            await transport.send(rest[:size])
        else:
            size = await _send_some(transport, rest[:size])
        rest = rest[size:]


async def _receive(transport: Transport, seed: int) -> None:
    sizes = random.Random(~seed)
    expected = random.Random(seed).randbytes(AMOUNT)
    received = 0
    while received < AMOUNT:
        size = min(1 << sizes.randrange(16), AMOUNT - received)
        if sizes.random() < 0.5:
            data: Buffer = await transport.receive(size)
        else:
            buffer = bytearray(size)
            data = memoryview(buffer)[: await transport.receive_into(buffer)]
        for byte, wanted in zip(memoryview(data), expected[received:], strict=False):
            expect(byte == wanted, f"byte {received} arrived as {byte:#04x} in place of {wanted:#04x}")
            received += 1


async def _send_some(transport: Transport, data: Buffer) -> int:
    with memoryview(data).cast("B") as view:
        n = await transport.send_some(view)
        expect(1 <= n <= len(view), f"send_some returned {n!r}, for {len(view)} bytes")
        return n


async def receiving(pair: Pair) -> None:
    """What receive and receive_into return."""
    here, there = pair.here, pair.there
    with promised("receive_into raises ValueError if the buffer has no room"), raises(ValueError):
        await here.receive_into(bytearray())
    with promised("receive raises ValueError if max_bytes is less than 1"), raises(ValueError):
        await here.receive(0)
    async with beside(here.receive) as waiting:
        with promised("a receive waits for one byte at least"):
            early = waiting.finished.is_set()
            expect(not early, f"with nothing to receive it returned {waiting.result!r}")
    with promised("receive returns at least one byte, and max_bytes at most, as bytes"):
        await there.send(b"0123456789")
        data = await here.receive(1)
        expect(data == b"0" and isinstance(data, bytes), f"receive(1) returned {data!r}")
        data = await here.receive(3)
        expect(data and b"123".startswith(data), f"receive(3) returned {data!r}")
        await receive_exactly(here, 9 - len(data))
    buffers = bytearray(b"#" * 8), memoryview(bytearray(b"#" * 8)), array.array("H", b"#" * 8)
    for buffer in buffers:
        with promised(
            "receive_into puts at least one byte at the start of any writable buffer, and returns how many"
        ):
            await there.send(b"abc")
            n = await here.receive_into(buffer)
            expect(1 <= n <= 3, f"receive_into returned {n!r}, of 3 bytes")
            content = memoryview(buffer).tobytes()
            expect(content == b"abc"[:n] + b"#" * (8 - n), f"{n} bytes into a buffer left {content!r} there")
            await receive_exactly(here, 3 - n) if n < 3 else None


async def sending(pair: Pair) -> None:
    """What send and send_some take, and that it is the caller's again."""
    here, there = pair.here, pair.there
    with promised("send_some wants at least one byte: else it raises ValueError"), raises(ValueError):
        await here.send_some(b"")
    with promised("send takes any buffer of bytes, an empty one, too"):
        await here.send(b"")
        for buffer in (b"ab", bytearray(b"cd"), memoryview(b"ef"), array.array("H", b"gh")):
            await here.send(buffer)
        data = await receive_exactly(there, 8)
        expect(data == b"abcdefgh", f"'abcdefgh', sent in four kinds of buffers, arrived as {data!r}")
    for name in ("send", "send_some"):
        with promised(f"the caller may use the buffer again once {name} returns"):
            buffer = bytearray(b"a" * 1000)
            n = len(buffer)
            if name == "send":
                await here.send(buffer)
            else:
                n = await _send_some(here, buffer)
            buffer[:] = b"b" * 1000
            try:
                buffer.clear()
            except BufferError:
                raise AssertionError("the transport still holds on to it") from None
            data = await receive_exactly(there, n)
            expect(data == b"a" * n, "what was put into the buffer afterwards arrived")


async def half_close(pair: Pair) -> None:
    """One direction ends, the other goes on."""
    here, there = pair.here, pair.there
    if not here.can_send_eof:
        with promised("send_eof raises NotImplementedError if can_send_eof is false"):
            with raises(NotImplementedError):
                await here.send_eof()
            await here.send(b"on")
            await receive_exactly(there, 2)
        return
    with promised("send_eof tells the other end that nothing more will be sent, if can_send_eof is true"):
        await here.send(b"last")
        await here.send_eof()
        data = await receive_exactly(there, 4)
        expect(data == b"last", f"'last', sent before it, arrived as {data!r}")
        for _ in range(2):
            with raises(anyio.EndOfStream):
                await there.receive()
    with (
        promised("nothing can be sent after send_eof"),
        raises(anyio.ClosedResourceError, anyio.BrokenResourceError),
    ):
        await here.send_some(b"more")
    if pair.is_loop:
        return
    with promised("after send_eof one goes on receiving"):
        with anyio.move_on_after(QUIET / 4):
            await here.receive()
        await there.send(b"on")
        data = await receive_exactly(here, 2)
        expect(data == b"on", f"'on' arrived as {data!r}")
    if there.can_send_eof:
        with promised("both directions can end, one after the other"):
            await there.send_eof()
            with raises(anyio.EndOfStream):
                await here.receive()


CHECKS: list[Check] = [two_way, receiving, sending, half_close]
