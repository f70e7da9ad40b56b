"""``relay``: boards and clients that meet in any order, and everybody who must not get in."""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import anyio
import pytest

import serialnet
import serialnet.serving.relay
from serialnet import (
    Access,
    BoardLost,
    BoardRegistered,
    ClientConnected,
    ClientLeft,
    ClientPaired,
    ClientParted,
    ClientRefused,
    EndpointError,
    Listener,
    OpenError,
    PortBusyError,
    Relay,
    RelayEvent,
    Transport,
    TransportAttribute,
)
from serialnet.bridge import bridge
from serialnet.serving import _guest
from serialnet.serving._throttle import MOST_SOURCES, Throttle
from serialnet.serving.tokens import read_tokens
from serialnet.transports import relay as transports_relay
from serialnet.transports._dialogue import Dialogue
from serialnet.values.reconnect import Reconnect
from serialnet.wire.relay import RelayClient, Role, Welcomed

from ..fake_ends import cancelled_everywhere, descriptors

E = TypeVar("E", bound=RelayEvent)

TOKEN = "a token of the tests'"
# The function hides the module of its name.
relay_module = sys.modules["serialnet.serving.relay"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "LINGER", 0.02)
    monkeypatch.setattr(transports_relay, "RECONNECT", Reconnect(0.01, 0.05))


class Watched:
    """A relay and what it tells."""

    def __init__(self, relay: Relay, events: AsyncIterator[RelayEvent]) -> None:
        self.relay = relay
        self._events = events

    @property
    def stream_url(self) -> str:
        return self.relay.urls[0]

    def url(self, name: str = "lab", token: str = TOKEN) -> str:
        return f"relay+{self.stream_url}/{name}?token={token}"

    async def tells(self, kind: type[E]) -> E:
        """Wait for an event of some kind, whatever comes before it."""
        while not isinstance(event := await anext(self._events), kind):
            pass
        return event

    async def client(self, name: str = "lab") -> Transport:
        return await serialnet.connect(self.url(name))

    async def raw_client(self, name: str = "lab") -> Transport:
        return await serialnet.connect(self.relay.exposed[name][0])

    @asynccontextmanager
    async def board(self, name: str = "lab") -> AsyncIterator[Board]:
        async with (
            serialnet.listen(self.url(name)) as listener,
            anyio.create_task_group() as tasks,
        ):
            await self.tells(BoardRegistered)
            yield Board(listener)
            tasks.cancel_scope.cancel()


class Board:
    """A board's end. It accepts one client after the other, as ``serve`` does."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener

    async def accept(self) -> Transport:
        with anyio.fail_after(5):
            return await self.listener.accept()


@asynccontextmanager
async def relaying(
    *, wait: float = 5.0, port: str = "0", tokens: str | dict[str, str] = TOKEN
) -> AsyncIterator[Watched]:
    with anyio.fail_after(15):
        async with (
            serialnet.relay(
                f"tcp://127.0.0.1:{port}",
                tokens=tokens,
                expose={"lab": "tcp://127.0.0.1:0"},
                wait=wait,
            ) as relay,
            relay.events() as events,
        ):
            yield Watched(relay, events)


async def both(*steps: object) -> list[object]:
    """Run some awaitables at once, and return what they returned."""
    results: list[object] = [None] * len(steps)

    async def run(index: int) -> None:
        results[index] = await steps[index]  # type: ignore[misc]

    async with anyio.create_task_group() as tasks:
        for index in range(len(steps)):
            tasks.start_soon(run, index)
    return results


async def is_through(a: Transport, b: Transport) -> None:
    for source, sink in ((a, b), (b, a)):
        await source.send(b"through")
        assert await sink.receive() == b"through"


async def has_ended(stream: Transport) -> None:
    with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
        await stream.receive()
    await stream.aclose()


async def pair(it: Watched, board: Board, client: str = "client") -> tuple[Transport, Transport]:
    at_client, at_board = await both(getattr(it, client)(), board.accept())
    assert isinstance(at_client, Transport)
    assert isinstance(at_board, Transport)
    await it.tells(ClientPaired)
    return at_client, at_board


# The orders in which they come: socat's relay refuses its second listener until the first has a client,
# gives old bytes to the next client, splits the stream between two, and is dead once the first has left.


@pytest.mark.parametrize("client", ["client", "raw_client"])
async def test_board_first_again_and_again(client: str) -> None:
    async with relaying() as it, it.board() as board:
        for _ in range(3):
            at_client, at_board = await pair(it, board, client)
            assert str(at_board.extra(TransportAttribute.peer)).startswith("relay:127.0.0.1:")
            await is_through(at_client, at_board)
            await at_client.aclose()
            await has_ended(at_board)
            assert (await it.tells(ClientParted)).name == "lab"
        stats = it.relay.stats
        assert (stats.sessions, stats.refused) == (3, 0)
        assert stats.bytes_to_boards == stats.bytes_from_boards == 21


@pytest.mark.parametrize("client", ["client", "raw_client"])
async def test_client_first(client: str) -> None:
    async with relaying() as it, anyio.create_task_group() as tasks:

        async def come() -> None:
            at_client: Transport = await getattr(it, client)()
            await at_client.send(b"early")
            assert await at_client.receive() == b"late"
            await at_client.aclose()

        tasks.start_soon(come)
        while not it.relay._places:  # noqa: ASYNC110  # the relay tells nobody that a client waits
            await anyio.sleep(0.01)
        async with it.board() as board:
            at_board = await board.accept()
            assert await at_board.receive() == b"early"
            await at_board.send(b"late")
            await has_ended(at_board)


async def test_both_at_once() -> None:
    async with relaying() as it, anyio.create_task_group() as tasks:

        async def serve() -> None:
            async with serialnet.serve("loop:", it.url()):
                await anyio.sleep_forever()

        tasks.start_soon(serve)
        async with serialnet.connect(it.url()) as client:
            await client.send(b"x")
            assert await client.receive() == b"x"
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("wait", [0.0, 0.05])
async def test_a_board_that_is_not_there(wait: float) -> None:
    async with relaying(wait=wait) as it:
        with pytest.raises(OpenError, match="lab is not there") as caught:
            await it.client()
        assert not isinstance(caught.value, PortBusyError)
        assert (await it.tells(ClientRefused)).reason == "lab is not there"
        await has_ended(await it.raw_client())
        await it.tells(ClientRefused)
        assert not it.relay._places


@pytest.mark.parametrize("first", ["client", "raw_client"])
async def test_a_second_and_a_third_are_refused_at_once(first: str) -> None:
    async with relaying() as it, it.board() as board:
        at_client, at_board = await pair(it, board, first)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(board.listener.accept)  # the board is ready for more; the relay is not
            await it.tells(BoardRegistered)
            with pytest.raises(PortBusyError, match="uses lab"):
                await it.client()
            assert "uses lab" in (await it.tells(ClientRefused)).reason
            await has_ended(await it.raw_client())
            await it.tells(ClientRefused)
            await is_through(at_client, at_board)
            tasks.cancel_scope.cancel()
        await at_client.aclose()
        await at_board.aclose()


async def test_a_second_who_waits_is_refused_and_takes_the_place_of_one_who_has_left() -> None:
    async with relaying() as it:
        gone = await it.raw_client()
        while not it.relay._places:  # noqa: ASYNC110  # the relay tells nobody that a client waits
            await anyio.sleep(0.01)
        with pytest.raises(PortBusyError, match="waits for lab already"):
            await it.client()
        await it.tells(ClientRefused)
        await gone.aclose()
        stays = await it.raw_client()
        await anyio.wait_all_tasks_blocked()
        async with it.board() as board:
            at_board = await board.accept()
            await it.tells(ClientPaired)
            await is_through(stays, at_board)
            await stays.aclose()
            await at_board.aclose()


async def test_the_board_leaves_and_comes_back() -> None:
    async with relaying() as it:
        for _ in range(2):
            async with it.board() as board:
                at_client, at_board = await pair(it, board)
                await at_board.send(b"last words")
                await at_board.aclose()
                assert await at_client.receive() == b"last words"
                await has_ended(at_client)
                await it.tells(ClientParted)
        async with it.board():
            pass
        await it.tells(BoardLost)


async def test_nothing_of_one_session_reaches_the_next() -> None:
    async with relaying() as it, it.board() as board:
        at_client, at_board = await pair(it, board)
        await at_client.aclose()
        with pytest.raises(anyio.BrokenResourceError):
            await at_board.send(b"a boot log that nobody reads\r\n" * 1_000_000)
        await at_board.aclose()
        await it.tells(ClientParted)
        at_client, at_board = await pair(it, board)
        await is_through(at_client, at_board)
        await at_client.aclose()
        await at_board.aclose()


async def test_many_boards() -> None:
    async with relaying() as it, anyio.create_task_group() as tasks:
        names = [f"board-{number}" for number in range(20)]
        for name in names:
            await tasks.start(serve_loop, it.url(name))
        clients = [await it.client(name) for name in names]
        for name, client in zip(names, clients, strict=True):
            await client.send(name.encode())
        for name, client in zip(names, clients, strict=True):
            assert await client.receive() == name.encode()
            await client.aclose()
        tasks.cancel_scope.cancel()


async def serve_loop(url: str, *, task_status: anyio.abc.TaskStatus[None]) -> None:
    async with serialnet.serve("loop:", url) as server:
        task_status.started()
        await server.wait()


async def test_the_boards_end_learns_who_comes_and_goes() -> None:
    async with (
        relaying() as it,
        serialnet.serve("loop:", f"rfc2217+{it.url()}") as server,
        server.events() as events,
    ):
        assert server.urls == [f"rfc2217+relay+{it.stream_url}/lab?token=***".replace("+tcp:", ":")]
        async with serialnet.connect(f"rfc2217+{it.url()}&baudrate=9600") as client:
            assert isinstance(await anext(events), ClientConnected)
            assert client.line is not None
        assert isinstance(await anext(events), ClientLeft)


# Losses


async def test_a_registration_survives_restarts_of_the_relay(caplog: pytest.LogCaptureFixture) -> None:
    async with relaying() as it:
        port = it.stream_url.rpartition(":")[2]
        url = it.url()
    async with anyio.create_task_group() as tasks:
        await tasks.start(serve_loop, url)  # the relay is not there yet
        for in_session in (False, True):
            async with relaying(port=port) as it:
                await it.tells(BoardRegistered)
                client = await it.client()
                await client.send(b"x")
                assert await client.receive() == b"x"
                if not in_session:
                    await client.aclose()
                # it stops, perhaps in the middle of a session
            if in_session:
                await has_ended(client)
        async with relaying(port=port) as it, await it.client() as client:
            await client.send(b"x")
            assert await client.receive() == b"x"
        tasks.cancel_scope.cancel()
    outages = [record for record in caplog.records if "dialling again" in record.getMessage()]
    assert 1 <= len(outages) <= 4  # each once
    assert TOKEN not in caplog.text


async def a_deaf_board(it: Watched) -> Transport:
    """Register, and never say a word again."""
    stream = await serialnet.connect(it.stream_url)
    dialogue = Dialogue(stream, RelayClient(Role.REGISTER, "lab", TOKEN))
    assert await dialogue.next_event() == Welcomed()
    await it.tells(BoardRegistered)
    return stream


async def test_a_name_is_taken_while_its_board_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_guest, "ANSWER", 0.2)
    async with relaying() as it:
        async with it.board() as board, anyio.create_task_group() as tasks:
            tasks.start_soon(board.listener.accept)
            with pytest.raises(PortBusyError, match="another board waits as lab"):
                await serialnet.listen(it.url())
            await it.tells(ClientRefused)
            tasks.cancel_scope.cancel()
        await it.tells(BoardLost)
        deaf = await a_deaf_board(it)
        async with serialnet.serve("loop:", it.url()), await it.client() as client:
            await it.tells(BoardLost)
            await client.send(b"x")
            assert await client.receive() == b"x"
        await deaf.aclose()


async def test_a_dead_board_is_no_board(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither for a client that is there already, nor for one that comes later."""
    monkeypatch.setattr(_guest, "ANSWER", 0.1)
    async with relaying(wait=0) as it:
        deaf = await a_deaf_board(it)
        with pytest.raises(OpenError, match="lab is not there"):
            await it.client()
        await it.tells(BoardLost)
        await deaf.aclose()
        monkeypatch.setattr(_guest, "HEARTBEAT", 0.1)
        deaf = await a_deaf_board(it)
        await it.tells(BoardLost)
        assert await deaf.receive() == b"ping\n"
        await has_ended(deaf)


async def test_who_waits_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_guest, "HEARTBEAT", 0.01)
    monkeypatch.setattr(transports_relay, "SILENCE", 0.5)
    async with relaying() as it, it.board() as board:
        with anyio.move_on_after(0.7):  # longer than what silence may last
            await board.accept()
        at_client, at_board = await pair(it, board)  # and a cancelled accept has lost nothing
        await is_through(at_client, at_board)
        assert it.relay.stats.registrations == 1
        await at_client.aclose()
        await at_board.aclose()


async def test_a_silent_relay_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transports_relay, "HANDSHAKE_TIMEOUT", 0.05)
    async with serialnet.listen("tcp://127.0.0.1:0") as silent:
        url = f"relay+{silent.urls[0]}/lab?token={TOKEN}"
        with pytest.raises(OpenError, match=r"no word of a relay for 0\.05 s"):
            await serialnet.connect(url)
        async with serialnet.listen(url) as listener:  # it may be there later
            assert listener.urls == [url.replace("+tcp:", ":").replace(TOKEN, "***")]


async def test_closing_a_listener_ends_its_accept() -> None:
    async with relaying() as it, anyio.create_task_group() as tasks:
        listener = await serialnet.listen(it.url())

        async def accept() -> None:
            with pytest.raises(anyio.ClosedResourceError):
                await listener.accept()

        tasks.start_soon(accept)
        await anyio.wait_all_tasks_blocked()
        await listener.aclose()


# Those who must not get in


@pytest.mark.parametrize("name", ["lab", "nobody"])
async def test_wrong_tokens_are_refused_and_then_not_even_heard(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    guess = "guess of a token"
    async with relaying(tokens={"lab": TOKEN}) as it, it.board() as board:
        for _ in range(10):
            with pytest.raises(OpenError, match="no board has that name and token") as caught:
                await serialnet.connect(it.url(name, guess))
            assert guess not in str(caught.value)
            await it.tells(ClientRefused)
        with pytest.raises(OpenError, match="hung up"):
            await it.client()
        assert it.relay.stats.refused == 11
        # Who was there already is not concerned.
        at_client, at_board = await pair(it, board, "raw_client")
        await is_through(at_client, at_board)
        await at_client.aclose()
        await at_board.aclose()
    assert guess not in caplog.text
    assert TOKEN not in caplog.text
    assert "a wrong token for" in caplog.text


async def test_a_board_with_a_wrong_token_is_told() -> None:
    async with relaying() as it:
        with pytest.raises(OpenError, match="no board has that name and token"):
            await serialnet.listen(it.url(token="wrong"))


async def test_another_relay_is_told_from_ours() -> None:
    async with relaying(tokens="what an impostor has") as it:
        with pytest.raises(OpenError):
            await it.client()


async def test_slow_strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "HANDSHAKE", 0.3)
    async with relaying() as it:
        strangers = [await serialnet.connect(it.stream_url) for _ in range(16)]
        for stranger in strangers:
            await stranger.send(b"s")
        await anyio.wait_all_tasks_blocked()
        one_too_many = await serialnet.connect(it.stream_url)
        await has_ended(one_too_many)
        assert it.relay.stats.refused == 1
        for stranger in strangers:
            await has_ended(stranger)
        assert it.relay.stats.refused == 17
        assert not it.relay._handshakes


@pytest.mark.parametrize(
    "noise", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\xff" * 100_000, b"\n", b"\x16\x03"]
)
async def test_noise(noise: bytes) -> None:
    async with relaying() as it:
        stranger = await serialnet.connect(it.stream_url)
        try:
            await stranger.send(noise)
            await stranger.send_eof()
        except anyio.BrokenResourceError:
            pass
        await has_ended(stranger)
        await it.tells(ClientRefused)


async def test_there_are_so_many_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "MOST_CONNECTIONS", 1)
    async with relaying() as it, it.board():
        with pytest.raises(OpenError, match="the relay is full"):
            await it.client()
        await has_ended(await it.raw_client())
        assert it.relay.stats.refused == 2


def test_the_throttle_forgets() -> None:
    throttle = Throttle(most=3, interval=5)
    for _ in range(3):
        assert not throttle.blocks("192.0.2.1:1", 100)
        throttle.fail("192.0.2.1:1", 100)
    assert throttle.blocks("192.0.2.1:2", 100)  # another port, the same source
    assert throttle.blocks("[::ffff:192.0.2.1]:2", 100)
    assert not throttle.blocks("192.0.2.2:1", 100)
    assert not throttle.blocks("192.0.2.1:1", 105)
    throttle.fail("[2001:db8::1]:1", 100)
    for _ in range(2):
        throttle.fail("[2001:db8::2]:1", 100)
    assert throttle.blocks("[2001:db8::3]:1", 100)  # a whole /64 is one's own
    assert not throttle.blocks("[2001:db8:0:1::3]:1", 100)
    for number in range(2 * MOST_SOURCES):
        throttle.fail(f"10.0.{number // 256}.{number % 256}:1", 100)
    assert len(throttle._sources) == MOST_SOURCES
    for peer in ("unix:pid=1,uid=0", "a client"):
        throttle.fail(peer, 100)


def test_a_wrong_token_now_and_then_is_not_throttled() -> None:
    """A machine that dials again every 10 s must not take its neighbours behind the same NAT with it."""
    throttle = Throttle()
    for number in range(1000):
        throttle.fail("192.0.2.1:1", 7.5 * number)
        assert not throttle.blocks("192.0.2.1:1", 7.5 * number)


# What cannot be used


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tokens": "short"}, "expected tokens of 16"),
        ({"tokens": {}}, "the token of one board"),
        ({"tokens": {"a b": TOKEN}}, "expected names of letters"),
        ({"tokens": {"other": TOKEN}}, "'lab' cannot be exposed"),
        ({"expose": {"lab": "rfc2217://127.0.0.1:0"}}, "expected a plain stream"),
        ({"expose": {"lab": "relay://127.0.0.1:1/x?token=x"}}, "expected a plain stream"),
        ({"expose": {"lab": "tcp://0.0.0.0:0"}}, "anybody on the network"),
        ({"expose": {"lab": "nonsense:"}}, "no transport"),
        ({"wait": -1}, "wait must be"),
        ({"wait": float("nan")}, "wait must be"),
    ],
)
async def test_what_cannot_be_relayed(arguments: dict[str, object], message: str) -> None:
    given: dict[str, object] = {"tokens": TOKEN, "expose": {"lab": "tcp://127.0.0.1:0"}, **arguments}
    with pytest.raises(EndpointError, match=message) as caught:
        async with serialnet.relay("tcp://127.0.0.1:0", **given):  # type: ignore[arg-type]
            pass
    assert TOKEN not in str(caught.value)


async def test_a_public_relay_has_no_encryption_and_so_needs_a_word() -> None:
    with pytest.raises(EndpointError, match="anybody on the network"):
        async with serialnet.relay("tcp://0.0.0.0:0", tokens=TOKEN):
            pass
    async with serialnet.relay("tcp://0.0.0.0:0", tokens=TOKEN, access=Access(["192.0.2.0/24"])):
        pass


async def test_to_dial_a_relay_exposes_nothing_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transports_relay, "RECONNECT", Reconnect(60, 60))
    async with serialnet.serve(
        "loop:", f"rfc2217+relay://192.0.2.1:9/lab?token={TOKEN}&connect_timeout=0.01"
    ):
        pass


@pytest.mark.parametrize("with_", [serialnet.connect, serialnet.listen])
@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("relay://127.0.0.1:1?token=x", "expected relay://HOST:PORT/NAME"),
        ("relay://127.0.0.1:1/a/b?token=x", "expected relay://HOST:PORT/NAME"),
        ("relay://127.0.0.1:1/lab?name=lab&token=x", "not both"),
        ("relay://127.0.0.1:1/lab", "expected a token"),
        ("relay://127.0.0.1/lab?token=x", r"expected relay://HOST:PORT"),
    ],
)
async def test_wrong_urls(with_: object, url: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SERIALNET_TOKEN", raising=False)
    with pytest.raises(EndpointError, match=message):
        await with_(url)  # type: ignore[operator]


async def test_the_token_may_stand_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERIALNET_TOKEN", TOKEN)
    async with (
        relaying() as it,
        serialnet.serve("loop:", it.url(token="")),
        serialnet.connect(it.url(token="")) as client,
    ):
        assert TOKEN not in client.extra(TransportAttribute.url)


async def test_over_a_unix_socket(tmp_path: Path) -> None:
    path = f"{tmp_path}/relay"
    url = f"relay+unix://{path}?name=lab&token={TOKEN}"
    async with (
        serialnet.relay(f"unix://{path}", tokens=TOKEN),
        serialnet.serve("loop:", url),
        serialnet.connect(url) as client,
    ):
        await client.send(b"x")
        assert await client.receive() == b"x"


def test_files_of_tokens(tmp_path: Path) -> None:
    path = tmp_path / "tokens"

    def write(text: str, mode: int = 0o600) -> None:
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)

    write(f"# the lab\nlab {TOKEN.replace(' ', '_')}\n\nother x\n")
    assert read_tokens(str(path)) == {"lab": TOKEN.replace(" ", "_"), "other": "x"}
    for text, mode, message in (
        ("lab x", 0o640, "is open to other users: chmod 600"),
        ("lab", 0o600, "line 1: expected NAME TOKEN"),
        ("lab x\nlab y", 0o600, "line 2: expected NAME TOKEN"),
        ("lab \xe9", 0o600, "it is not ASCII"),
    ):
        write(text, mode)
        with pytest.raises(EndpointError, match=message):
            read_tokens(str(path))
    with pytest.raises(EndpointError, match="cannot read"):
        read_tokens(f"{path}.absent")


async def test_cancelling_it_anywhere_leaves_nothing_open(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(bridge, "LINGER", 0)
    caplog.set_level(logging.CRITICAL)

    async def run() -> None:
        async with serialnet.relay("tcp://127.0.0.1:0", tokens=TOKEN) as relay:
            url = f"relay+{relay.urls[0]}/lab?token={TOKEN}"
            async with serialnet.serve("loop:", url), serialnet.connect(url) as client:
                await client.send(b"x")
                assert await client.receive() == b"x"

    await run()
    before = descriptors()
    assert await cancelled_everywhere(run) > 10
    assert descriptors() == before
