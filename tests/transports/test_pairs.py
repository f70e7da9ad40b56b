"""Every two transports, joined by a bridge and by a link: bytes, ends and line requests get through.

One line in :data:`ENDS` adds a transport to all of it.
"""

from __future__ import annotations

import random
import socket
import struct
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import dataclass, field
from itertools import combinations_with_replacement
from pathlib import Path

import anyio
import pytest
from typing_extensions import override

import serialnet
from serialnet import (
    Bridge,
    BridgeEnd,
    BridgeError,
    Endpoint,
    EndpointError,
    FlowControl,
    Inputs,
    InputsChanged,
    Line,
    LineSettings,
    Listener,
    Outputs,
    Parity,
    Purge,
    SessionStarted,
    StopBits,
    Transport,
)
from serialnet.bridge import bridge as bridge_module
from serialnet.core.options import NoOptions
from serialnet.transports._news import News
from serialnet.transports.tcp import TCPTransport

from ..fake_ends import Entry, FakeAsker, FakePort, descriptors

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
            assert self.ended is None, f"{len(self.received)} of {len(data)} bytes came: {self.ended!r}"
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


class End(ABC):
    """One end of a pair: how a link names it, and how to get at both its sides."""

    listens = False
    echoes = False

    def __init__(self, url: str, *, asker: bool = False, offers: bool = False) -> None:
        self.url = url
        self.asker = asker
        self.offers = offers

    def __str__(self) -> str:
        return f"{type(self).__name__.lower()} {self.url.partition(':')[0]}"

    @asynccontextmanager
    async def ready(self, directory: Path, joint: str) -> AsyncIterator[None]:
        """Prepare what must be there before anything can be joined."""
        own = directory / str(id(self))  # both ends may have files of the same name
        own.mkdir()
        self.url = self.url.format(directory=own)
        yield

    @abstractmethod
    async def near(self) -> Transport:
        """The side that a bridge joins."""

    @abstractmethod
    async def far(self) -> Transport:
        """The side where we are."""


class Listening(End):
    """The joint listens, and we connect."""

    listens = True

    @override
    @asynccontextmanager
    async def ready(self, directory: Path, joint: str) -> AsyncIterator[None]:
        async with super().ready(directory, joint):
            if joint == "link":  # it listens itself, and says where
                yield
                return
            async with serialnet.listen(self.url) as self._listener:
                self.url = self._listener.urls[0]
                yield

    @override
    async def near(self) -> Transport:
        return await self._listener.accept()

    @override
    async def far(self) -> Transport:
        return await serialnet.connect(self.url)


class Dialled(End):
    """We listen, and the joint connects."""

    @override
    @asynccontextmanager
    async def ready(self, directory: Path, joint: str) -> AsyncIterator[None]:
        async with super().ready(directory, joint), serialnet.listen(self.url) as self._listener:
            self.url = self._listener.urls[0]
            yield

    @override
    async def near(self) -> Transport:
        return await serialnet.connect(self.url)

    @override
    async def far(self) -> Transport:
        return await self._listener.accept()


class Port(End):
    """A port that the joint opens, with nobody behind it that is ours."""

    @override
    async def near(self) -> Transport:
        return await serialnet.connect(self.url)

    @override
    async def far(self) -> Transport:
        raise AssertionError("there is nobody")


class Echo(Port):
    """A port that sends back what it gets."""

    echoes = True


class Fake(Port):
    """A stranger's transport: a port that writes down what is done to it."""

    options = NoOptions
    layer = False
    port: FakePort

    @override
    @asynccontextmanager
    async def ready(self, directory: Path, joint: str) -> AsyncIterator[None]:
        self.port = FakePort()
        forget = serialnet.register_transport("fake", self)
        try:
            async with super().ready(directory, joint):
                yield
        finally:
            forget()

    async def connect(self, endpoint: Endpoint, options: NoOptions, over: Transport | None) -> Transport:
        return self.port

    async def listen(self, endpoint: Endpoint, options: NoOptions, over: Listener | None) -> Listener:
        raise EndpointError("expected a port")


ENDS: list[End] = [
    Listening("tcp://127.0.0.1:0"),
    Dialled("tcp://127.0.0.1:0"),
    Listening("rfc2217://127.0.0.1:0", asker=True),
    Dialled("rfc2217://127.0.0.1:0", offers=True),
    Listening("unix://{directory}/a.sock"),
    Dialled("unix://{directory}/b.sock"),
    Listening("rfc2217+unix://{directory}/c.sock", asker=True),
    Dialled("rfc2217+unix://{directory}/d.sock", offers=True),
    Echo("exec:cat"),
    Echo("loop:", offers=True),
    Echo("pyserial:loop://", offers=True),
    Echo("sim://esp32", offers=True),
]
PAIRS = [
    (a, b) if number % 2 else (b, a)  # each two once, as often the one way round as the other
    for number, (a, b) in enumerate(combinations_with_replacement(ENDS, 2))
    if not (a.asker and b.asker) and not (a.echoes and b.echoes)
]

pairs = pytest.mark.parametrize(("a", "b"), PAIRS, ids=str)
askers = pytest.mark.parametrize("asker", [end for end in ENDS if end.asker], ids=str)
PORTS = [*(end for end in ENDS if end.offers and not end.echoes), Fake("fake:", offers=True)]
joints = pytest.mark.parametrize("joint", ["bridge", "link"])


@pytest.fixture(autouse=True)
def linger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge_module, "LINGER", 0.05)


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
    def port(self) -> FakePort:
        """The port that is behind the end b."""
        holder = self.far.get("b", self.ends["b"])
        assert isinstance(holder, Fake | FarPort)
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
            yield result
        tasks.cancel_scope.cancel()


@joints
@pairs
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


@joints
@pairs
async def test_an_end_of_file_comes_after_the_last_byte(a: End, b: End, joint: str, tmp_path: Path) -> None:
    """What can be half-closed goes on the other way."""
    data = random.Random(f"{a} {b}").randbytes(SIZE)
    async with joined(a, b, joint, tmp_path) as pair:
        if len(pair.far) == 1:
            return  # it is an echo's own end that is no end
        first, second = pair.far["a"], pair.far["b"]
        await first.send(data, random.Random(1))
        await first.transport.send_eof()
        await second.is_over()
        assert isinstance(second.ended, anyio.EndOfStream)
        assert second.received == data
        await second.send(data, random.Random(2))
        await second.transport.send_eof()
        await first.has(data)
        end = await pair.is_over()
        assert (end.by, end.error) == ("a", None)


def reset_on_close(transport: Transport) -> None:
    """Let a TCP connection, which may carry something, end by a reset."""
    while over := getattr(transport, "_over", None):
        transport = over
    if isinstance(transport, TCPTransport):
        transport._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@joints
@pairs
async def test_an_abort_is_heard_of_at_the_other_end(a: End, b: End, joint: str, tmp_path: Path) -> None:
    async with joined(a, b, joint, tmp_path) as pair:
        for far in pair.far.values():
            await far.send(b"x", random.Random(0))
        for far in pair.far.values():
            await far.has(b"x")
        far = pair.far.pop("a" if "a" in pair.far else "b")
        reset_on_close(far.transport)
        await anyio.aclose_forcefully(far.transport)
        for other in pair.far.values():
            await other.is_over()
            await other.transport.aclose()  # what cannot be reset was merely half-closed
        await pair.is_over()


@joints
@askers
@pytest.mark.parametrize("port", PORTS, ids=str)
async def test_line_requests_keep_their_place_among_the_bytes(
    asker: End, port: End, joint: str, tmp_path: Path
) -> None:
    settings = LineSettings(57600, 7, Parity.EVEN, StopBits.TWO, FlowControl.RTSCTS)
    async with joined(asker, port, joint, tmp_path, behind=FarPort) as pair:
        client, line = pair.far["a"].transport, pair.line
        await line.get_inputs()  # what comes with the start is through
        pair.port.log.clear()
        await client.send(b"one")
        assert await line.configure(settings) == settings
        await client.send(b"two")
        assert await line.set_outputs(dtr=True, rts=True) == Outputs(True, True)
        await client.send(b"three")
        await line.set_outputs(brk=True)
        await client.send(b"four")
        await line.set_outputs(brk=False)
        await line.purge(Purge.RECEIVED)
        await client.send(b"five")
        await pair.port.until(lambda: pair.port.written.endswith(b"five"))
        assert without_steps(pair.port.story) == [
            *(b"one", settings, b"two", Outputs(True, True), b"three", Outputs(True, True, True), b"four"),
            *(Outputs(True, True), Purge.RECEIVED, b"five"),
        ]


def without_steps(story: list[Entry]) -> list[Entry]:
    """A story without what was in force only on the way: a protocol may change one value at a time."""
    return [
        entry
        for entry, after in zip(story, [*story[1:], b""], strict=True)
        if isinstance(entry, bytes) or type(entry) is not type(after)
    ]


@joints
@askers
@pytest.mark.parametrize("port", PORTS, ids=str)
async def test_what_happens_on_the_line_is_told(asker: End, port: End, joint: str, tmp_path: Path) -> None:
    async with joined(asker, port, joint, tmp_path, behind=FarPort) as pair, pair.line.events() as events:
        for after in (Inputs(cts=True), Inputs(cts=True, cd=True), Inputs(ri=True)):
            fake = pair.port.fake_line
            before, fake.inputs = fake.inputs, after
            fake.happen(InputsChanged(before, after))
            async for event in events:
                if isinstance(event, InputsChanged) and event.after == after:
                    break
        assert await pair.line.get_inputs() == after


@joints
@askers
@pytest.mark.parametrize("port", [end for end in ENDS if end.offers and end.echoes], ids=str)
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
