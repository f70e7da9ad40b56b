"""What the base class derives for the authors of transports."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from typing_extensions import Buffer, override

from serialnet import Configure, LineSettings, Outputs, SetOutputs, Transport
from serialnet.serving.lease import Lease

from ..fake_ends import FakeAsker, FakePort


class ByPieces(Transport):
    """Overrides the anyio-like half of each pair."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)
        self.sent: list[bytes] = []
        self.gate = anyio.Event()
        self.gate.set()

    @override
    async def receive(self, max_bytes: int = 65536) -> bytes:
        await anyio.lowlevel.checkpoint()
        if not self.pieces:
            raise anyio.EndOfStream
        piece = self.pieces[0]
        self.pieces[:1] = [piece[max_bytes:]] if piece[max_bytes:] else []
        return piece[:max_bytes]

    @override
    async def send(self, item: Buffer) -> None:
        await self.gate.wait()
        self.sent.append(bytes(item))

    @override
    async def aclose(self) -> None:
        pass


class ByBuffers(Transport):
    """Overrides the other half; takes three bytes at a time."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    @override
    async def receive_into(self, buffer: Buffer) -> int:
        await anyio.lowlevel.checkpoint()
        with memoryview(buffer) as view:
            n = min(len(view), 5)
            view[:n] = b"hello"[:n]
            return n

    @override
    async def send_some(self, data: Buffer) -> int:
        await anyio.lowlevel.checkpoint()
        self.sent.append(bytes(memoryview(data)[:3]))
        return len(self.sent[-1])

    @override
    async def aclose(self) -> None:
        pass


async def test_receive_into_is_derived() -> None:
    transport = ByPieces(b"hello", b"world")
    buffer = bytearray(b"........")
    assert await transport.receive_into(memoryview(buffer)[:3]) == 3
    assert await transport.receive_into(memoryview(buffer)[3:]) == 2
    assert buffer == b"hello..."
    assert await transport.receive_into(buffer) == 5
    with pytest.raises(anyio.EndOfStream):
        await transport.receive_into(buffer)
    with pytest.raises(ValueError, match="room"):
        await transport.receive_into(bytearray())


async def test_receive_is_derived() -> None:
    transport = ByBuffers()
    assert await transport.receive() == b"hello"
    assert await transport.receive(2) == b"he"
    with pytest.raises(ValueError, match="max_bytes"):
        await transport.receive(0)


async def test_send_is_derived() -> None:
    transport = ByBuffers()
    await transport.send(memoryview(b"abcdefgh"))
    await transport.send(b"")
    assert transport.sent == [b"abc", b"def", b"gh"]
    assert transport.native_send_some


async def test_send_some_is_derived_and_owns_no_buffer() -> None:
    transport = ByPieces()
    buffer = bytearray(b"abc")
    assert await transport.send_some(buffer) == 3
    buffer[:] = b"xyz"
    buffer += b"resized, so nobody holds a view of it"
    assert transport.sent == [b"abc"]
    assert not transport.native_send_some


async def test_a_cancelled_derived_send_some_breaks_the_transport() -> None:
    transport = ByPieces(b"still readable")
    transport.gate = anyio.Event()
    with anyio.move_on_after(0) as scope:
        await transport.send_some(b"abc")
    assert scope.cancelled_caught
    transport.gate.set()
    with pytest.raises(anyio.BrokenResourceError, match="cancelled"):
        await transport.send_some(b"abc")
    assert await transport.receive() == b"still readable"


@pytest.mark.parametrize(
    ("missing", "namespace"),
    [
        (r"receive_into\(\) or receive\(\)", {"send": ByPieces.send}),
        (r"send_some\(\) or send\(\)", {"receive": ByPieces.receive}),
    ],
)
def test_a_class_with_half_a_pair_missing_is_refused(missing: str, namespace: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=f"Half must override {missing}"):
        type("Half", (Transport,), namespace)


def test_what_it_inherits_counts() -> None:
    class More(ByPieces):
        pass

    class Native(More):
        @override
        async def send_some(self, data: Buffer) -> int:
            return 1

    assert not More.native_send_some
    assert Native.native_send_some


async def test_half_closing_is_off_unless_written() -> None:
    with pytest.raises(NotImplementedError, match="ByBuffers cannot half-close"):
        await ByBuffers().send_eof()


async def test_an_asker_read_as_a_stream_refuses_requests() -> None:
    asker = FakeAsker(
        b"one",
        Configure(LineSettings(9600), unchanged=LineSettings(300)),
        SetOutputs(dtr=True, unchanged=Outputs(rts=True)),
        b"two",
    )
    asker.end()
    assert [await asker.receive(), await asker.receive()] == [b"one", b"two"]
    assert asker.answers == [LineSettings(300), Outputs(rts=True)]
    with pytest.raises(anyio.EndOfStream):
        await asker.receive()


async def test_a_request_of_nobody_has_no_answer() -> None:
    with pytest.raises(RuntimeError, match="no asker"):
        await SetOutputs(dtr=True).refuse()


def test_a_lease_knows_whether_its_port_can_be_interrupted() -> None:
    assert Lease(FakePort()).native_send_some
    assert not Lease(ByPieces()).native_send_some


async def test_a_lease_closes_but_its_port_does_not() -> None:
    port = FakePort()
    lease = Lease(port)
    await lease.send(b"abc")
    await lease.aclose()
    with pytest.raises(anyio.ClosedResourceError):
        await lease.send(b"abc")
    with pytest.raises(anyio.ClosedResourceError):
        await lease.receive()
    assert port.log == [b"abc"]
    assert not port.closed
