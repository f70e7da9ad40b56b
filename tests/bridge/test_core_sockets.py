"""The lane between two sockets, and the poller that is told once only of what they have."""

from __future__ import annotations

import hashlib
import os
import random
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from itertools import count
from types import FrameType
from typing import Any, TypeAlias

import pytest
from typing_extensions import override

from serialnet.bridge.copy import socket_lane
from serialnet.bridge.copy import turns as turns_module
from serialnet.bridge.copy.lane import OFF, READING, SENDING
from serialnet.bridge.copy.poller import Poller
from serialnet.bridge.copy.socket_lane import SocketLane
from serialnet.bridge.copy.turns import Turns
from serialnet.core.loan import Sink, Source

SIZE = 4096


class From(Source):
    @override
    def read(self, buffer: memoryview) -> memoryview:
        raise AssertionError("it reads from the socket itself")

    @override
    def give_back(self, error: Exception | None) -> None:
        pass


class To(Sink):
    @override
    def give_back(self, unsent: bytes) -> bytes:
        return unsent


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return near, server.accept()[0]


Pair: TypeAlias = Callable[[], tuple[socket.socket, socket.socket]]
PAIRS: tuple[Pair, ...] = (tcp_pair, socket.socketpair)


class Ends:
    """A lane, and what is beyond its sockets."""

    def __init__(self, pair: Pair) -> None:
        self.before, from_ = pair()
        to, self.behind = pair()
        self.sockets = (self.before, from_, to, self.behind)
        for sock in self.sockets:
            sock.setblocking(False)
        self.woken = 0
        source, sink = From(from_.fileno(), from_), To(to.fileno(), to.send, to)
        sink.send_eof = lambda: to.shutdown(socket.SHUT_WR)
        self.lane = SocketLane(source, sink, from_, to, self.wake, passes_end=True)

    def wake(self) -> None:
        self.woken += 1


@contextmanager
def lane(pair: Pair = socket.socketpair) -> Iterator[Ends]:
    ends = Ends(pair)
    try:
        yield ends
    finally:
        ends.lane.stop()
        for sock in ends.sockets:
            sock.close()


@contextmanager
def driven(pair: Pair) -> Iterator[tuple[Ends, Poller]]:
    with lane(pair) as ends, closing(Poller()) as poller:
        poller.add(ends.lane)
        yield ends, poller
        poller.remove(ends.lane)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a buffer be filled easily."""
    monkeypatch.setattr(socket_lane, "pop_scratch", lambda: memoryview(bytearray(SIZE)))
    monkeypatch.setattr(socket_lane, "push_scratch", lambda scratch: None)


@pytest.mark.parametrize(("sent", "more"), [(1, False), (SIZE - 1, False), (SIZE, True), (SIZE + 1, True)])
def test_it_says_when_it_may_have_left_something(sent: int, more: bool, small: None) -> None:
    with lane() as ends:
        ends.before.send(bytes(sent))
        assert ends.lane.readable() is more
        assert len(ends.behind.recv(2 * SIZE)) == ends.lane.received == min(sent, SIZE)


def test_there_may_be_nothing() -> None:
    with lane() as ends:
        assert not ends.lane.readable()
        assert ends.lane.state is READING


def test_the_end_is_passed_on() -> None:
    with lane() as ends:
        ends.before.shutdown(socket.SHUT_WR)
        ends.lane.readable()
        assert (ends.lane.state, ends.lane.at_end, ends.lane.passed_end) == (OFF, True, True)
        assert ends.behind.recv(1) == b""


def test_a_broken_source_and_a_broken_sink() -> None:
    with lane() as ends:
        ends.before.send(b"lost")
        ends.sockets[1].close()
        ends.lane.readable()
        assert isinstance(ends.lane.error, OSError)
        assert ends.lane.state is OFF
    with lane() as ends:
        ends.before.send(b"kept")
        ends.behind.close()
        ends.lane.readable()
        assert (ends.lane.state, ends.lane.error) == (OFF, None)
        assert ends.lane.stop() == b"kept"


@pytest.mark.parametrize("splices", [False, True])
def test_what_the_sink_does_not_take_is_kept_and_given_back(splices: bool) -> None:
    with lane() as ends:
        sent = taken = b""
        while ends.lane.state is READING:
            block = os.urandom(60_000 if splices else 10_000)
            ends.before.send(block)
            sent += block
            ends.lane.readable()
        assert ends.lane.state is SENDING
        taken += ends.behind.recv(100)
        ends.lane.writable()
        unsent = ends.lane.stop()
        ends.sockets[2].close()
        while block := ends.behind.recv(1 << 20):
            taken += block
        assert taken + unsent == sent


@pytest.mark.parametrize("pair", PAIRS)
def test_an_end_that_came_along_with_bytes_is_met(pair: Pair) -> None:
    """Nothing tells of it again once the bytes were read."""
    with driven(pair) as (ends, poller):
        ends.before.send(b"last words")
        ends.before.shutdown(socket.SHUT_WR)
        while poller.dispatch(0.1):
            pass
        assert (ends.lane.state, ends.lane.at_end, ends.woken) == (OFF, True, 1)
        assert (ends.behind.recv(100), ends.behind.recv(100)) == (b"last words", b"")


@pytest.mark.parametrize("pair", PAIRS)
def test_what_fills_many_buffers_goes_on_by_itself(pair: Pair, small: None) -> None:
    with driven(pair) as (ends, poller):
        ends.before.send(bytes(20 * SIZE))
        while poller.dispatch(0.1):
            pass
        assert ends.lane.received == 20 * SIZE


@pytest.mark.parametrize("told", [False, True])
def test_urgent_data_does_not_hold_back_what_follows(told: bool) -> None:
    """A read stops in front of it, as when a telnet client interrupts."""
    with driven(tcp_pair) as (ends, poller):
        ends.before.send(b"before")
        if told:
            poller.dispatch(1)
        ends.before.send(b"!", socket.MSG_OOB)
        ends.before.send(b"after")
        while poller.dispatch(0.1):
            pass
        assert ends.behind.recv(100) == b"beforeafter"
        ends.before.send(b"again")
        poller.dispatch(1)
        assert ends.behind.recv(100) == b"again"
        assert not poller.dispatch(0.01)


@pytest.mark.skipif(not hasattr(os, "splice"), reason="there is nothing to splice with")
@pytest.mark.parametrize("ends_then", [False, True])
@pytest.mark.parametrize("after", [b"", b"after", bytes(20_000)])
def test_urgent_data_does_not_hold_back_what_would_be_spliced(after: bytes, ends_then: bool) -> None:
    """Splicing never gets past it, and says of what follows that there is nothing, or that it is the end."""
    with driven(tcp_pair) as (ends, poller):
        bulk = bytes(socket_lane.SPLICE_FROM)
        ends.before.send(bulk)
        seen = b""
        while len(seen) < len(bulk):
            poller.dispatch(1)
            with suppress(BlockingIOError):
                seen += ends.behind.recv(1 << 20)
        ends.before.send(bulk)
        ends.before.send(b"!", socket.MSG_OOB)
        ends.before.send(after)
        if ends_then:
            ends.before.shutdown(socket.SHUT_WR)
        dispatches = 0
        while poller.dispatch(0.1):
            dispatches += 1
            assert dispatches < 20
            with suppress(BlockingIOError):
                seen += ends.behind.recv(1 << 20)
        with suppress(BlockingIOError):
            seen += ends.behind.recv(1 << 20)
        assert seen == bulk + bulk + after
        assert ends.lane.at_end is ends_then


def test_a_passed_descriptor_does_not_hold_back_what_follows() -> None:
    with driven(socket.socketpair) as (ends, poller):
        socket.send_fds(ends.before, [b"before"], [0])
        ends.before.send(b"after")
        while poller.dispatch(0.1):
            pass
        assert ends.behind.recv(100) == b"beforeafter"


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("seed", range(20))
def test_no_byte_waits_for_another(seed: int, pair: Pair) -> None:
    """Whatever comes and goes at whatever time: when nothing happens any more, nothing is left."""
    rng = random.Random(seed)
    sent, seen = hashlib.sha256(), hashlib.sha256()
    with driven(pair) as (ends, poller):
        for _ in range(300):
            step = rng.random()
            if step < 0.4:
                block = rng.randbytes(rng.choice([1, 100, 5000, 40_000]))
                try:
                    n = ends.before.send(block)
                except BlockingIOError:
                    n = 0
                sent.update(block[:n])
            elif step < 0.7:
                poller.dispatch(0)
            else:
                with suppress(BlockingIOError):
                    seen.update(ends.behind.recv(rng.choice([1, 100, 200_000])))
        ends.before.shutdown(socket.SHUT_WR)
        while ends.lane.state is not OFF:
            assert poller.dispatch(5)
            with suppress(BlockingIOError):
                seen.update(ends.behind.recv(1 << 20))
        ends.behind.setblocking(True)
        while block := ends.behind.recv(1 << 20):
            seen.update(block)
    assert seen.digest() == sent.digest()


def test_who_is_told_of_a_full_sink_sees_that_it_has_to_look_again() -> None:
    """Else a thread that is about to rest, and looks a moment later, would rest for ever."""
    told: list[bool] = []

    class Told(Poller):
        @override
        def _sending_begins(self) -> None:
            told.append(self.is_sending)

    with lane() as ends, closing(Told()) as poller:
        poller.add(ends.lane)
        while ends.lane.state is READING:
            ends.before.send(bytes(10_000))
            poller.dispatch(1)
        assert told == [True]
        poller.remove(ends.lane)


def test_a_busy_holder_lets_others_have_their_turn() -> None:
    turns = Turns()
    begun, done = threading.Event(), threading.Event()
    had: list[int] = []

    def be_busy() -> None:
        with turns.lock:
            begun.set()
            while not done.is_set():
                if turns.wanted:
                    turns.give_way()

    def take_turns(number: int) -> None:
        for _ in range(100):
            with turns.queue, turns.next():
                had.append(number)

    busy = threading.Thread(target=be_busy)
    others = [threading.Thread(target=take_turns, args=(number,)) for number in range(3)]
    busy.start()
    assert begun.wait(10)
    for thread in others:
        thread.start()
    for thread in others:
        thread.join(30)
    done.set()
    busy.join(10)
    assert sorted(had) == [0] * 100 + [1] * 100 + [2] * 100


def test_an_interrupt_does_not_keep_the_turn() -> None:
    """Wherever Ctrl-C hits who asks for it: nobody could take a bridge apart any more."""
    turns = Turns()
    left = 0

    def interrupt(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal left
        if frame.f_code.co_filename != turns_module.__file__:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
        return interrupt

    tracing = sys.gettrace()
    for number in count():
        left = number
        sys.settrace(interrupt)
        try:
            with turns.queue, turns.next():
                break
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(tracing)
        assert not turns.lock.locked()
        assert not turns.queue.locked()
    assert number > 3
