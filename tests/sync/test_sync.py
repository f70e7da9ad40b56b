"""The blocking face: what it does in threads, and that it is the asynchronous one's."""

from __future__ import annotations

import inspect
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import anyio
import pytest

import serialnet
from serialnet import (
    ClientConnected,
    ClientLeft,
    EndpointError,
    Inputs,
    InputsChanged,
    LineSettings,
    LineUnsupportedError,
    OpenError,
    Purge,
    SessionStarted,
    sync,
)
from serialnet.sync import Port, connect, link, listen, serve

THREAD = "serialnet.pyserial"


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    yield
    assert not [thread for thread in threading.enumerate() if thread.name == THREAD and thread.is_alive()]


@contextmanager
def pair() -> Iterator[tuple[Port, Port]]:
    """Two ports without lines, joined."""
    with (
        listen("tcp://127.0.0.1:0") as listener,
        connect(listener.urls[0]) as near,
        listener.accept(timeout=5) as far,
    ):
        yield near, far


def test_bytes_and_the_line() -> None:
    with connect("loop:", baudrate=9600) as port:
        assert port.url.startswith("loop:")
        port.send(b"hello")
        assert port.receive(timeout=5) == b"hello"
        assert port.line is not None
        assert port.line.settings == LineSettings(9600)
        assert port.line.configure(LineSettings(19200), timeout=5) == LineSettings(19200)
        assert port.line.set_outputs(dtr=False, rts=True, timeout=5) == port.line.outputs
        assert port.line.get_inputs(timeout=5) == Inputs(cts=True)
        port.line.drain(timeout=5)


def test_a_purge_throws_away_what_was_looked_through() -> None:
    with connect("loop:") as port:
        port.send(b"one two")
        port.expect(b"one", 5)
        assert port.line is not None
        port.line.purge(Purge.RECEIVED)
        port.send(b"three")
        assert port.receive(timeout=5) == b"three"


def test_line_events() -> None:
    with connect("loop:", rts=False) as port:
        assert port.line is not None
        with port.line.events() as events:
            first = next(events)
            assert isinstance(first, InputsChanged)
            with pytest.raises(TimeoutError):
                events.next(timeout=0.01)
            port.line.set_outputs(rts=True)
            for event in events:
                assert event == InputsChanged(first.after, Inputs(cts=True))
                break


def test_a_board_restarts() -> None:
    with connect("sim://esp32") as port:
        port.enter_bootloader()
        port.expect("waiting for download", 5)
        port.reset()
        assert port.expect(r"serialnet-app:(\w+)", 5)[1] == "factory"


def test_nothing_restarts_without_a_line() -> None:
    with pair() as (near, _):
        assert near.line is None
        for restart in (near.reset, near.enter_bootloader):
            with pytest.raises(LineUnsupportedError, match=r"tcp://.* carries no DTR and RTS"):
                restart()


# read_until and expect


def test_what_follows_stays_for_the_next_call() -> None:
    with connect("loop:") as port:
        port.send(b"one\ntwo three\r\nfour 5 six")
        assert port.read_until(timeout=5) == b"one\n"
        assert port.read_until(b"\r\n", 5) == b"two three\r\n"
        match = port.expect(rb"(\w+) (\d)", 5)
        assert match.groups() == (b"four", b"5")
        assert port.receive(1) == b" "
        assert port.receive() == b"six"


def test_a_separator_in_two_parts() -> None:
    with pair() as (near, far), ThreadPoolExecutor(1) as pool:
        line = pool.submit(near.read_until, b"END", 5)
        far.send(b"one E")
        far.send(b"ND two")
        assert line.result() == b"one END"
        assert near.receive(timeout=5) == b" two"


def test_text_whose_characters_arrive_in_parts() -> None:
    with pair() as (near, far), ThreadPoolExecutor(1) as pool:
        match = pool.submit(near.expect, re.compile("é(.)"), 5)
        far.send(b"\xff \xc3")
        far.send(b"\xa9\xe2\x82")
        far.send(b"\xacend")
        assert match.result()[1] == "\N{EURO SIGN}"
        assert near.receive(timeout=5) == b"end"


@pytest.mark.parametrize(
    "wait", [lambda port: port.expect(b"ready", 0.05), lambda port: port.read_until(b"ready", 0.05)]
)
def test_what_does_not_come_in_time(wait: Callable[[Port], object]) -> None:
    with connect("loop:") as port:
        with pytest.raises(TimeoutError, match=r"b'ready' did not come within 0\.05 s; nothing came"):
            wait(port)
        port.send(b"x" * 300 + b"panic")
        with pytest.raises(TimeoutError, match=r"did not .*; the last that came: \.\.\.b'x{195}panic'"):
            wait(port)
        assert len(port.receive()) == 305


def test_the_end_of_the_stream() -> None:
    with pair() as (near, far):
        far.send(b"bye")
        far.send_eof()
        with pytest.raises(anyio.EndOfStream, match=r"closed the connection before 'ready' came; .*b'bye'"):
            near.expect("ready", 5)
        assert near.receive() == b"bye"
        with pytest.raises(anyio.EndOfStream):
            near.receive()


def test_a_flood_is_bounded() -> None:
    with pair() as (near, far), ThreadPoolExecutor(1) as pool:
        flood = pool.submit(far.send, b"x" * (1 << 20) + b"ready", timeout=10)
        assert 32768 <= near.expect(b"^x*ready", 10).end() <= 65536
        flood.result()
        flood = pool.submit(far.send, b"y" * 100_000, timeout=10)
        with pytest.raises(anyio.DelimiterNotFound):
            near.read_until(b"\n", 10)
        with pytest.raises(anyio.DelimiterNotFound):
            near.read_until(b"\n", 10, max_bytes=5)
        received = b""
        while len(received) < 100_000:
            received += near.receive(timeout=5)
        flood.result()
        assert received == b"y" * 100_000


# Time, threads, interrupts


def test_what_takes_too_long() -> None:
    with pair() as (near, far), listen("tcp://127.0.0.1:0") as listener:
        with pytest.raises(TimeoutError, match=r"not done within 0\.01 s"):
            near.receive(timeout=0.01)
        with pytest.raises(TimeoutError, match="nobody came within"):
            listener.accept(timeout=0.01)
        far.send(b"late")
        assert near.receive(timeout=5) == b"late"
        with pytest.raises(TimeoutError):
            near.send(b"x" * (64 << 20), timeout=0.1)


def test_several_threads_at_once() -> None:
    with pair() as (near, far), ThreadPoolExecutor(3) as pool:
        data = os.urandom(1 << 20)
        sent = pool.submit(far.send, data, timeout=10)
        answer = pool.submit(far.receive, timeout=10)
        received = bytearray()
        while len(received) < len(data):
            received += near.receive(timeout=10)
        near.send(b"done")
        sent.result()
        assert answer.result() == b"done"
        assert received == data


def test_two_receive_at_once() -> None:
    with pair() as (near, _), ThreadPoolExecutor(2) as pool:
        both = [pool.submit(near.receive, timeout=0.5) for _ in range(2)]
        errors = {type(one.exception()) for one in both}
        assert errors == {anyio.BusyResourceError, TimeoutError}


def test_closing_ends_the_waits_of_other_threads() -> None:
    with pair() as (near, _), ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(near.receive)
        with pytest.raises(TimeoutError):
            waiting.result(0.05)
        near.close()
        near.close()
        assert isinstance(waiting.exception(5), anyio.ClosedResourceError)
        with pytest.raises(anyio.ClosedResourceError):
            near.send(b"x")


INTERRUPTED = """
import os, signal, threading
from serialnet import sync

def interrupted(wait):
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        wait()
    except KeyboardInterrupt:
        return
    raise AssertionError("not interrupted")

with sync.listen("tcp://127.0.0.1:0") as listener:
    interrupted(listener.accept)
    with sync.connect(listener.urls[0]) as port, listener.accept() as far:
        interrupted(port.receive)
        far.send(b"later")
        assert port.receive(timeout=5) == b"later"
        interrupted(lambda: port.expect("ready"))
        interrupted(lambda: sync.connect(listener.urls[0].replace("tcp", "rfc2217"), timeout=30))
        with listener.accept(timeout=5) as tried:
            while tried.receive(timeout=5):
                try:
                    tried.receive(timeout=5)
                except Exception as error:
                    print(type(error).__name__)
                    break
with sync.serve("loop:", "tcp://127.0.0.1:0") as server:
    interrupted(server.wait)
    with server.events() as events:
        interrupted(lambda: next(events))
assert "serialnet.pyserial" not in [t.name for t in threading.enumerate()]
if os.path.isdir("/proc/self/fd"):
    names = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
    print([os.readlink(name) for name in names if os.path.islink(name)])
sync.connect("loop:").send(b"left open")
"""


def test_interrupts_leave_nothing_open_and_do_not_hang() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", INTERRUPTED],
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "socket:" not in done.stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_is_told() -> None:
    program = """
import os, anyio
from serialnet import sync
port = sync.connect("loop:")
child = os.fork()
if not child:
    try:
        port.send(b"x", timeout=5)
    except anyio.ClosedResourceError:
        port.close()
        with sync.connect("loop:") as own:
            own.send(b"x")
            own.receive(timeout=5)
        os._exit(7)
    os._exit(1)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
port.send(b"x", timeout=5)
port.close()
raise SystemExit(status)
"""
    done = subprocess.run(
        # Since 3.12, Python warns of forks beside threads.
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (7, "")


def test_hooks_must_not_wait() -> None:
    found: list[BaseException] = []

    class Waits(serialnet.Hook):
        async def opened(self, bridge: serialnet.Bridge) -> None:
            try:
                connect("loop:")
            except RuntimeError as error:
                found.append(error)

    with serve("loop:", "tcp://127.0.0.1:0", hooks=[Waits]) as server, connect(server.urls[0]) as port:
        port.send(b"x")
        port.receive(timeout=5)
    assert "wait for itself" in str(found)


# Errors, and the other functions


def test_errors_are_the_same() -> None:
    with pytest.raises(EndpointError, match="expected"):
        connect("nonsense")
    with pytest.raises(EndpointError):
        serve("loop:", "tcp://0.0.0.0:0")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(OpenError, match="refused"):
            connect(f"tcp://127.0.0.1:{taken.getsockname()[1]}")
    with connect("loop:") as port:
        with pytest.raises(ValueError, match="max_bytes"):
            port.receive(0)
        with pytest.raises(re.error):
            port.expect("(")


def test_serving() -> None:
    with connect("loop:") as port, serve(port.transport, "rfc2217://127.0.0.1:0") as server:
        with server.events() as events:
            with connect(server.urls[0]) as client:
                assert isinstance(events.next(timeout=5), ClientConnected)
                client.send(b"ping")
                assert client.receive(timeout=5) == b"ping"
            assert isinstance(events.next(timeout=5), ClientLeft)
        assert server.stats.bytes_to_port == 4
        with pytest.raises(TimeoutError):
            server.wait(0.01)


def test_linking() -> None:
    with link("listen:tcp://127.0.0.1:0", "loop:", once=True) as joined:
        with joined.events() as events, connect(joined.urls[0]) as client:
            assert isinstance(events.next(timeout=5), SessionStarted)
            client.send(b"ping")
            assert client.receive(timeout=5) == b"ping"
        assert joined.wait(5).by == "a"
        assert joined.stats.bytes_a_to_b == 4


def test_bridging() -> None:
    with pair() as (a, near), connect("loop:") as port, ThreadPoolExecutor(1) as pool:
        bridge = sync.Bridge(near, port)
        end = pool.submit(bridge.run, timeout=10)
        a.send(b"ping")
        assert a.receive(timeout=5) == b"ping"
        a.close()
        assert end.result().by == "a"
        assert bridge.stats.bytes_a_to_b == 4


@pytest.mark.parametrize(
    ("blocking", "asynchronous"),
    [
        (sync.Line, serialnet.Line),
        (sync.Port, serialnet.Transport),
        (sync.Listener, serialnet.Listener),
        (sync.Server, serialnet.Server),
        (sync.Link, serialnet.Link),
        (sync.Bridge, serialnet.Bridge),
    ],
)
def test_parameters_are_the_same(blocking: type, asynchronous: type) -> None:
    """What has the same name takes the same, and a limit to the wait besides."""
    compared = 0
    for name, method in inspect.getmembers(blocking, inspect.isfunction):
        other = getattr(asynchronous, name, None)
        if name.startswith("_") or other is None:
            continue
        compared += 1
        parameters, others = (list(inspect.signature(one).parameters) for one in (method, other))
        if inspect.iscoroutinefunction(other):
            assert parameters.pop() == "timeout", name
        renamed = ["data" if parameter == "item" else parameter for parameter in others]
        assert parameters == renamed, name
    assert compared


@pytest.mark.parametrize("name", ["connect", "listen", "serve", "link"])
def test_what_opens_has_the_same_parameters(name: str) -> None:
    blocking, asynchronous = (inspect.signature(getattr(module, name)) for module in (sync, serialnet))
    assert blocking.parameters == asynchronous.parameters
    assert getattr(sync, name).__doc__
    assert getattr(sync, name).__module__.startswith("serialnet.sync.")


def test_everything_of_the_line_is_there() -> None:
    for name in vars(serialnet.Line):
        assert name.startswith("_") or hasattr(sync.Line, name)


def test_it_is_imported_only_when_asked_for() -> None:
    program = "import sys, serialnet; print('serialnet.sync' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
