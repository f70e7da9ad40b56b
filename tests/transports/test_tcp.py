"""``tcp://``: connections and listeners."""

from __future__ import annotations

import errno
import os
import random
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

import serialnet
from serialnet import OpenError, Transport, TransportAttribute
from serialnet.transports import tcp
from serialnet.transports.rfc2217 import RFC2217Session
from serialnet.transports.tcp import TCPListener, TCPTransport

from ..fake_ends import cancelled_everywhere, descriptors


@asynccontextmanager
async def pair() -> AsyncIterator[tuple[TCPTransport, TCPTransport]]:
    async with (
        serialnet.listen("tcp://127.0.0.1:0") as listener,
        serialnet.connect(listener.urls[0]) as client,
        await listener.accept() as server,
    ):
        assert isinstance(client, TCPTransport)
        assert isinstance(server, TCPTransport)
        yield client, server


def reset(transport: TCPTransport) -> None:
    """Close so abruptly that the other end gets a RST."""
    transport._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def test_bytes_go_both_ways() -> None:
    async with pair() as (client, server):
        await client.send(b"hello")
        assert await server.receive() == b"hello"
        await server.send(bytearray(b"world"))
        assert await client.receive(3) == b"wor"
        buffer = bytearray(10)
        assert await client.receive_into(buffer) == 2
        assert buffer[:2] == b"ld"


async def test_both_ends_are_set_up_for_interactive_use() -> None:
    async with pair() as ends:
        for end in ends:
            sock = end._socket
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            if hasattr(socket, "TCP_KEEPIDLE"):
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 10
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 3
            if hasattr(socket, "TCP_USER_TIMEOUT"):
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 60_000


async def test_each_end_knows_the_other() -> None:
    async with pair() as (client, server):
        port = client._socket.getsockname()[1]
        assert server.extra(TransportAttribute.peer) == f"127.0.0.1:{port}"
        assert server.extra(TransportAttribute.url) == f"tcp://127.0.0.1:{port}"


async def flood(receiver: Transport, sender: Transport, data: bytes, rng: random.Random) -> bytes:
    """Send and receive while both are cancelled again and again."""
    received = bytearray()

    async def send() -> None:
        sent = 0
        while sent < len(data):
            with anyio.move_on_after(rng.choice([0, 0.0001, 0.01])):
                sent += await sender.send_some(data[sent : sent + rng.randrange(1, 20_000)])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send)
        while len(received) < len(data):
            with anyio.move_on_after(rng.choice([0, 0.0001, 0.01])):
                received += await receiver.receive(rng.randrange(1, 20_000))
    return bytes(received)


async def test_cancelled_receives_and_sends_lose_nothing() -> None:
    rng = random.Random(1)
    data = rng.randbytes(3_000_000)
    async with pair() as (client, server):
        client._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        with anyio.fail_after(20):
            assert await flood(server, client, data, rng) == data


@pytest.mark.parametrize("to_client", [False, True])
async def test_nor_do_they_through_an_rfc2217_session(to_client: bool) -> None:
    rng = random.Random(2)
    data = rng.choice([b"\xff", b"\xff\xff", b"x", b"\r\n"]) + rng.randbytes(150_000).replace(b"A", b"\xff")
    async with pair() as (client, server):
        session = RFC2217Session(server)
        if to_client:
            client._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
            wire = bytearray()

            async def receive_all() -> None:
                try:
                    while True:
                        wire.extend(await client.receive())
                except anyio.EndOfStream:
                    pass

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(receive_all)
                sent = 0
                while sent < len(data):
                    with anyio.move_on_after(rng.choice([0, 0.0001, 0.01])):
                        sent += await session.send_some(data[sent : sent + rng.randrange(1, 20_000)])
                await session.send_eof()
            greeting = len(wire) - len(data.replace(b"\xff", b"\xff\xff"))
            assert wire[greeting:].replace(b"\xff\xff", b"\xff") == data
            assert greeting == 18
        else:
            received = bytearray()

            async def send_all() -> None:
                await client.send(data.replace(b"\xff", b"\xff\xff"))
                await client.send_eof()

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(send_all)
                with pytest.raises(anyio.EndOfStream):  # noqa: PT012
                    while True:
                        with anyio.move_on_after(rng.choice([0, 0.0001, 0.01])):
                            received += await session.receive(rng.randrange(1, 20_000))
            assert received == data


async def test_what_is_asked_after_our_end_goes_unanswered_and_ends_nothing() -> None:
    set_baudrate = bytes.fromhex("fffd2c fffb2c fffa2c 01 00002580 fff0")
    async with pair() as (client, server):
        session = RFC2217Session(server)
        await session.send_eof()
        await client.send(set_baudrate + b"and" + set_baudrate + b"more")
        await client.send_eof()
        assert await session.receive() == b"and"
        assert await session.receive() == b"more"
        with pytest.raises(anyio.EndOfStream):
            await session.receive()
        with pytest.raises(anyio.BrokenResourceError, match="nothing can be sent after the end"):
            await session.send(b"x")


async def test_half_closing() -> None:
    async with pair() as (client, server):
        await client.send(b"question")
        await client.send_eof()
        assert await server.receive() == b"question"
        for _ in range(2):
            with pytest.raises(anyio.EndOfStream):
                await server.receive()
        await server.send(b"answer")
        assert await client.receive() == b"answer"


async def test_a_reset_breaks_it() -> None:
    async with pair() as (client, server):
        reset(client)
        await client.aclose()
        with pytest.raises(anyio.BrokenResourceError, match=r"receiving failed: .*reset"):
            await server.receive()
        with pytest.raises(anyio.BrokenResourceError, match="sending failed"):
            await server.send(bytes(100))
        with pytest.raises(anyio.BrokenResourceError, match="has gone"):
            await server.send_eof()


async def test_closing_wakes_all_that_wait() -> None:
    async with pair() as (client, _):

        async def receive() -> None:
            with pytest.raises(anyio.ClosedResourceError):
                await client.receive()

        async def send() -> None:
            with pytest.raises(anyio.ClosedResourceError):
                await client.send(bytes(20_000_000))  # more than the system buffers

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive)
            tasks.start_soon(send)
            await anyio.sleep(0.05)
            await client.aclose()
        await client.aclose()
        for call in (client.receive(), client.send(b"x"), client.send_eof()):
            with pytest.raises(anyio.ClosedResourceError):
                await call


async def test_two_at_once() -> None:
    async with pair() as (client, server), anyio.create_task_group() as tasks:
        tasks.start_soon(client.receive)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(anyio.BusyResourceError):
            await client.receive()
        await server.send(b"x")


async def test_empty_buffers() -> None:
    async with pair() as (client, _):
        with pytest.raises(ValueError, match="room"):
            await client.receive_into(bytearray())
        with pytest.raises(ValueError, match="one byte"):
            await client.send_some(b"")
        await client.send(b"")


# Connecting.


def unused_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


async def test_a_refusal_names_host_and_port() -> None:
    port = unused_port()
    before = descriptors()
    with pytest.raises(OpenError, match=rf"cannot connect to 127\.0\.0\.1:{port}: .*refused") as caught:
        await serialnet.connect(f"tcp://127.0.0.1:{port}")
    assert caught.value.errno == errno.ECONNREFUSED
    assert descriptors() == before


async def test_a_host_that_there_is_not() -> None:
    with pytest.raises(OpenError, match=r"cannot connect to a\.\.b:4000: "):
        await serialnet.connect("tcp://a..b:4000")


@asynccontextmanager
async def full_backlog() -> AsyncIterator[int]:
    """A port that answers no connection request: what listens there has its queue full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        fillers = [socket.socket() for _ in range(3)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(address)
            yield address[1]
        finally:
            for filler in fillers:
                filler.close()


async def test_connecting_has_a_limit() -> None:
    async with full_backlog() as port:
        before = descriptors()
        with pytest.raises(OpenError, match=rf"no connection to 127\.0\.0\.1:{port} within 0\.05 s"):
            await serialnet.connect(f"tcp://127.0.0.1:{port}?connect_timeout=0.05")
        with anyio.move_on_after(0.01) as scope:
            await serialnet.connect(f"tcp://127.0.0.1:{port}")
        assert scope.cancelled_caught
        assert descriptors() == before


def hosts(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[int, Any]) -> None:
    """Let every host have these addresses."""

    async def resolve(*_: object, **__: object) -> list[tuple[int, int, int, str, Any]]:
        return [(family, socket.SOCK_STREAM, 6, "", address) for family, address in addresses]

    monkeypatch.setattr(anyio, "getaddrinfo", resolve)


async def test_finding_a_host_and_trying_its_addresses_share_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limited = r"no connection to many:1 within 0\.05 s"
    async with full_backlog() as silent:
        before = descriptors()
        hosts(monkeypatch, *[(socket.AF_INET, ("127.0.0.1", silent))] * 2)
        with pytest.raises(OpenError, match=limited):
            await serialnet.connect("tcp://many:1?connect_timeout=0.05")
        assert descriptors() == before

    async def never(*_: object, **__: object) -> None:
        await anyio.sleep_forever()

    monkeypatch.setattr(anyio, "getaddrinfo", never)
    with pytest.raises(OpenError, match=limited):
        await serialnet.connect("tcp://many:1?connect_timeout=0.05")


async def test_all_addresses_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "ATTEMPT_DELAY", 0.01)
    async with serialnet.listen("tcp://127.0.0.1:0") as listener, full_backlog() as silent:
        port = int(listener.urls[0].rpartition(":")[2])
        before = descriptors()
        hosts(
            monkeypatch,
            (socket.AF_INET, ("127.0.0.1", unused_port())),
            (socket.AF_INET, ("127.0.0.1", silent)),
            (socket.AF_INET, ("127.0.0.1", port)),
        )
        async with serialnet.connect("tcp://many:1"):
            assert descriptors() == before + 1
        hosts(monkeypatch, *[(socket.AF_INET, ("127.0.0.1", unused_port()))] * 3)
        with pytest.raises(OpenError, match="refused"):
            await serialnet.connect("tcp://many:1")
        assert descriptors() == before


async def test_an_address_of_a_kind_that_is_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    make = socket.socket

    def no_ipv6(family: int = -1, *rest: Any, **named: Any) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
        return make(family, *rest, **named)

    async with serialnet.listen("tcp://127.0.0.1:0") as listener:
        port = int(listener.urls[0].rpartition(":")[2])
        addresses = [(socket.AF_INET6, ("::1", port, 0, 0)), (socket.AF_INET, ("127.0.0.1", port))]
        hosts(monkeypatch, *addresses)
        monkeypatch.setattr(socket, "socket", no_ipv6)
        async with serialnet.connect("tcp://localhost:1"):
            pass
        hosts(monkeypatch, addresses[0])
        with pytest.raises(OpenError, match="not supported"):
            await serialnet.connect("tcp://localhost:1")
        with pytest.raises(OpenError, match="not supported"):
            await serialnet.listen("tcp://localhost:0")
        hosts(monkeypatch, (socket.AF_INET6, ("::1", 0, 0, 0)), (socket.AF_INET, ("127.0.0.1", 0)))
        async with serialnet.listen("tcp://localhost:0") as second:
            assert len(second.urls) == 1


async def test_cancelling_a_connection_anywhere_leaves_nothing_open() -> None:
    async def run() -> None:
        async with pair() as (client, server):
            await client.send(b"x")
            await server.receive()

    await run()
    before = descriptors()
    assert await cancelled_everywhere(run) >= 3
    assert descriptors() == before


# Listening.


async def test_one_port_for_all_addresses() -> None:
    async with serialnet.listen("tcp://localhost:0") as listener:
        ports = {url.rpartition(":")[2] for url in listener.urls}
        assert len(ports) == 1
        for url in listener.urls:
            async with serialnet.connect(url) as client, await listener.accept() as server:
                await client.send(b"x")
                assert await server.receive() == b"x"
        async with serialnet.connect(f"tcp://localhost:{ports.pop()}"), await listener.accept():
            pass


async def test_ipv6() -> None:
    try:
        listener = await serialnet.listen("tcp://[::1]:0")
    except OpenError:
        pytest.skip("there is no IPv6 here")
    async with listener, serialnet.connect(listener.urls[0]) as client, await listener.accept() as server:
        assert listener.urls[0].startswith("tcp://[::1]:")
        assert server.extra(TransportAttribute.peer).startswith("[::1]:")
        await client.send(b"x")


async def test_a_port_that_is_taken() -> None:
    async with serialnet.listen("tcp://127.0.0.1:0") as listener:
        before = descriptors()
        with pytest.raises(OpenError, match=r"cannot listen on 127\.0\.0\.1:\d+: .*in use"):
            await serialnet.listen(listener.urls[0])
        assert descriptors() == before


async def test_a_port_can_be_taken_again_at_once() -> None:
    async with serialnet.listen("tcp://127.0.0.1:0") as listener:
        url = listener.urls[0]
        async with serialnet.connect(url) as client:
            server = await listener.accept()
            await server.aclose()  # our end is the one that waits (TIME-WAIT)
            with pytest.raises(anyio.EndOfStream):
                await client.receive()
    async with serialnet.listen(url):
        pass


@pytest.mark.parametrize("url", ["tcp://127.0.0.1:0", "tcp://localhost:0"])
async def test_closing_a_listener(url: str) -> None:
    before = descriptors()
    listener = await serialnet.listen(url)

    async def accept() -> None:
        with pytest.raises(anyio.ClosedResourceError):
            await listener.accept()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(accept)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(anyio.BusyResourceError):
            await listener.accept()
        await listener.aclose()
    await listener.aclose()
    with pytest.raises(anyio.ClosedResourceError):
        await listener.accept()
    assert descriptors() <= before + 1  # the event loop keeps one, on some


async def test_a_cancelled_accept_loses_nobody() -> None:
    async with serialnet.listen("tcp://127.0.0.1:0") as listener:
        with anyio.move_on_after(0.01):
            await listener.accept()
        async with serialnet.connect(listener.urls[0]) as client, await listener.accept() as server:
            await client.send(b"x")
            assert await server.receive() == b"x"


class FailingSocket:
    """A listening socket whose accept fails at first."""

    def __init__(self, sock: socket.socket, *errors: int) -> None:
        self._sock = sock
        self.errors = list(errors)

    def accept(self) -> tuple[socket.socket, Any]:
        if self.errors:
            code = self.errors.pop(0)
            raise OSError(code, os.strerror(code))
        return self._sock.accept()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


@pytest.mark.parametrize(
    "code", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ECONNABORTED, errno.EPROTO]
)
async def test_accept_survives(code: int) -> None:
    async with serialnet.listen("tcp://127.0.0.1:0") as listener:
        assert isinstance(listener, TCPListener)
        failing = FailingSocket(listener._sockets[0], code)
        listener._sockets[0] = failing  # type: ignore[call-overload]
        async with serialnet.connect(listener.urls[0]) as client:
            with anyio.fail_after(5):
                server = await listener.accept()
            assert not failing.errors
            async with server:
                await client.send(b"x")
                assert await server.receive() == b"x"
        listener._sockets[0] = failing._sock


async def test_serving_starts_a_task_for_each() -> None:
    async def shout(client: Transport) -> None:
        async with client:
            await client.send((await client.receive()).upper())

    async with serialnet.listen("tcp://127.0.0.1:0") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, shout)
        clients = [await serialnet.connect(listener.urls[0]) for _ in range(5)]
        for client in clients:
            await client.send(b"abc")
        for client in clients:
            assert await client.receive() == b"ABC"
            await client.aclose()
        tasks.cancel_scope.cancel()
