"""One port, several clients: a writer, watchers, and who comes next."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import re
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio.lowlevel import checkpoint

import serialnet
from serialnet import (
    BridgeEnd,
    ClientConnected,
    ClientLeft,
    Endpoint,
    EndpointError,
    Gap,
    GapPolicy,
    Hook,
    Inputs,
    InputsChanged,
    LineSettings,
    Listener,
    NextWriter,
    OpenError,
    Purge,
    Role,
    Server,
    SettingsChanged,
    Sharing,
    SlowWatcher,
    Transport,
)
from serialnet.bridge import bridge
from serialnet.chips import Board
from serialnet.core.options import NoOptions
from serialnet.serving import _console_log, _session, _turns
from serialnet.transports.sim import SimulatedTransport

from ..fake_ends import FakePort, cancelled_everywhere, descriptors
from .test_kept import SOON, Cable

RAW = "tcp://127.0.0.1:0"
RFC2217 = "rfc2217://127.0.0.1:0"
WATCH = "tcp://127.0.0.1:0?role=watch"
WATCH_RFC2217 = "rfc2217://127.0.0.1:0?role=watch"


@pytest.fixture(autouse=True)
def linger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "LINGER", 0.02)


@asynccontextmanager
async def serving(port: FakePort, *urls: str, **options: object) -> AsyncIterator[Server]:
    async with serialnet.serve(port, *urls, **options) as server:  # type: ignore[arg-type]
        yield server


async def until(done: Callable[[], object]) -> None:
    with anyio.fail_after(10):
        while not done():  # noqa: ASYNC110  # there is no event
            await anyio.sleep(0.005)


async def receives(client: Transport, expected: bytes) -> None:
    """Check that a client receives this, and this first."""
    received = b""
    with anyio.fail_after(10):
        while len(received) < len(expected):
            received += await client.receive(len(expected) - len(received))
    assert received == expected


async def is_over(client: Transport) -> bytes:
    """Check that a client is disconnected; return what it was told before."""
    told = b""
    with anyio.fail_after(10), contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
        while True:
            told += await client.receive()
    return told


async def test_watchers_see_all_that_the_port_says() -> None:
    port = FakePort()
    async with (
        serving(port, RAW, WATCH) as server,
        serialnet.connect(server.urls[1]) as early,
        serialnet.connect(server.urls[0]) as writer,
        serialnet.connect(server.urls[1]) as late,
    ):
        await until(lambda: server.stats.watchers == 2 and server.stats.sessions == 1)
        port.feed(b"one")
        for client in (early, writer, late):
            await receives(client, b"one")
        await writer.aclose()
        await until(lambda: server._seat.session is None)
        port.feed(b"two")
        for client in (early, late):
            await receives(client, b"two")
        assert server.stats.bytes_discarded == 0


async def test_what_a_watcher_sends_is_thrown_away() -> None:
    port = FakePort()
    async with (
        serving(port, RAW, WATCH) as server,
        serialnet.connect(server.urls[0]) as writer,
        serialnet.connect(server.urls[1]) as watcher,
    ):
        await watcher.send(b"never")
        await until(lambda: server.stats.watchers == 1)
        await writer.send(b"ever")
        await port.until(lambda: port.written)
        port.feed(b"said")
        await receives(watcher, b"said")
        assert port.written == b"ever"


async def test_a_watcher_asks_for_a_virtual_line_and_hears_of_the_real_one() -> None:
    port = FakePort()
    async with (
        serving(port, RFC2217, WATCH_RFC2217) as server,
        serialnet.connect(server.urls[0]) as writer,
        serialnet.connect(server.urls[1]) as watcher,
    ):
        assert writer.line is not None
        assert watcher.line is not None
        asked = LineSettings(baudrate=9600)
        assert await watcher.line.configure(asked) == asked
        assert (await watcher.line.set_outputs(dtr=True)).dtr
        await watcher.line.purge(Purge.BOTH)
        assert port.log == []
        async with watcher.line.events() as events:
            with anyio.fail_after(10):
                assert await anext(events) == InputsChanged(Inputs(), Inputs())
                await until(lambda: port.fake_line.watchers == 2)  # the writer's session, and all watchers'
                port.fake_line.happen(InputsChanged(Inputs(), Inputs(cts=True)))
                port.fake_line.happen(InputsChanged(Inputs(), Inputs(cts=True)))
                assert await anext(events) == InputsChanged(Inputs(), Inputs(cts=True))
                await writer.line.configure(LineSettings(baudrate=57600))
                while watcher.line.settings.baudrate != 57600:
                    assert isinstance(await anext(events), SettingsChanged)
    assert port.fake_line.watchers == 0


async def test_masks_are_each_client_s_own() -> None:
    """One masks all, another has the mask that a session begins with."""
    port = FakePort()
    async with (
        serving(port, WATCH_RFC2217) as server,
        serialnet.connect(server.urls[0].replace("rfc2217", "tcp")) as deaf,
        serialnet.connect(server.urls[0].replace("rfc2217", "tcp")) as hearing,
    ):
        negotiation = bytes((255, 251, 44))  # WILL COM-PORT-OPTION
        await deaf.send(negotiation + bytes((255, 250, 44, 11, 0, 255, 240)))
        await hearing.send(negotiation)
        acknowledged, told = bytes((255, 250, 44, 111, 0, 255, 240)), bytes((255, 250, 44, 107))
        heard = {deaf: b"", hearing: b""}

        async def hear(client: Transport) -> None:
            while True:
                heard[client] += await client.receive()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hear, deaf)
            tasks.start_soon(hear, hearing)
            await until(lambda: acknowledged in heard[deaf] and told in heard[hearing])
            await until(lambda: port.fake_line.watchers == 1)
            heard[deaf] = heard[hearing] = b""
            port.fake_line.happen(InputsChanged(Inputs(), Inputs(cts=True)))
            await until(lambda: told in heard[hearing])
            port.feed(b"mark")
            await until(lambda: b"mark" in heard[deaf])
            assert told not in heard[deaf]
            tasks.cancel_scope.cancel()


# Watchers that do not keep up


async def test_a_slow_watcher_loses_the_oldest_and_nobody_else_does() -> None:
    port = FakePort()
    async with (
        serving(port, RAW, WATCH, sharing=Sharing(buffer=20_000)) as server,
        serialnet.connect(server.urls[0]) as writer,
        serialnet.connect(server.urls[1]) as slow,
        serialnet.connect(server.urls[1]) as fast,
    ):
        await until(lambda: server.stats.watchers == 2 and server.stats.sessions == 1)
        expected = b""
        while not server.stats.bytes_missed:
            port.feed(piece := bytes(range(256)) * 64)
            expected += piece
            await receives(writer, piece)
            await receives(fast, piece)
        port.feed(b"the end")
        received = b""
        with anyio.fail_after(10):
            while not received.endswith(b"the end"):
                received += await slow.receive()
        assert len(received) + server.stats.bytes_missed == len(expected) + len(b"the end")


async def test_a_slow_watcher_is_dropped_if_that_is_wanted() -> None:
    port = FakePort()
    sharing = Sharing(buffer=1000, slow_watcher=SlowWatcher.DROP)
    async with (
        serving(port, RAW, WATCH, sharing=sharing) as server,
        server.events() as events,
        serialnet.connect(server.urls[1]) as slow,
    ):
        left: list[ClientLeft] = []

        async def listen() -> None:
            async for event in events:
                if isinstance(event, ClientLeft):
                    left.append(event)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listen)
            await until(lambda: server.stats.watchers)
            while not left:
                port.feed(bytes(65536))
                await until(lambda: left or not port.incoming)
            tasks.cancel_scope.cancel()
        assert left[0].role is Role.WATCH
        assert "did not keep up" in left[0].end.reason
        await is_over(slow)


async def test_more_watchers_than_may_watch_are_refused() -> None:
    async with (
        serving(FakePort(), WATCH, sharing=Sharing(most_watchers=1)) as server,
        serialnet.connect(server.urls[0]),
        serialnet.connect(server.urls[0]) as second,
    ):
        assert not await is_over(second)
        assert (server.stats.watchers, server.stats.refused) == (1, 1)


async def test_a_stalled_writer_holds_the_port_back_for_a_while_only() -> None:
    port = FakePort()
    async with (
        serving(port, RAW, WATCH, sharing=Sharing(patience=0.2)) as server,
        serialnet.connect(server.urls[0]) as writer,
    ):
        await writer.send(b"here")
        await port.until(lambda: port.written)
        port.feed(bytes(16 << 20))
        await until(lambda: len(port.incoming) < 16 << 20)
        await anyio.sleep(0.5)  # nobody watches: it may hold the port back
        assert port.incoming
        async with serialnet.connect(server.urls[1]) as watcher:
            seen = 0
            with anyio.fail_after(30):
                while port.incoming or server._seat.session is not None:
                    seen += len(await watcher.receive())
            assert seen
        await is_over(writer)


# Replay


async def test_a_late_watcher_first_gets_what_it_missed() -> None:
    port = FakePort()
    async with serving(port, RAW, WATCH + "&replay=10", WATCH) as server:
        port.feed(b"0123456789abcdef")
        await until(lambda: not port.incoming)
        async with serialnet.connect(server.urls[0]) as writer:
            await until(lambda: server.stats.sessions and not port.incoming)
            port.feed(b"ghi")
            await receives(writer, b"ghi")
            async with (
                serialnet.connect(server.urls[1]) as late,
                serialnet.connect(server.urls[2]) as without,
            ):
                await until(lambda: server.stats.watchers == 2)
                port.feed(b"jkl")
                await receives(late, b"9abcdefghijkl")
                await receives(without, b"jkl")


async def test_a_writer_first_gets_what_it_missed_and_then_all_that_follows() -> None:
    port = FakePort()
    async with serving(port, RAW + "?replay=10", sharing=Sharing(NextWriter.BORROW)) as server:
        port.feed(b"0123456789abcdef")
        await until(lambda: not port.incoming)
        async with serialnet.connect(server.urls[0]) as writer:
            await receives(writer, b"6789abcdef")
            port.feed(b"ghi")
            await receives(writer, b"ghi")
            async with serialnet.connect(
                server.urls[0]
            ) as borrower:  # a flasher is not to see an old boot log
                await until(lambda: server.stats.sessions == 2)
                port.feed(b"jkl")
                await receives(borrower, b"jkl")


async def test_what_is_kept_for_replay_is_bounded() -> None:
    port = FakePort()
    async with serving(port, WATCH + "&replay=1k") as server:
        for _ in range(100):
            port.feed(bytes(1000))
            await until(lambda: not port.incoming)
        assert len(server._console._said) <= 2048


# The next writer


async def test_the_next_writer_is_refused_by_default() -> None:
    port = FakePort()
    async with (
        serving(port, RAW) as server,
        serialnet.connect(server.urls[0]) as first,
        serialnet.connect(server.urls[0]) as second,
    ):
        assert not await is_over(second)
        await first.send(b"still here")
        await port.until(lambda: port.written == b"still here")


async def test_writers_wait_for_their_turn() -> None:
    port = FakePort()
    sharing = Sharing(NextWriter.WAIT, most_waiting=2)
    async with serving(port, RAW, sharing=sharing) as server:
        clients: list[Transport] = []
        for number in range(3):
            clients.append(client := await serialnet.connect(server.urls[0]))
            await client.send(b"%d" % number)
            await until(lambda: server.stats.sessions and len(server._seat._queue) == len(clients) - 1)
        assert port.written == b"0"
        async with serialnet.connect(server.urls[0]) as fourth:
            assert not await is_over(fourth)
        await clients[0].aclose()
        await port.until(lambda: port.written == b"01")
        await clients[1].aclose()
        await port.until(lambda: port.written == b"012")
        await clients[2].aclose()
        assert server.stats.sessions == 3


async def test_who_leaves_while_it_waits_has_no_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_turns, "HANG_UP_CHECK", 0.05)
    port = FakePort()
    async with (
        serving(port, RAW, sharing=Sharing(NextWriter.WAIT)) as server,
        serialnet.connect(server.urls[0]) as first,
    ):
        await first.send(b"first")
        await port.until(lambda: port.written)
        async with serialnet.connect(server.urls[0]):
            await until(lambda: server._seat._queue)
        await until(lambda: not server._seat._queue)
        assert server.stats.sessions == 1


async def test_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        serving(FakePort(), RAW, sharing=Sharing(NextWriter.WAIT, wait=0.05)) as server,
        serialnet.connect(server.urls[0]),
        serialnet.connect(server.urls[0]) as second,
    ):
        assert not await is_over(second)


async def test_a_writer_takes_over_and_the_old_one_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "LINGER", 5)
    port = FakePort()
    async with (
        serving(port, RAW, sharing=Sharing(NextWriter.TAKE_OVER)) as server,
        serialnet.connect(server.urls[0]) as first,
    ):
        await first.send(b"first")
        await port.until(lambda: port.written)
        async with serialnet.connect(server.urls[0]) as second:
            assert b"has taken the port over" in await is_over(first)
            await second.send(b"second")
            await port.until(lambda: port.written == b"firstsecond")
            port.feed(b"for the second")
            await receives(second, b"for the second")


# Borrowing


async def test_a_borrower_suspends_the_writer_and_gives_the_port_back() -> None:
    port = FakePort()
    async with (
        serving(port, RFC2217, RFC2217 + "?role=borrow", WATCH) as server,
        serialnet.connect(server.urls[0]) as monitor,
        serialnet.connect(server.urls[2]) as watcher,
    ):
        assert monitor.line is not None
        own = LineSettings(baudrate=115200)
        await monitor.line.configure(LineSettings(baudrate=74880))
        await monitor.line.configure(own)
        await monitor.line.set_outputs(dtr=True, rts=True)
        port.feed(b"before")
        await receives(monitor, b"before")
        async with serialnet.connect(server.urls[1]) as flasher:
            assert flasher.line is not None
            await flasher.line.configure(LineSettings(baudrate=460800))
            await flasher.line.set_outputs(dtr=False, rts=False)
            await flasher.send(b"flash")
            port.feed(b"flashing")
            await receives(flasher, b"flashing")
            # The monitor goes on with a line of its own, and what it sends waits.
            assert (await monitor.line.set_outputs(rts=False)).rts is False
            await monitor.send(b"typed")
            await anyio.sleep(0.05)
            assert port.written == b"flash"
            assert port.fake_line.settings.baudrate == 460800
            assert monitor.line.settings == own
            with pytest.raises(serialnet.OpenError):
                await serialnet.connect(server.urls[1])
        await port.until(lambda: port.written == b"flashtyped")
        assert port.fake_line.settings == own
        assert (port.fake_line.outputs.dtr, port.fake_line.outputs.rts) == (True, False)
        port.feed(b"after")
        await receives(monitor, b"after")
        await receives(watcher, b"beforeflashingafter")


async def test_what_the_writer_asked_for_as_it_was_suspended_holds_afterwards() -> None:
    port = FakePort()
    arrived, go_on = anyio.Event(), anyio.Event()

    async def wait() -> None:
        arrived.set()
        await go_on.wait()

    async with (
        serving(port, RFC2217, RFC2217 + "?role=borrow") as server,
        serialnet.connect(server.urls[0]) as monitor,
        anyio.create_task_group() as tasks,
    ):
        assert monitor.line is not None
        port.fake_line.waits["configure"] = wait
        tasks.start_soon(monitor.line.configure, LineSettings(baudrate=9600))
        with anyio.fail_after(5):
            await arrived.wait()
        async with serialnet.connect(server.urls[1].replace("rfc2217:", "tcp:")):
            await until(lambda: server._seat.session and server._seat.session.role is Role.BORROW)
            del port.fake_line.waits["configure"]
            go_on.set()
            await until(lambda: server.stats.sessions == 2)
            await port.fake_line.configure(LineSettings(baudrate=460800))
        await until(lambda: server._seat.session and server._seat.session.role is Role.WRITE)
        assert port.fake_line.settings.baudrate == 9600


async def test_the_next_writer_borrows_if_that_is_the_policy() -> None:
    port = FakePort()
    async with (
        serving(port, RAW, sharing=Sharing(NextWriter.BORROW)) as server,
        serialnet.connect(server.urls[0]) as first,
    ):
        await first.send(b"1")
        await port.until(lambda: port.written)
        for _ in range(3):
            async with serialnet.connect(server.urls[0]) as second:
                await second.send(b"2")
                await port.until(lambda: port.written.endswith(b"2"))
                port.feed(b"two")
                await receives(second, b"two")
            await until(lambda: server._seat.session and server._seat.session.role is Role.WRITE)
            port.feed(b"one")
            await receives(first, b"one")
            await first.send(b"1")
            await port.until(lambda: port.written.endswith(b"1"))


async def test_the_monitor_leaves_while_its_port_is_lent() -> None:
    port = FakePort()
    async with serving(port, RFC2217, RFC2217 + "?role=borrow") as server:
        async with serialnet.connect(server.urls[0]) as monitor:
            assert monitor.line is not None
            await monitor.line.configure(LineSettings(baudrate=9600))
            flasher = await serialnet.connect(server.urls[1])
            assert flasher.line is not None
            await flasher.line.configure(LineSettings(baudrate=460800))
        session = server._seat.session
        assert session is not None
        assert session.lender is not None
        with anyio.fail_after(5):
            await session.lender.wait()
        await flasher.send(b"still flashing")
        await port.until(lambda: port.written)
        await flasher.aclose()
        await until(lambda: server._seat.session is None)
        assert port.fake_line.settings.baudrate == 9600
        async with serialnet.connect(server.urls[0]) as next_one:
            await next_one.send(b"next")
            await port.until(lambda: port.written.endswith(b"next"))


async def test_a_port_that_nobody_uses_is_given_back_as_it_was() -> None:
    port = FakePort()
    async with serving(port, RFC2217 + "?role=borrow") as server:
        found = port.fake_line.settings
        async with serialnet.connect(server.urls[0]) as flasher:
            assert flasher.line is not None
            await flasher.line.configure(LineSettings(baudrate=460800))
            assert port.fake_line.settings.baudrate == 460800
        await until(lambda: server._seat.session is None)
        assert port.fake_line.settings == found


@pytest.mark.parametrize("auto_reset", [True, False])
async def test_a_board_restarted_by_the_flasher_is_restarted_for_the_monitor(auto_reset: bool) -> None:
    """At the monitor's baud rate, so that it has the boot log."""
    board = Board("esp32")
    async with (
        SimulatedTransport(board) as port,
        serialnet.serve(port, RFC2217, RFC2217 + "?role=borrow", auto_reset=auto_reset) as server,
        serialnet.connect(server.urls[0]) as monitor,
    ):
        assert monitor.line is not None
        await monitor.line.configure(LineSettings(baudrate=115200))
        async with serialnet.connect(server.urls[1]) as flasher:
            assert flasher.line is not None
            await flasher.line.configure(LineSettings(baudrate=460800))
            await flasher.line.set_outputs(dtr=False, rts=False)
            await flasher.line.set_outputs(rts=True)
            await flasher.line.set_outputs(rts=False)
            await until(lambda: len(board.boots) == 1)
        await until(lambda: port.line.settings.baudrate == 115200)
        if auto_reset:
            log = b""
            with anyio.fail_after(10):
                while b"Hello from a simulated board" not in log:
                    log += await monitor.receive()
            assert log.startswith(b"ets ")
        assert len(board.boots) == 1 + auto_reset


@pytest.mark.parametrize("policy", [NextWriter.BORROW, NextWriter.TAKE_OVER, NextWriter.WAIT])
async def test_whoever_comes_and_goes_watchers_see_it_all(
    policy: NextWriter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_session, "GRACE", 0)
    port = FakePort()
    rng = random.Random(1)
    fed = bytearray()

    async with (
        serving(port, RAW, WATCH, sharing=Sharing(policy)) as server,
        anyio.create_task_group() as tasks,
    ):

        async def speak() -> None:
            while True:
                port.feed(piece := rng.randbytes(rng.randrange(1, 100)))
                fed.extend(piece)
                await anyio.sleep(rng.random() / 1000)

        async def come_and_go() -> None:
            for _ in range(15):
                with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                    async with serialnet.connect(server.urls[0]) as client:
                        await client.send(b"x")
                        for _ in range(rng.randrange(3)):
                            await client.receive()
                await anyio.sleep(rng.random() / 200)

        async with serialnet.connect(server.urls[1]) as watcher:
            await until(lambda: server.stats.watchers)
            with anyio.fail_after(30):
                async with anyio.create_task_group() as clients:
                    tasks.start_soon(speak)
                    for _ in range(3):
                        clients.start_soon(come_and_go)
            tasks.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await receives(watcher, bytes(fed))
    assert server.stats.sessions > 15
    assert "failed" not in caplog.text


# The fast path


async def test_a_borrower_takes_descriptors_that_are_lent() -> None:
    async with (
        serialnet.listen("tcp://127.0.0.1:0") as device,
        serialnet.serve(device.urls[0], RAW, sharing=Sharing(NextWriter.BORROW), auto_reset=False) as server,
    ):
        port = await device.accept()
        async with serialnet.connect(server.urls[0]) as monitor:
            await monitor.send(b"monitor")
            await receives(port, b"monitor")
            for _ in range(3):
                async with serialnet.connect(server.urls[0]) as flasher:
                    await flasher.send(b"flasher")
                    await receives(port, b"flasher")
                    await monitor.send(b"monitor")
                    await port.send(b"for the flasher")
                    await receives(flasher, b"for the flasher")
                await receives(port, b"monitor")
                await port.send(b"for the monitor")
                await receives(monitor, b"for the monitor")
        await port.aclose()


async def test_descriptors_are_lent_while_nobody_looks_on() -> None:
    async with (
        serialnet.listen("tcp://127.0.0.1:0") as device,
        serialnet.serve(device.urls[0], RAW, WATCH) as server,
    ):
        port = await device.accept()
        async with serialnet.connect(server.urls[0]) as writer:
            await writer.send(b"up")
            await receives(port, b"up")

            def lent() -> bool:
                session = server._seat.session
                return session is not None and session.bridge._to_user.passage is not None

            await until(lent)
            async with serialnet.connect(server.urls[1]) as watcher:
                await until(lambda: server.stats.watchers)
                assert not lent()
                await port.send(b"down")
                await receives(writer, b"down")
                await receives(watcher, b"down")
            await until(lambda: not server._console.is_watched)
            await port.send(b"again")
            await receives(writer, b"again")
            await until(lent)
        await port.aclose()


# The log


@asynccontextmanager
async def logging_to(file: Path, options: str = "", **more: object) -> AsyncIterator[tuple[Server, Cable]]:
    """Serve a port that is kept, and has a log."""
    cable = Cable()
    undo = serialnet.register_transport("cable", CableFactory(cable))
    try:
        url = f"cable:?log={file}{options}"
        async with serialnet.serve(url, RAW, WATCH, reconnect=SOON, **more) as server:  # type: ignore[arg-type]
            yield server, cable
    finally:
        undo()


class CableFactory:
    options = NoOptions
    layer = False

    def __init__(self, cable: Cable) -> None:
        self._cable = cable
        self._first = True

    async def connect(self, endpoint: Endpoint, options: NoOptions, over: Transport | None) -> Transport:
        if self._first:
            self._first = False
            return self._cable.port
        return await self._cable.open(None, None)

    async def listen(self, endpoint: Endpoint, options: NoOptions, over: Listener | None) -> Listener:
        raise EndpointError("nothing can listen there")


async def test_the_log_has_all_that_the_port_said(tmp_path: Path) -> None:
    file = tmp_path / "console.log"
    file.write_bytes(b"earlier\n")
    async with logging_to(file) as (server, cable):
        cable.port.feed(b"nobody there\n")
        await until(lambda: b"nobody there" in file.read_bytes())
        async with serialnet.connect(server.urls[0]) as writer:
            await until(lambda: server.stats.sessions)
            cable.port.feed(b"somebody there\n")
            await receives(writer, b"somebody there\n")
    assert file.read_bytes() == b"earlier\nnobody there\nsomebody there\n"


async def test_what_waits_for_the_disk_at_the_end_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "console.log"
    begun, go_on = threading.Event(), threading.Event()
    write = _console_log.ConsoleLog._write

    def slowly(log: _console_log.ConsoleLog, data: bytes) -> int:
        begun.set()
        go_on.wait(20)
        return write(log, data)

    monkeypatch.setattr(_console_log.ConsoleLog, "_write", slowly)
    async with logging_to(file) as (_, cable):
        cable.port.feed(b"one")
        await until(begun.is_set)
        cable.port.feed(b"two")
        await until(lambda: not cable.port.incoming)
        threading.Timer(0.1, go_on.set).start()
    assert file.read_bytes() == b"onetwo"


async def test_the_log_is_rotated(tmp_path: Path) -> None:
    file = tmp_path / "console.log"
    async with logging_to(file, "&log_size=1k&log_files=3") as (_, cable):
        for number in range(10):
            cable.port.feed(b"%d" % number * 512)
            await until(lambda: not cable.port.incoming)
    assert sorted(os.listdir(tmp_path)) == [
        "console.log",
        "console.log.1",
        "console.log.2",
    ]
    assert file.read_bytes() == b"8" * 512 + b"9" * 512
    assert (tmp_path / "console.log.2").read_bytes() == b"4" * 512 + b"5" * 512


async def test_a_log_that_cannot_be_written_is_an_error_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(OpenError, match=r"cannot write the log .*absent/console\.log: No such file"):
        async with logging_to(tmp_path / "absent" / "console.log"):
            pass


@pytest.mark.parametrize("options", ["&log_files=0", "&log_size=0", "&log_size=1g", "&log_files=many"])
async def test_bad_options_of_the_log(options: str, tmp_path: Path) -> None:
    with pytest.raises(EndpointError, match=r"log_(files|size)"):
        async with logging_to(tmp_path / "console.log", options):
            pass
    assert not os.listdir(tmp_path)


async def test_a_full_disk_is_a_warning_and_the_port_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    async with (
        logging_to(Path("/dev/full")) as (server, cable),
        serialnet.connect(server.urls[0]) as writer,
    ):
        await until(lambda: server.stats.sessions)
        for _ in range(3):
            cable.port.feed(b"data")
            await receives(writer, b"data")
            await until(lambda: server.stats.bytes_missed % 4 == 0 and server.stats.bytes_missed)
    assert caplog.text.count("the log /dev/full cannot be written") == 1


async def test_a_disk_that_hangs_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hangs = threading.Event()
    monkeypatch.setattr(_console_log, "LAST_WRITE", 0.05)
    monkeypatch.setattr(_console_log.ConsoleLog, "_write", lambda log, data: hangs.wait(20) and 0)
    try:
        async with (
            logging_to(tmp_path / "console.log") as (server, cable),
            serialnet.connect(server.urls[0]) as writer,
        ):
            await until(lambda: server.stats.sessions)
            for _ in range(3):
                cable.port.feed(b"data")
                await receives(writer, b"data")
    finally:
        hangs.set()


# Losses of the port


async def test_all_go_on_after_a_loss(tmp_path: Path) -> None:
    file = tmp_path / "console.log"
    async with (
        logging_to(file) as (server, cable),
        serialnet.connect(server.urls[0]) as writer,
        serialnet.connect(server.urls[1]) as watcher,
    ):
        await until(lambda: server.stats.sessions and server.stats.watchers)
        cable.port.feed(b"before")
        await receives(writer, b"before")
        cable.unplug()
        await until(lambda: server.stats.losses)
        cable.plug()
        await until(lambda: len(cable.ports) == 2)
        cable.port.feed(b"after")
        await receives(writer, b"after")
        await receives(watcher, b"beforeafter")
    assert file.read_bytes() == b"beforeafter"


@pytest.mark.parametrize("writes", [True, False])
async def test_watchers_are_told_of_a_loss_if_that_is_the_policy(writes: bool, tmp_path: Path) -> None:
    file = tmp_path / "console.log"
    async with (
        logging_to(file, gap=Gap(GapPolicy.SIGNAL)) as (server, cable),
        serialnet.connect(server.urls[1]) as watcher,
        AsyncExitStack() as stack,
    ):
        if writes:
            await stack.enter_async_context(serialnet.connect(server.urls[0]))
            await until(lambda: server.stats.sessions)
        await until(lambda: server.stats.watchers)
        cable.unplug()
        assert not await is_over(watcher)
        cable.plug()
        await until(lambda: len(cable.ports) == 2)
        async with serialnet.connect(server.urls[1]) as watcher:
            await until(lambda: server.stats.watchers == 2)
            cable.port.feed(b"after")
            await receives(watcher, b"after")
        await until(lambda: file.read_bytes() == b"after")  # it goes on, too


async def test_a_loss_while_the_port_is_lent(tmp_path: Path) -> None:
    async with (
        logging_to(tmp_path / "console.log", sharing=Sharing(NextWriter.BORROW)) as (server, cable),
        serialnet.connect(server.urls[0]) as monitor,
    ):
        await monitor.send(b"1")
        await until(lambda: cable.port.written)
        async with serialnet.connect(server.urls[0]) as flasher:
            await flasher.send(b"2")
            await until(lambda: cable.port.written == b"12")
            cable.unplug()
            await until(lambda: server.stats.losses)
            cable.plug()
            await until(lambda: len(cable.ports) == 2)
            cable.port.feed(b"flashing")
            await receives(flasher, b"flashing")
        await until(lambda: server._seat.session and server._seat.session.role is Role.WRITE)
        cable.port.feed(b"monitored")
        await receives(monitor, b"monitored")


async def test_both_end_by_a_loss_while_the_port_is_lent_if_that_is_the_policy(tmp_path: Path) -> None:
    sharing, gap = Sharing(NextWriter.BORROW), Gap(GapPolicy.SIGNAL)

    class Late(Hook):
        async def closed(self, end: BridgeEnd) -> None:
            cable.plug()
            await until(lambda: len(cable.ports) == 2)

    async with (
        logging_to(tmp_path / "console.log", sharing=sharing, gap=gap, hooks=[Late()]) as (server, cable),
        serialnet.connect(server.urls[0]) as monitor,
    ):
        await until(lambda: server.stats.sessions)
        async with serialnet.connect(server.urls[0]) as flasher:
            await until(lambda: server.stats.sessions == 2)
            cable.unplug()
            assert not await is_over(flasher)
            assert not await is_over(monitor)


# What may be said


@pytest.mark.parametrize(
    ("url", "error"),
    [
        (
            "tcp://127.0.0.1:0?role=king",
            "option 'role' of serve must be write or watch or borrow, not 'king'",
        ),
        ("tcp://127.0.0.1:0?replay=much", "option 'replay' of serve must be a size, such as 64k, not 'much'"),
        ("tcp://127.0.0.1:0?replay=-1", "option 'replay' of serve must be a size"),
        ("tcp://127.0.0.1:0?rule=watch", "tcp: has no option 'rule'"),
    ],
)
async def test_bad_urls(url: str, error: str) -> None:
    with pytest.raises(EndpointError, match=re.escape(error)):
        async with serialnet.serve("loop:", url):
            pass


@pytest.mark.parametrize("name", ["most_waiting", "wait", "most_watchers", "patience", "buffer"])
def test_bad_sharing(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        Sharing(**{name: -1})  # type: ignore[arg-type]


async def test_who_comes_is_told_with_its_role() -> None:
    async with serving(FakePort(), RAW, WATCH, RAW + "?role=borrow") as server, server.events() as events:
        assert list(server.roles.values()) == [Role.WRITE, Role.WATCH, Role.BORROW]
        for url, role in server.roles.items():
            async with serialnet.connect(url):
                event = await anext(events)
                assert isinstance(event, ClientConnected)
                assert event.role is role
            with anyio.fail_after(5):
                event = await anext(events)
            assert isinstance(event, ClientLeft)
            assert (event.client, event.role) == (event.client, role)


async def test_cancelled_anywhere_nothing_stays_open(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(bridge, "LINGER", 0)
    monkeypatch.setattr(_session, "GRACE", 0)
    caplog.set_level(logging.CRITICAL)

    async def run() -> None:
        port = FakePort()
        async with (
            serving(port, RAW, WATCH, sharing=Sharing(NextWriter.BORROW)) as server,
            serialnet.connect(server.urls[1]),
            serialnet.connect(server.urls[0]) as writer,
        ):
            await writer.send(b"1")
            while not port.log:
                await checkpoint()
            async with serialnet.connect(server.urls[0]) as borrower:
                await borrower.send(b"2")
                while port.written != b"12":
                    await checkpoint()
        assert not port.closed

    await run()
    before = descriptors()
    assert await cancelled_everywhere(run) > 20
    assert descriptors() <= before
