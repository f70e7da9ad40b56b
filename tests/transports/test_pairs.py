"""Every two transports, joined by a bridge and by a link: bytes, ends and line requests get through.

One line in :data:`pair_ends.ENDS` adds a transport to all of it.
"""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import dataclass, field, replace
from itertools import combinations_with_replacement, product
from pathlib import Path

import anyio
import pytest
from typing_extensions import override

import serialnet
from serialnet import (
    Bridge,
    BridgeEnd,
    BridgeError,
    EndpointError,
    Inputs,
    InputsChanged,
    Line,
    LineSettings,
    Outputs,
    Purge,
    SessionStarted,
    Transport,
)
from serialnet.bridge import bridge as bridge_module
from serialnet.transports import exec as exec_module
from serialnet.transports._news import News
from serialnet.transports.tcp import TCPTransport

from ..fake_ends import Entry, FakeAsker, FakePort, descriptors
from ..interop.tools import SOAK
from .pair_ends import (
    ENDS,
    PORTS,
    WIRED,
    BoardPort,
    End,
    Fake,
    ListeningTerminal,
    Port,
    Terminal,
    Wired,
    can_be_joined,
)

SIZE = 50_000
TIMEOUT = 15


class Far:
    """What is behind an end: it reads all that comes, and sends what the test wants."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.received = bytearray()
        self.ended: Exception | None = None
        self._news = News()

    async def read(self) -> None:
        rng = random.Random(0)
        while self.ended is None:
            try:
                self.received += await self.transport.receive(rng.choice([1, 100, 65536]))
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
                self.ended = error
            self._news.tell()

    async def send(self, data: bytes, rng: random.Random) -> None:
        view = memoryview(data)
        while view:
            n = rng.choice([1, 64, 4096, 65536])
            await self.transport.send(view[:n])
            view = view[n:]

    async def has(self, data: bytes) -> None:
        while len(self.received) < len(data):
            assert not self.ended, f"{len(self.received)} of {len(data)} bytes came: {self.ended!r}"
            await self._news.wait()
        assert self.received == data

    async def is_over(self) -> None:
        while self.ended is None:
            await self._news.wait()


class FarPort(Far):
    """A port behind an end, which writes down what is done to it."""

    def __init__(self, transport: Transport) -> None:
        super().__init__(transport)
        self.port = FakePort()

    @override
    async def read(self) -> None:
        await Bridge(self.transport, self.port).run()


PAIRS = [
    (a, b) if number % 2 else (b, a)  # each two once, as often the one way round as the other
    for number, (a, b) in enumerate(combinations_with_replacement(ENDS, 2))
    if can_be_joined(a, b)
]


def ends_first(a: End, b: End) -> str:
    """The side of a pair that can say that it is done, if any can."""
    if a.echoes or b.echoes:
        return ""
    sides = (("a", a), ("b", b))
    half_closes = [side for side, end in sides if end.half_closes]
    closes = [side for side, end in sides if isinstance(end, ListeningTerminal)]
    return next(iter(half_closes + closes), "")


def joinable(askers: Sequence[End], ports: Sequence[End]) -> list[tuple[End, End]]:
    return [pair for pair in product(askers, ports) if can_be_joined(*pair)]


# What asks in the bytes' order; a terminal does it beside them.
ASKERS = [end for end in ENDS if end.asker and not isinstance(end, Terminal)]
TERMINALS = [end for end in ENDS if isinstance(end, Terminal)]
ECHOES = [end for end in ENDS if end.offers and end.echoes]
JOINTS = ["bridge", "link"]
joints = pytest.mark.parametrize("joint", JOINTS)


def joined_pairs(names: str, pairs: Sequence[tuple[End, End]]) -> pytest.MarkDecorator:
    """Join each pair by a bridge or by a link, in turn; in a soak, by both."""
    cases = [
        (*pair, joint)
        for number, pair in enumerate(pairs)
        for joint in (JOINTS if SOAK else [JOINTS[number % 2]])
    ]
    return pytest.mark.parametrize(f"{names}, joint", cases, ids=str)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge_module, "LINGER", 0.05)
    monkeypatch.setattr(exec_module, "EXIT_DELAY", 0.05)


@dataclass
class Joined:
    """Two ends that are joined, what is behind each, and how it ended."""

    ends: dict[str, End]
    far: dict[str, Far]
    end: BridgeEnd | None = None
    over: anyio.Event = field(default_factory=anyio.Event)

    @property
    def line(self) -> Line:
        """The line that is behind the asking end a."""
        line = self.far["a"].transport.line
        assert line is not None
        return line

    @property
    def port(self) -> FakePort | BoardPort:
        """The port that is behind the end b."""
        holder = self.far.get("b", self.ends["b"])
        assert isinstance(holder, Fake | FarPort | Wired)
        return holder.port

    async def is_over(self) -> BridgeEnd:
        await self.over.wait()
        assert self.end is not None
        return self.end


@asynccontextmanager
async def joined(
    a: End, b: End, joint: str, directory: Path, behind: type[Far] = Far
) -> AsyncIterator[Joined]:
    """Join two ends, and reach what is behind them."""
    ends = {"a": copy(a), "b": copy(b)}
    result = Joined(ends, {})
    news = News()
    started = anyio.Event()
    async with (
        ends["a"].ready(directory, joint),
        ends["b"].ready(directory, joint),
        anyio.create_task_group() as tasks,
    ):

        async def reach(side: str) -> None:
            kind = behind if ends[side].offers else Far
            far = result.far[side] = kind(await ends[side].far())
            news.tell()
            try:
                await far.read()
                await anyio.sleep_forever()
            finally:
                await anyio.aclose_forcefully(far.transport)

        def reach_all(listening: bool) -> None:
            for side, end in ends.items():
                if end.listens == listening and not isinstance(end, Port):
                    tasks.start_soon(reach, side)

        async def bridge() -> None:
            near: dict[str, Transport] = {}

            async def open_(side: str) -> None:
                near[side] = await ends[side].near()

            reach_all(listening=True)
            async with anyio.create_task_group() as opening:
                for side in ends:
                    opening.start_soon(open_, side)
            started.set()
            result.end = await Bridge(near["a"], near["b"]).run()
            result.over.set()

        async def link() -> None:
            urls = [f"listen:{end.url}" if end.listens else end.url for end in ends.values()]
            async with (
                serialnet.link(urls[0], urls[1], once=True, auto_reset=False) as link,
                link.events() as events,
            ):
                listening = iter(link.urls)
                for end in ends.values():
                    if end.listens:
                        end.url = next(listening)
                reach_all(listening=True)
                async for event in events:
                    if isinstance(event, SessionStarted):
                        started.set()
                        break
                result.end = await link.wait()
                result.over.set()

        reach_all(listening=False)
        tasks.start_soon(link if joint == "link" else bridge)
        with anyio.fail_after(TIMEOUT):
            while len(result.far) < sum(not isinstance(end, Port) for end in ends.values()):
                await news.wait()
            await started.wait()
            for end in ends.values():
                end.is_joined()
            yield result
        tasks.cancel_scope.cancel()


@joined_pairs("a, b", PAIRS)
async def test_random_data_goes_both_ways(a: End, b: End, joint: str, tmp_path: Path) -> None:
    rng = random.Random(f"{a} {b}")
    data = {"a": rng.randbytes(SIZE), "b": rng.randbytes(SIZE)}
    async with joined(a, b, joint, tmp_path) as pair:
        async with anyio.create_task_group() as tasks:
            for side, far in pair.far.items():
                tasks.start_soon(far.send, data[side], rng)
        for side, far in pair.far.items():
            other = side if len(pair.far) == 1 else "ba"["ab".index(side)]
            await far.has(data[other])


@joined_pairs("a, b", [pair for pair in PAIRS if ends_first(*pair)])
async def test_an_end_of_file_comes_after_the_last_byte(a: End, b: End, joint: str, tmp_path: Path) -> None:
    """What can be half-closed goes on the other way."""
    data = random.Random(f"{a} {b}").randbytes(SIZE)
    one = ends_first(a, b)
    other = "b" if one == "a" else "a"
    async with joined(a, b, joint, tmp_path) as pair:
        first, second = pair.far[one], pair.far[other]
        await first.send(data, random.Random(1))
        if isinstance(pair.ends[other], Terminal):  # what is unread goes with the device
            await second.has(data)
        if pair.ends[one].half_closes:
            await first.transport.send_eof()
        else:
            await first.transport.aclose()
        await second.has(data)
        if not pair.ends[other].is_left_alone(joint):
            await second.is_over()
        if pair.ends[one].half_closes and pair.ends[other].half_closes:
            assert isinstance(second.ended, anyio.EndOfStream)
            await second.send(data, random.Random(2))
            await second.transport.send_eof()
            await first.has(data)
        end = await pair.is_over()
        assert (end.by, end.error) == (one, None)


def reset_on_close(transport: Transport) -> None:
    """Let a TCP connection, which may carry something, end by a reset."""
    while over := getattr(transport, "_over", None):
        transport = over
    if isinstance(transport, TCPTransport):
        transport._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def aborts(a: End, b: End) -> str:
    """The side of a pair that can be aborted, if any can."""
    return next(
        (side for side, end in (("a", a), ("b", b)) if not end.stays and not isinstance(end, Port)), ""
    )


@joined_pairs("a, b", [pair for pair in PAIRS if aborts(*pair)])
async def test_an_abort_is_heard_of_at_the_other_end(a: End, b: End, joint: str, tmp_path: Path) -> None:
    async with joined(a, b, joint, tmp_path) as pair:
        for far in pair.far.values():
            await far.send(b"x", random.Random(0))
        for far in pair.far.values():
            await far.has(b"x")
        far = pair.far.pop(aborts(a, b))
        reset_on_close(far.transport)
        await anyio.aclose_forcefully(far.transport)
        for side, other in pair.far.items():
            if not pair.ends[side].is_left_alone(joint):
                await other.is_over()
            await other.transport.aclose()  # what cannot be reset was merely half-closed
        await pair.is_over()


@joined_pairs("asker, port", joinable(ASKERS, [*PORTS, *WIRED]))
async def test_line_requests_keep_their_place_among_the_bytes(
    asker: End, port: End, joint: str, tmp_path: Path
) -> None:
    settings = port.settings
    async with joined(asker, port, joint, tmp_path, behind=FarPort) as pair:
        client, line = pair.far["a"].transport, pair.line
        await line.get_inputs()  # what comes with the start is through
        pair.port.log.clear()
        await client.send(b"one")
        assert await line.configure(settings) == settings
        await client.send(b"two")
        assert await line.set_outputs(dtr=False, rts=True) == Outputs(False, True)
        await client.send(b"three")
        await line.set_outputs(brk=True)
        await client.send(b"four")
        await line.set_outputs(brk=False)
        await line.purge(Purge.RECEIVED)
        await client.send(b"five")
        await pair.port.until(lambda: pair.port.written.endswith(b"five"))
        purged = [] if isinstance(port, Wired) else [Purge.RECEIVED]
        assert without_steps(pair.port.story) == [
            *(b"one", settings, b"two", Outputs(False, True), b"three", Outputs(False, True, True), b"four"),
            *(Outputs(False, True), *purged, b"five"),
        ]


def without_steps(story: list[Entry]) -> list[Entry]:
    """A story without what was in force only on the way: a protocol may change one value at a time."""
    return [
        entry
        for entry, after in zip(story, [*story[1:], b""], strict=True)
        if isinstance(entry, bytes) or type(entry) is not type(after)
    ]


@joined_pairs("terminal, port", joinable(TERMINALS, [*PORTS, *WIRED]))
async def test_what_a_program_sets_keeps_its_place_where_it_waits(
    terminal: End, port: End, joint: str, tmp_path: Path
) -> None:
    """What it sets comes before its first byte; later, after what has come."""
    first = terminal.settings
    second = replace(first, baudrate=9600)
    async with joined(terminal, port, joint, tmp_path, behind=FarPort) as pair:
        client, line = pair.far["a"].transport, pair.line
        pair.port.log.clear()
        assert await line.configure(first) == first
        await client.send(b"one")
        await pair.port.until(lambda: pair.port.written == b"one")
        assert await line.configure(second) == second
        await pair.port.until(lambda: second in pair.port.log)
        await client.send(b"two")
        await pair.port.until(lambda: pair.port.written == b"onetwo")
        assert without_steps(pair.port.story) == [first, b"one", second, b"two"]


@joined_pairs("asker, port", joinable(ASKERS, PORTS))
async def test_what_happens_on_the_line_is_told(asker: End, port: End, joint: str, tmp_path: Path) -> None:
    async with joined(asker, port, joint, tmp_path, behind=FarPort) as pair, pair.line.events() as events:
        assert isinstance(pair.port, FakePort)
        fake = pair.port.fake_line
        for after in (Inputs(cts=True), Inputs(cts=True, cd=True), Inputs(ri=True)):
            before, fake.inputs = fake.inputs, after
            fake.happen(InputsChanged(before, after))
            async for event in events:
                if isinstance(event, InputsChanged) and event.after == after:
                    break
        assert await pair.line.get_inputs() == after


@joined_pairs("asker, port", joinable([*ASKERS, *TERMINALS], ECHOES))
async def test_settings_get_through_to_what_echoes(asker: End, port: End, joint: str, tmp_path: Path) -> None:
    async with joined(asker, port, joint, tmp_path) as pair:
        for settings in (LineSettings(57600), LineSettings()):
            assert await pair.line.configure(settings) == settings
        await pair.far["a"].send(b"at the board's own speed", random.Random(0))
        await pair.far["a"].has(b"at the board's own speed")
        await pair.line.purge(Purge.BOTH)


@joints
async def test_two_askers_cannot_be_joined(joint: str) -> None:
    url = "rfc2217://127.0.0.1:0"
    if joint == "link":
        before = descriptors()
        with pytest.raises(EndpointError, match="both ask for line changes"):
            async with serialnet.link(f"listen:{url}", f"listen:{url}"):
                pass
        assert descriptors() == before
    else:
        with pytest.raises(BridgeError, match="both ends ask"):
            Bridge(FakeAsker(), FakeAsker())
