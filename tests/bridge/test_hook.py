"""Hooks: their order, what they may do with a request, and what happens when they fail."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest
from typing_extensions import override

from serialnet import (
    Bridge,
    BridgeEnd,
    Configure,
    Direction,
    Forward,
    GetInputs,
    Hook,
    InForce,
    Inputs,
    InputsChanged,
    LineEvent,
    LineRequest,
    LineSettings,
    Outputs,
    SetOutputs,
)
from serialnet.bridge import bridge as bridge_module

from ..fake_ends import FakeAsker, FakePort


@pytest.fixture(autouse=True)
def linger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge_module, "LINGER", 0.02)


class Diary(Hook):
    """Writes down all it hears, with its name."""

    def __init__(self, name: str, diary: list[str]) -> None:
        self.name, self.diary = name, diary

    def write(self, what: str) -> None:
        self.diary.append(f"{self.name} {what}")

    @override
    async def opened(self, bridge: Bridge) -> None:
        self.write("opened")
        self.awaits_data = True

    @override
    async def before_data(self, forward: Forward) -> None:
        self.write("before data")

    @override
    async def request(self, request: LineRequest, forward: Forward) -> InForce:
        self.write("request")
        answer = await forward(request)
        self.write("answer")
        return answer

    @override
    async def event(self, event: LineEvent) -> None:
        self.write("event")

    @override
    def data(self, direction: Direction, view: memoryview) -> memoryview | None:
        self.write(f"{direction.value}: {bytes(view).decode()}")
        return None

    @override
    async def closed(self, end: BridgeEnd) -> None:
        self.write(f"closed: {end}")


async def run(bridge: Bridge) -> BridgeEnd:
    with anyio.fail_after(5):
        return await bridge.run()


async def test_the_first_is_the_outermost() -> None:
    diary: list[str] = []
    asker, port = FakeAsker(b"x", Configure(LineSettings(9600)), b"y"), FakePort()
    asker.end()
    await run(Bridge(asker, port, hooks=[Diary("1", diary), lambda: Diary("2", diary)]))
    heard = [entry for entry in diary if "event" not in entry]
    assert heard == [
        "1 opened",
        "2 opened",
        "1 before data",
        "2 before data",
        "1 a to b: x",
        "2 a to b: x",
        "1 request",
        "2 request",
        "2 answer",
        "1 answer",
        "1 a to b: y",
        "2 a to b: y",
        "1 closed: the client closed the connection",
        "2 closed: the client closed the connection",
    ]
    assert [entry for entry in diary if "event" in entry] == ["1 event", "2 event"]


async def test_a_factory_makes_one_for_each_session() -> None:
    made = []

    class Mine(Hook):
        def __init__(self) -> None:
            made.append(self)

    for _ in range(2):
        bridge = Bridge(FakeAsker(), FakePort(), hooks=[Mine])
        assert bridge.hooks == made[-1:]
    assert len(made) == 2


async def test_changing_refusing_and_answering() -> None:
    class Clerk(Hook):
        @override
        async def request(self, request: LineRequest, forward: Forward) -> InForce:
            match request:
                case Configure(settings) if settings.baudrate > 115200:
                    return request.unchanged
                case Configure(settings):
                    return await forward(Configure(LineSettings(settings.baudrate + 1)))
                case GetInputs():
                    return Inputs(ri=True)
            return await forward(request)

    asker = FakeAsker(
        Configure(LineSettings(921_600), unchanged=LineSettings(300)),
        Configure(LineSettings(9600)),
        GetInputs(),
        SetOutputs(dtr=True),
    )
    port = FakePort()
    asker.end()
    end = await run(Bridge(asker, port, hooks=[Clerk]))
    assert asker.answers == [LineSettings(300), LineSettings(9601), Inputs(ri=True), Outputs(dtr=True)]
    assert port.story == [LineSettings(9601), Outputs(dtr=True), "drain"]
    assert (end.stats.requests, end.stats.refused) == (4, 0)


async def test_a_wrong_answer_is_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    class Wrong(Hook):
        @override
        async def request(self, request: LineRequest, forward: Forward) -> InForce:
            return Inputs()

    asker = FakeAsker(SetOutputs(dtr=True, unchanged=Outputs(rts=True)))
    asker.end()
    await run(Bridge(asker, FakePort(), hooks=[Wrong]))
    assert asker.answers == [Outputs(rts=True)]
    assert "a hook answered" in caplog.text


@pytest.mark.parametrize("name", ["opened", "before_data", "request", "event", "closed", "timeout"])
async def test_a_hook_that_fails_harms_nobody_else(name: str, caplog: pytest.LogCaptureFixture) -> None:
    class Fails(Hook):
        deadline = 0.0
        awaits_data = True

        @override
        async def timeout(self, forward: Forward) -> None:
            raise ValueError("timeout")

    async def fail(self: Hook, *_: object) -> InForce:
        raise ValueError(name)

    setattr(Fails, name, fail)
    diary: list[str] = []
    asker = FakeAsker(b"x", SetOutputs(dtr=True, unchanged=Outputs(rts=True)), b"y")
    port = FakePort()
    bridge = Bridge(asker, port, hooks=[Fails, Diary("2", diary)])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, bridge)
        await asker.until(lambda: asker.answers and len(asker.events) == 2 and port.written == b"xy")
        asker.end()
    assert asker.answers == ([Outputs(rts=True)] if name == "request" else [Outputs(dtr=True)])
    assert f"ValueError: {name}" in caplog.text
    heard = {entry.partition(" ")[2].partition(":")[0] for entry in diary}
    assert {"opened", "before data", "event", "a to b", "closed"} <= heard
    # A deadline comes once, also if the hook fails at it.
    assert caplog.text.count("ValueError: timeout") == 1


async def test_data_is_awaited_as_often_as_a_hook_wants() -> None:
    class Separates(Hook):
        @override
        async def request(self, request: LineRequest, forward: Forward) -> InForce:
            self.awaits_data = True
            return request.unchanged

        @override
        async def before_data(self, forward: Forward) -> None:
            await forward(SetOutputs(dtr=True))

    asker, port = FakeAsker(b"a", b"b", GetInputs(), b"c", b"d", GetInputs(), GetInputs(), b"e"), FakePort()
    asker.end()
    await run(Bridge(asker, port, hooks=[Separates]))
    assert port.story == [b"ab", Outputs(dtr=True), b"cd", Outputs(dtr=True), b"e", "drain"]


async def test_a_tap_that_fails_ends_the_session(caplog: pytest.LogCaptureFixture) -> None:
    class Fails(Hook):
        @override
        def data(self, direction: Direction, view: memoryview) -> memoryview | None:
            raise ValueError("tapped")

    asker, port = FakeAsker(b"x"), FakePort()
    end = await run(Bridge(asker, port, hooks=[Fails]))
    assert (end.by, end.reason) == ("hook", "a hook failed")
    assert isinstance(end.error, ValueError)
    assert port.written == b""


async def test_taps_in_a_row() -> None:
    class Upper(Hook):
        @override
        def data(self, direction: Direction, view: memoryview) -> memoryview | None:
            return memoryview(bytes(view).upper()) if direction is Direction.A_TO_B else view[:0]

    class Looks(Hook):
        def __init__(self) -> None:
            self.seen: list[bytes] = []

        @override
        def data(self, direction: Direction, view: memoryview) -> memoryview | None:
            self.seen.append(bytes(view))
            return None

    looks = Looks()
    client, port = FakePort(line=False), FakePort()
    client.feed(b"abc")
    port.feed(b"swallowed")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, Bridge(client, port, hooks=[Upper, looks]))
        await port.until(lambda: len(looks.seen) == 2)
        client.end()
    assert port.written == b"ABC"
    assert client.written == b""
    assert sorted(looks.seen) == [b"", b"ABC"]


async def test_hooks_open_a_session_before_anything_passes() -> None:
    opened = anyio.Event()

    class Slow(Hook):
        @override
        async def opened(self, bridge: Bridge) -> None:
            assert bridge.line is not None
            await bridge.line.set_outputs(dtr=True)
            await opened.wait()
            await bridge.line.set_outputs(dtr=False)

    asker, port = FakeAsker(b"x", SetOutputs(rts=True)), FakePort()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, Bridge(asker, port, hooks=[Slow]))
        port.feed(b"this passes")
        await asker.until(lambda: asker.received == b"this passes")
        assert port.log == [Outputs(dtr=True)]
        opened.set()
        await asker.until(lambda: asker.answers)
        asker.end()
    assert port.story == [Outputs(dtr=True), Outputs(), b"x", Outputs(rts=True), "drain"]


async def test_deadlines() -> None:
    diary: list[str] = []

    class Later(Diary):
        @override
        async def request(self, request: LineRequest, forward: Forward) -> InForce:
            self.write("request")
            self.deadline = anyio.current_time() + 0.01
            return await forward(request)

        @override
        async def timeout(self, forward: Forward) -> None:
            assert self.deadline is None
            self.write(f"timeout {await forward(SetOutputs(rts=True))}")

    asker, port = FakeAsker(SetOutputs(dtr=True)), FakePort()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, Bridge(asker, port, hooks=[Later("1", diary), Diary("2", diary)]))
        await asker.until(lambda: port.fake_line.outputs.rts)
        asker.add(SetOutputs(dtr=False))
        await asker.until(lambda: sum("timeout" in entry for entry in diary) == 2)
        asker.end()
    assert [entry for entry in diary if entry[:9] in ("1 request", "1 timeout", "2 request")] == [
        "1 request",
        "2 request",
        "2 request",
        "1 timeout Outputs(dtr=True, rts=True, brk=False)",
        "1 request",
        "2 request",
        "2 request",
        "1 timeout Outputs(dtr=False, rts=True, brk=False)",
    ]


async def test_a_hook_may_end_the_session_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stops(Hook):
        told: BridgeEnd | None = None

        @override
        async def opened(self, bridge: Bridge) -> None:
            bridge.stop("enough")

        @override
        async def closed(self, end: BridgeEnd) -> None:
            self.told = end

    stops = Stops()
    asker, port = FakeAsker(b"x"), FakePort()
    assert (await run(Bridge(asker, port, hooks=[stops]))).by == "hook"
    assert stops.told is not None
    assert stops.told.reason == "enough"


async def test_the_last_word_of_a_hook_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hangs(Hook):
        @override
        async def closed(self, end: BridgeEnd) -> None:
            await anyio.sleep_forever()

    monkeypatch.setattr(bridge_module, "HOOK_TIMEOUT", 0.01)
    asker, port = FakeAsker(), FakePort()
    asker.end()
    await run(Bridge(asker, port, hooks=[Hangs]))
    assert port.closed


async def test_events_reach_hooks_without_an_asker() -> None:
    class Hears(Hook):
        def __init__(self) -> None:
            self.events: list[LineEvent] = []

        @override
        async def event(self, event: LineEvent) -> None:
            self.events.append(event)

    hears = Hears()
    client, port = FakePort(line=False), FakePort()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, Bridge(client, port, hooks=[hears]))
        await port.until(lambda: hears.events)
        client.end()
    assert hears.events == [InputsChanged(Inputs(), Inputs())]


class Adds(Hook):
    """Sends the client bytes of its own."""

    def __init__(self) -> None:
        self.seen = b""

    @override
    async def opened(self, bridge: Bridge) -> None:
        self.bridge = bridge

    @override
    def data(self, direction: Direction, view: memoryview) -> None:
        if direction is not self.bridge.to_port:
            self.seen += view


@pytest.mark.parametrize("swapped", [False, True])
async def test_a_hook_sends_the_client_bytes_of_its_own(swapped: bool) -> None:
    asker, port, hook = FakeAsker(), FakePort(), Adds()
    bridge = Bridge(port, asker, hooks=[hook]) if swapped else Bridge(asker, port, hooks=[hook])
    assert bridge.to_port is (Direction.B_TO_A if swapped else Direction.A_TO_B)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bridge.run)
        with anyio.fail_after(5):
            await anyio.wait_all_tasks_blocked()
            bridge.inject(b"one")  # while the port has nothing to say
            await asker.until(lambda: asker.received == b"one")
            port.feed(b"two")
            await asker.until(lambda: asker.received == b"onetwo")
            asker.end()
    assert hook.seen == b"two"


async def test_they_stand_where_the_hook_sent_them_among_the_ports_own() -> None:
    asker, port, hook = FakeAsker(), FakePort(), Adds()
    asker.room = 1
    bridge = Bridge(asker, port, hooks=[hook])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bridge.run)
        with anyio.fail_after(5):
            await anyio.wait_all_tasks_blocked()
            port.feed(b"abc")
            await port.until(lambda: hook.seen)
            bridge.inject(b"123")  # behind what is stuck
            port.feed(b"def")
            asker.room = 4
            asker.news.tell()
            await asker.until(lambda: asker.received == b"abc12")
            assert hook.seen == b"abc"  # what comes next is seen when these are out
            bridge.inject(b"456")
            asker.room = 100
            asker.news.tell()
            await asker.until(lambda: asker.received == b"abc123456def")
            asker.end()


async def test_bytes_that_arrive_at_the_same_moment_come_after_them_and_none_is_lost() -> None:
    asker, port, hook = FakeAsker(), FakePort(), Adds()
    bridge = Bridge(asker, port, hooks=[hook])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bridge.run)
        with anyio.fail_after(10):
            for steps in range(30):
                await anyio.wait_all_tasks_blocked()
                port.feed(b"<%d>" % steps)
                for _ in range(steps % 6):
                    await anyio.lowlevel.checkpoint()
                place = len(hook.seen)
                bridge.inject(b"!")
                await anyio.wait_all_tasks_blocked()
                assert asker.received.count(b"!") == 1
                assert asker.received.index(b"!") == place
                asker.received.remove(ord("!"))
            asker.end()
    assert asker.received == hook.seen == b"".join(b"<%d>" % steps for steps in range(30))
