"""``serve``: one port, one client at a time, and nothing that a client does ends it."""

from __future__ import annotations

import logging
import random
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

import serialnet
from serialnet import Access, EndpointError, OpenError, Outputs, Server, Transport, hooks
from serialnet.bridge import bridge
from serialnet.serving import _session as session_module
from serialnet.transports import tcp

from ..fake_ends import Entry, FakePort, cancelled_everywhere, descriptors


@pytest.fixture(autouse=True)
def linger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "LINGER", 0.02)


RAW = "tcp://127.0.0.1:0"
RFC2217 = "rfc2217://127.0.0.1:0"


@asynccontextmanager
async def serving(port: FakePort, *urls: str, **options: object) -> AsyncIterator[Server]:
    async with serialnet.serve(port, *(urls or (RAW,)), **options) as server:  # type: ignore[arg-type]
        yield server


async def is_served(client: Transport, port: FakePort, mark: bytes) -> None:
    """Check that bytes go both ways."""
    with anyio.fail_after(5):
        await client.send(mark)
        await port.until(lambda: mark in port.written)
        port.feed(mark[::-1])
        received = b""
        while mark[::-1] not in received:
            received += await client.receive()


async def is_refused(client: Transport) -> None:
    """Check that nothing is said but the end."""
    with anyio.fail_after(5), pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
        await client.receive()


async def test_a_client_uses_the_port() -> None:
    port = FakePort()
    async with serving(port) as server:
        assert server.urls[0].startswith("tcp://127.0.0.1:")
        async with serialnet.connect(server.urls[0]) as client:
            await is_served(client, port, b"hello")
        await port.until(lambda: server.stats.bytes_to_port)
        assert (server.stats.sessions, server.stats.refused) == (1, 0)
        assert (server.stats.bytes_to_port, server.stats.bytes_from_port) == (5, 5)
    assert not port.closed  # it is its owner's


async def test_it_opens_and_closes_a_port_by_url() -> None:
    before = descriptors()
    async with (
        serialnet.serve("loop:", RAW, RFC2217) as server,
        serialnet.connect(server.urls[0]) as client,
    ):
        await client.send(b"echo")
        assert await client.receive() == b"echo"
        assert [url.partition(":")[0] for url in server.urls] == ["tcp", "rfc2217"]
    assert descriptors() <= before + 1  # the event loop keeps one, on some


async def test_a_second_client_is_refused_at_once(caplog: pytest.LogCaptureFixture) -> None:
    port = FakePort()
    async with serving(port) as server, serialnet.connect(server.urls[0]) as first:
        await is_served(first, port, b"first")
        async with serialnet.connect(server.urls[0]) as second:
            await is_refused(second)
        await is_served(first, port, b"again")
        assert server.stats.refused == 1
    assert "refused 127.0.0.1:" in caplog.text
    assert "uses the port" in caplog.text


@pytest.mark.parametrize("how", ["close", "half-close", "reset"])
@pytest.mark.parametrize("linger", [0.5, 0])
async def test_twenty_reconnects_in_a_row(how: str, linger: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "LINGER", linger)
    port = FakePort()
    async with serving(port) as server:
        for number in range(20):
            client = await serialnet.connect(server.urls[0])
            await is_served(client, port, f"client {number}".encode())
            if how == "reset":
                assert isinstance(client, tcp.TCPTransport)
                client._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            elif how == "half-close":
                await client.send_eof()
                next_client = await serialnet.connect(server.urls[0])
                await is_served(next_client, port, f"next {number}".encode())
                await next_client.aclose()
            await client.aclose()
        assert server.stats.refused == 0
        assert server.stats.sessions == (40 if how == "half-close" else 20)


async def test_the_next_client_waits_while_the_port_drains(monkeypatch: pytest.MonkeyPatch) -> None:
    port = FakePort()
    drained = anyio.Event()
    port.fake_line.waits["drain"] = drained.wait
    monkeypatch.setattr(session_module, "GRACE", 0)
    async with serving(port) as server:
        first = await serialnet.connect(server.urls[0])
        await is_served(first, port, b"first")
        await first.aclose()
        async with serialnet.connect(server.urls[0]) as second:
            await anyio.sleep(0.05)
            drained.set()
            await is_served(second, port, b"second")
        assert server.stats.refused == 0


async def test_a_third_client_does_not_wait_with_the_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "GRACE", 0.3)
    port = FakePort()
    async with serving(port) as server:
        clients = [await serialnet.connect(server.urls[0]) for _ in range(5)]
        await is_served(clients[0], port, b"first")
        for client in clients[1:]:
            await is_refused(client)
        assert server.stats.refused == 4
        for client in clients:
            await client.aclose()


async def test_clients_that_come_while_the_port_is_being_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Handing the port over from the reader of idle data, at every phase of its work."""
    monkeypatch.setattr(bridge, "LINGER", 0)
    port = FakePort()
    rng = random.Random(1)
    async with serving(port) as server, anyio.create_task_group() as tasks:

        async def chatter() -> None:
            while True:
                port.feed(b"noise")
                for _ in range(rng.randrange(4)):
                    await anyio.lowlevel.checkpoint()

        tasks.start_soon(chatter)
        for number in range(100):
            client = await serialnet.connect(server.urls[0])
            with anyio.fail_after(5):
                await client.send(b"<%d>" % number)
                await port.until(lambda mark=b"<%d>" % number: mark in port.written)  # type: ignore[misc]
            await client.aclose()
            for _ in range(rng.randrange(6)):
                await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    assert server.stats.refused == 0


LOSSES = [None, anyio.BrokenResourceError("unplugged"), OSError("strange")]


@pytest.mark.parametrize("error", LOSSES)
async def test_a_port_that_is_lost_while_idle(
    error: Exception | None, caplog: pytest.LogCaptureFixture
) -> None:
    port = FakePort()
    async with serving(port) as server:
        port.end(error)
        with anyio.fail_after(5), pytest.raises(anyio.BrokenResourceError, match="the port: "):
            await server.wait()
    assert "lost the port" in caplog.text


@pytest.mark.parametrize("error", LOSSES)
async def test_a_port_that_is_lost_in_a_session(error: Exception | None) -> None:
    port = FakePort()
    async with serving(port) as server, serialnet.connect(server.urls[0]) as client:
        await is_served(client, port, b"x")
        port.end(error)
        with anyio.fail_after(5), pytest.raises(anyio.BrokenResourceError, match="the port: "):
            await server.wait()
        await is_refused(client)


async def test_what_the_block_raises_comes_out_as_it_is() -> None:
    port = FakePort()
    with pytest.raises(KeyError, match="mine"):
        async with serving(port):
            raise KeyError("mine")


async def test_nothing_changes_on_the_port_when_clients_come_and_go() -> None:
    port = FakePort()
    await port.fake_line.set_outputs(dtr=True, rts=True)
    port.log.clear()
    async with serving(port, RAW, RFC2217) as server:
        for url in server.urls:
            for number in range(3):
                client = await serialnet.connect(url.replace("rfc2217", "tcp"))
                await is_served(client, port, b"<%d %s>" % (number, url.encode()))
                await client.aclose()
    assert {entry for entry in port.log if not isinstance(entry, bytes)} == {"drain"}
    assert port.fake_line.outputs == Outputs(dtr=True, rts=True)


async def test_data_that_nobody_waits_for_is_thrown_away() -> None:
    port = FakePort()
    async with serving(port) as server:
        port.feed(b"old news")
        await port.until(lambda: server.stats.bytes_discarded == 8)
        async with serialnet.connect(server.urls[0]) as client:
            await client.send(b"x")
            await port.until(lambda: port.log)
            port.feed(b"fresh")
            assert await client.receive() == b"fresh"


async def test_who_may_not_come_in_is_refused(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Access, "permits", lambda self, peer: "127.0.0.1" not in str(peer))
    port = FakePort()
    async with serving(port) as server, serialnet.connect(server.urls[0]) as client:
        await is_refused(client)
    assert "its address is in none of the networks that may connect" in caplog.text
    assert server.stats.sessions == 0
    assert port.log == []


async def test_hooks_at_the_start_and_end_of_sessions() -> None:
    port = FakePort()
    mark = [Outputs(dtr=True), Outputs(), Outputs(rts=True), Outputs()]
    sequence = [hooks.OnConnect("D1|D0"), hooks.OnFirstData("R1|R0"), hooks.OnDisconnect("U1,1|U0,0")]
    async with serving(port, hooks=sequence) as server:
        for _ in range(2):
            port.log.clear()
            async with serialnet.connect(server.urls[0]) as client:
                await port.until(lambda: len(port.log) == 2)
                await client.send(b"x")
                await port.until(lambda: len(port.log) == 5)
            expected: list[Entry] = [*mark, b"x", "drain", Outputs(True, True), Outputs()]
            with anyio.fail_after(5):
                await port.until(lambda: len(port.log) == 8)
            assert port.log == expected


@pytest.mark.parametrize("chunk", [1, 100, 10_000])
async def test_nothing_that_clients_send_ends_it(chunk: int) -> None:
    rng = random.Random(chunk)
    port = FakePort()
    async with serving(port, RFC2217, RAW, auto_reset=bool(chunk % 2)) as server:
        urls = [url.replace("rfc2217", "tcp") for url in server.urls]
        for _ in range(20):
            client = await serialnet.connect(rng.choice(urls))
            pieces = [b"\xff\xfa\x2c", b"\xff\xf0", b"\xff", b"\x05\x08", bytes([rng.randrange(256)]), b"x"]
            try:
                for _ in range(20):
                    await client.send(b"".join(rng.choices(pieces, k=chunk // 10 + 1)))
            except anyio.BrokenResourceError:
                pass  # it may be refused: the one before may have left bytes behind
            await client.aclose()
        with anyio.fail_after(5):
            await port.until(lambda: server._seat.session is None)
        async with serialnet.connect(urls[1]) as client:
            await is_served(client, port, b"still there")


@pytest.mark.parametrize(
    ("port", "listen_on", "error", "message"),
    [
        ("nonsense:", [RAW], EndpointError, "no transport 'nonsense'"),
        ("loop:", ["tcp://127.0.0.1"], EndpointError, "expected tcp://HOST:PORT"),
        ("loop:", [RAW, "nonsense:"], EndpointError, "no transport 'nonsense'"),
        ("loop:?baudrate=x", [RAW], EndpointError, "baudrate"),
        ("/dev/does-not-exist", [RAW], OpenError, "does-not-exist"),
        ("loop:", [RAW, "tcp://192.0.2.1:0"], OpenError, "cannot listen on 192.0.2.1:0"),
    ],
)
async def test_what_cannot_be_served(
    port: str, listen_on: list[str], error: type[Exception], message: str
) -> None:
    before = descriptors()
    with pytest.raises(error, match=message):
        async with serialnet.serve(port, *listen_on, access=Access(insecure=True)):
            pass
    assert descriptors() == before


async def test_cancelling_it_anywhere_leaves_nothing_open(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(bridge, "LINGER", 0)
    caplog.set_level(logging.CRITICAL)

    async def run() -> None:
        port = FakePort()
        async with serving(port, RAW, RFC2217) as server, serialnet.connect(server.urls[0]) as client:
            await client.send(b"x")
            while not port.log:
                await anyio.lowlevel.checkpoint()
            async with serialnet.connect(server.urls[0]):
                await anyio.lowlevel.checkpoint()
        assert not port.closed

    await run()
    before = descriptors()
    assert await cancelled_everywhere(run) > 15
    assert descriptors() == before
