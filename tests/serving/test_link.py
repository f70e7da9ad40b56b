"""``link``: who meets whom, who is refused, and what ends it."""

from __future__ import annotations

import logging
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

import anyio
import pytest

import serialnet
from serialnet import (
    Access,
    ClientRefused,
    ClientWaiting,
    Early,
    EndpointError,
    Link,
    LinkEvent,
    OpenError,
    PortBusyError,
    Reconnect,
    SessionEnded,
    SessionStarted,
    Transport,
)
from serialnet.bridge import bridge
from serialnet.core.options import NoOptions

from ..fake_ends import FakePort, cancelled_everywhere, descriptors
from ..interop.tools import times, until

E = TypeVar("E", bound=LinkEvent)

LISTEN = "listen:tcp://127.0.0.1:0"
SOON = Reconnect(0.001, 0.01)


@pytest.fixture(autouse=True)
def linger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "LINGER", 0.02)


class Watched:
    """A link and what it tells."""

    def __init__(self, link: Link, events: AsyncIterator[LinkEvent]) -> None:
        self.link = link
        self._events = events

    async def tells(self, kind: type[E]) -> E:
        event = await anext(self._events)
        assert isinstance(event, kind), event
        return event

    async def client(self, end: int = 0) -> Transport:
        return await serialnet.connect(self.link.urls[end])


@asynccontextmanager
async def linking(a: str = LISTEN, b: str = LISTEN, **options: Any) -> AsyncIterator[Watched]:
    with anyio.fail_after(10):
        async with serialnet.link(a, b, **options) as link, link.events() as events:
            yield Watched(link, events)


@asynccontextmanager
async def one_port() -> AsyncIterator[FakePort]:
    """A port that one at a time may open, as ``one:``."""
    port = FakePort()

    class Factory:
        options = NoOptions
        layer = False
        opened = 0

        async def connect(self, endpoint: object, options: object, over: object) -> Transport:
            if self.opened and not port.closed:
                raise PortBusyError(16, "the port is in use")
            self.opened += 1
            port.closed = False
            return port

        async def listen(self, endpoint: object, options: object, over: object) -> serialnet.Listener:
            raise EndpointError("expected a port")

    forget = serialnet.register_transport("one", Factory())
    try:
        yield port
    finally:
        forget()


@pytest.fixture
def ports() -> Iterator[list[FakePort]]:
    """The ports that were opened as ``fake:``."""
    opened: list[FakePort] = []

    class Factory:
        options = NoOptions
        layer = False

        async def connect(self, endpoint: object, options: object, over: object) -> Transport:
            opened.append(FakePort())
            return opened[-1]

        async def listen(self, endpoint: object, options: object, over: object) -> serialnet.Listener:
            raise EndpointError("expected a port")

    forget = serialnet.register_transport("fake", Factory())
    yield opened
    forget()


async def is_through(a: Transport, b: Transport) -> None:
    """Check that bytes go both ways."""
    for source, sink in ((a, b), (b, a)):
        await source.send(b"through")
        assert await sink.receive() == b"through"


async def is_refused(client: Transport) -> None:
    with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
        await client.receive()
    await client.aclose()


@pytest.mark.parametrize("first", [0, 1])
async def test_two_meet_whoever_comes_first(first: int) -> None:
    async with linking() as it:
        for number in range(3):  # again and again
            early = await it.client(first)
            await early.send(b"early")
            await it.tells(ClientWaiting)
            late = await it.client(1 - first)
            await it.tells(SessionStarted)
            assert await late.receive() == b"early"
            await is_through(early, late)
            await early.aclose()
            await is_refused(late)
            assert (await it.tells(SessionEnded)).end.by == "ab"[first]
            assert it.link.stats.sessions == number + 1


async def test_a_third_is_refused_at_once(caplog: pytest.LogCaptureFixture) -> None:
    async with linking() as it:
        a = await it.client(0)
        await it.tells(ClientWaiting)
        await is_refused(await it.client(0))
        assert "waits there already" in (await it.tells(ClientRefused)).reason
        b = await it.client(1)
        await it.tells(SessionStarted)
        for end in (0, 1):
            await is_refused(await it.client(end))
            assert "use the link" in (await it.tells(ClientRefused)).reason
        await is_through(a, b)
        assert it.link.stats.refused == 3
        await a.aclose()
        await b.aclose()
    assert "use the link" in caplog.text


BOOT_LOG = b"rst:0x1\r\n" * 20_000 + b"entry 0x400\r\n"


@pytest.mark.parametrize(
    ("early", "sent", "kept"),
    [
        (Early.LAST_LINE, BOOT_LOG, b"entry 0x400\r\n"),
        (Early.LAST_LINE, BOOT_LOG + b"login: ", b"login: "),
        (Early.LAST_LINE, b"x" * 100_000 + b"yz", b"x" * 65_534 + b"yz"),
        (Early.KEEP, BOOT_LOG, BOOT_LOG),
        (Early.DROP, b"boot log\r\nlogin: ", b""),
    ],
)
async def test_what_is_said_early(early: Early, sent: bytes, kept: bytes) -> None:
    async with linking(early=early) as it, anyio.create_task_group() as tasks:
        board = await it.client()
        await it.tells(ClientWaiting)
        waiting = it.link._waiting
        assert waiting is not None
        tasks.start_soon(board.send, sent)
        if early is Early.LAST_LINE:
            await until(lambda: waiting._early == kept)
        elif early is Early.DROP:
            await until(lambda: waiting.dropped == len(sent))
        client = await it.client(1)
        await it.tells(SessionStarted)
        received = b""
        while len(received) < len(kept):
            received += await client.receive()
        assert received == kept
        await is_through(board, client)
        await board.aclose()
        await is_refused(client)


@pytest.mark.parametrize("leaver", [0, 1])
async def test_who_is_left_waits_for_the_next(leaver: int) -> None:
    async with linking(keep_waiting=True) as it:
        stays = await it.client(1 - leaver)
        await it.tells(ClientWaiting)
        for _ in range(3):
            leaves = await it.client(leaver)
            await it.tells(SessionStarted)
            await is_through(stays, leaves)
            await leaves.aclose()
            assert (await it.tells(SessionEnded)).end.by == "ab"[leaver]
            await it.tells(ClientWaiting)
        await stays.aclose()
        first = await it.client(0)  # who waits and goes is forgotten, here too
        await it.tells(ClientWaiting)
        second = await it.client(1)
        await it.tells(SessionStarted)
        await first.aclose()
        await it.tells(SessionEnded)
        await it.tells(ClientWaiting)
        await second.aclose()


@pytest.mark.parametrize("end", [0, 1])
async def test_who_waits_and_goes_is_forgotten(end: int) -> None:
    async with linking() as it:
        gone = await it.client(0)
        await gone.send(b"stale")
        await it.tells(ClientWaiting)
        await gone.aclose()
        first = await it.client(end)
        await it.tells(ClientWaiting)
        second = await it.client(1 - end)
        await it.tells(SessionStarted)
        await is_through(first, second)
        await first.aclose()
        await second.aclose()


async def test_clients_come_and_go_in_any_order() -> None:
    """socat's relay splits the stream when a third comes, and is dead once its first client has left."""
    chance = random.Random(1)
    here: dict[int, Transport] = {}

    async def come(*ends: int) -> None:
        clients: dict[int, Transport] = {}

        async def connect(end: int) -> None:
            clients[end] = await it.client(end)

        async with anyio.create_task_group() as tasks:
            for end in ends:
                tasks.start_soon(connect, end)
        if not here:
            await it.tells(ClientWaiting)
        here.update(clients)
        if len(here) == 2:
            await it.tells(SessionStarted)

    async def leave(end: int) -> None:
        await here.pop(end).aclose()
        if here:
            await is_refused(here.popitem()[1])
            await it.tells(SessionEnded)

    async def one_too_many() -> None:
        await is_refused(await it.client(chance.choice(list(here))))
        await it.tells(ClientRefused)

    with anyio.fail_after(times(20, 600)):
        async with serialnet.link(LISTEN, LISTEN) as link, link.events() as events:
            it = Watched(link, events)
            for _ in range(times(30, 2000)):
                steps: list[Callable[[], Awaitable[None]]]
                if len(here) == 2:
                    steps = [one_too_many, partial(leave, 0), partial(leave, 1)]
                elif here:
                    (end,) = here
                    steps = [one_too_many, partial(leave, end), partial(come, 1 - end)]
                else:
                    steps = [partial(come, 0), partial(come, 1), partial(come, 0, 1)]
                await chance.choice(steps)()
                if len(here) == 2:
                    await is_through(here[0], here[1])
            for client in here.values():
                await client.aclose()


@pytest.mark.parametrize("leaver", [0, 1])
async def test_who_dials_again_waits_for_the_end_of_the_old_session(leaver: int) -> None:
    """Also when the partner has not noticed yet that the old session is over."""
    async with linking() as it:
        ends = [await it.client(0), await it.client(1)]
        await it.tells(ClientWaiting)
        await it.tells(SessionStarted)
        await is_through(*ends)
        await ends[leaver].aclose()
        again = await it.client(leaver)
        await it.tells(SessionEnded)
        await it.tells(ClientWaiting)
        await ends[1 - leaver].aclose()
        partner = await it.client(1 - leaver)
        await it.tells(SessionStarted)
        await is_through(again, partner)
        await again.aclose()
        await partner.aclose()
        assert it.link.stats.refused == 0


async def test_sessions_run_beside_each_other_where_the_dialled_end_lets_them() -> None:
    async with linking(b="loop:") as it:
        clients = [await it.client() for _ in range(20)]
        for number, client in enumerate(clients):
            await client.send(b"%2d" % number)
        for number, client in enumerate(clients):
            assert await client.receive() == b"%2d" % number
        stats = it.link.stats
        assert (stats.sessions, stats.bytes_a_to_b, stats.bytes_b_to_a) == (20, 40, 40)
        for client in clients:
            await client.aclose()


async def test_a_port_that_is_busy_with_a_session() -> None:
    async with one_port() as port, linking(b="one:") as it:
        first = await it.client()
        await it.tells(SessionStarted)
        await is_refused(await it.client())
        assert (await it.tells(ClientRefused)).reason == "the port is in use"
        for number in range(3):  # the next comes before the one before is quite gone
            await first.send(b"%d" % number)
            await port.until(lambda mark=b"%d" % number: mark in port.written)  # type: ignore[misc]
            await first.aclose()
            first = await it.client()
            await it.tells(SessionEnded)
            await it.tells(SessionStarted)
        await first.aclose()


async def test_a_failed_dial_ends_it_if_nothing_is_waited_for() -> None:
    async with linking(b="tcp://127.0.0.1:1", wait=False) as it:
        client = await it.client()
        with pytest.raises(OpenError, match="cannot connect"):
            await it.link.wait()
        await is_refused(client)


async def test_once() -> None:
    async with linking(b="loop:", once=True) as it:
        client = await it.client()
        await it.tells(SessionStarted)
        await is_refused(await it.client())
        await it.tells(ClientRefused)
        await client.aclose()
        end = await it.link.wait()
        assert (end.by, end.error) == ("a", None)
        await anyio.wait_all_tasks_blocked()  # the listener is closed a moment later
        with pytest.raises(OpenError):
            await it.client()


async def test_two_dialled_ends_have_one_session_if_nothing_is_waited_for() -> None:
    async with (
        serialnet.listen("tcp://127.0.0.1:0") as a,
        serialnet.listen("tcp://127.0.0.1:0") as b,
        linking(a.urls[0], b.urls[0], wait=False) as it,
    ):
        assert it.link.urls == []
        client, port = await a.accept(), await b.accept()
        await is_through(client, port)
        await port.aclose()
        await client.aclose()
        assert (await it.link.wait()).by == "b"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


async def test_a_dialled_end_that_is_not_there_is_waited_for() -> None:
    url = f"tcp://127.0.0.1:{free_port()}"
    async with linking(b=url, reconnect=SOON) as it:
        client = await it.client()
        await client.send(b"early")
        async with serialnet.listen(url) as there:
            port = await there.accept()
            assert await port.receive() == b"early"
            await port.aclose()
        await client.aclose()


async def test_two_dialled_ends_are_dialled_again_and_again() -> None:
    url = f"tcp://127.0.0.1:{free_port()}"
    async with serialnet.listen("tcp://127.0.0.1:0") as a, linking(a.urls[0], url, reconnect=SOON):
        for _ in range(3):
            async with serialnet.listen(url) as b:
                client, port = await a.accept(), await b.accept()
                await is_through(client, port)
                await client.aclose()
                await port.aclose()


async def test_a_port_stays_open_while_its_stream_is_dialled_again(ports: list[FakePort]) -> None:
    async with serialnet.listen("tcp://127.0.0.1:0") as a, linking(a.urls[0], "fake:", reconnect=SOON):
        for _ in range(3):
            async with await a.accept() as client:
                await client.send(b"x")
                while not ports:  # noqa: ASYNC110
                    await anyio.sleep(0.001)
                await ports[0].until(lambda: ports[0].written.endswith(b"x"))
                ports[0].log.clear()
        assert len(ports) == 1
        ports[0].end(anyio.BrokenResourceError("unplugged"))
        async with await a.accept() as client:
            await client.send(b"y")
            while len(ports) == 1:  # noqa: ASYNC110
                await anyio.sleep(0.001)
            await ports[1].until(lambda: ports[1].written == b"y")
    assert all(port.closed for port in ports)


async def test_a_session_outlives_its_port(ports: list[FakePort]) -> None:
    async with linking(b="fake:", reconnect=SOON) as it:
        async with await it.client() as client:
            await client.send(b"x")
            while not ports:  # noqa: ASYNC110
                await anyio.sleep(0.001)
            await ports[0].until(lambda: ports[0].written == b"x")
            ports[0].end(anyio.BrokenResourceError("unplugged"))
            while len(ports) == 1:  # noqa: ASYNC110
                await anyio.sleep(0.001)
            ports[1].feed(b"back")
            assert await client.receive() == b"back"
        await ports[1].until(lambda: ports[1].closed)
    assert it.link.stats.sessions == 1


@pytest.mark.parametrize("scheme", ["tcp", "rfc2217"])
async def test_a_session_is_held_for_as_long_as_its_port_is_away(
    scheme: str, ports: list[FakePort], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge, "HANG_UP_CHECK", 0.01)
    monkeypatch.setattr(bridge, "PROGRESS_CHECK", 0.01)
    listen = f"listen:{scheme}://127.0.0.1:0"
    async with linking(listen, "fake:", reconnect=Reconnect(0.3, 0.3)) as it:
        async with await it.client() as client:
            await client.send(b"x")
            await until(lambda: bool(ports))
            await ports[0].until(lambda: ports[0].written == b"x")
            ports[0].end(anyio.BrokenResourceError("unplugged"))
            await ports[0].until(lambda: ports[0].closed)
            # Before it is tried again, it is looked ten times and more who has gone.
            await until(lambda: len(ports) == 2)
            ports[1].feed(b"back")
            assert await client.receive() == b"back"
        await it.tells(SessionStarted)
        assert (await it.tells(SessionEnded)).end.error is None


@pytest.mark.parametrize("access", [Access(["192.0.2.0/24"]), Access()])
async def test_who_may_not_come_in(access: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Access, "permits", lambda self, peer: False)
    async with serialnet.link(LISTEN, "loop:", access=access) as link:
        await is_refused(await serialnet.connect(link.urls[0]))
        assert (link.stats.refused, link.stats.sessions) == (1, 0)


@pytest.mark.parametrize(
    ("a", "b", "error", "message"),
    [
        ("nonsense:", "loop:", EndpointError, "no transport 'nonsense'"),
        (LISTEN, "nonsense:", EndpointError, "no transport 'nonsense'"),
        ("listen:tcp://0.0.0.0:0", "loop:", EndpointError, "anybody on the network"),
        (*["listen:rfc2217://127.0.0.1:0"] * 2, EndpointError, "both ask for line changes"),
        (LISTEN, "listen:loop:", EndpointError, "cannot listen"),
        ("loop:", "tcp://127.0.0.1:1", OpenError, "cannot connect"),
    ],
)
async def test_what_cannot_be_linked(a: str, b: str, error: type[Exception], message: str) -> None:
    before = descriptors()
    with pytest.raises(error, match=message):
        async with serialnet.link(a, b, wait=False):
            pass
    assert descriptors() == before


@pytest.mark.parametrize("far", [LISTEN, "loop:"])
async def test_cancelling_it_anywhere_leaves_nothing_open(
    far: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(bridge, "LINGER", 0)
    caplog.set_level(logging.CRITICAL)

    async def run() -> None:
        async with (
            serialnet.link(LISTEN, far) as link,
            link.events() as events,
            serialnet.connect(link.urls[0]),
            serialnet.connect(link.urls[-1]),
        ):
            async for event in events:
                if isinstance(event, SessionStarted):
                    break

    await run()
    before = descriptors()
    assert await cancelled_everywhere(run) > 10
    assert descriptors() == before
