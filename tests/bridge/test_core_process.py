"""The copy core and the process around it: forks, signals, exits, several loops, nothing left behind."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import textwrap
import threading
import time
import weakref

import anyio
import anyio.lowlevel
import anyio.to_thread
import psutil
import pytest

import serialnet
from serialnet import Bridge
from serialnet.bridge.copy import pools, thread
from serialnet.bridge.copy.poller import Poller

from ..fake_ends import cancelled_everywhere
from .core_ends import receive_hashed, send_random, tcp

BACKENDS = ["asyncio", "uvloop", "trio"]
CONNECTS = 10_000 if os.environ.get("SERIALNET_SOAK") else 200

PREAMBLE = """
import os, signal, socket, sys, threading, time
import anyio, serialnet
from serialnet import Bridge

def run(main, backend):
    options = {"use_uvloop": True} if backend == "uvloop" else {}
    anyio.run(main, backend="asyncio" if backend == "uvloop" else backend, backend_options=options)

bridge = []

async def bridged(ready):
    async with (
        serialnet.listen("tcp://127.0.0.1:0") as listener,
        serialnet.connect(listener.urls[0]) as x, await listener.accept() as a,
        serialnet.connect(listener.urls[0]) as y, await listener.accept() as b,
        anyio.create_task_group() as tasks,
    ):
        bridge.append(Bridge(a, b))
        tasks.start_soon(bridge[0].run)
        await x.send(b"ping")
        assert await y.receive() == b"ping"
        await ready(x, y)
        tasks.cancel_scope.cancel()
"""


def python(program: str, *arguments: str, timeout: float = 30) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PREAMBLE + textwrap.dedent(program), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("way", ["sys.exit(3)", "raise KeyboardInterrupt", "os.kill(os.getpid(), 15)"])
def test_a_process_ends_with_bridges_open(backend: str, way: str) -> None:
    done = python(
        f"""
        async def ready(x, y):
            await x.send(bytes(1_000_000)) if "kill" in {way!r} else None
            {way}
            await anyio.sleep_forever()
        try:
            run(lambda: bridged(ready), sys.argv[1])
        except BaseExceptionGroup as group:
            sys.exit(3)
        """,
        backend,
    )
    assert "Fatal" not in done.stderr
    assert done.returncode == (-15 if "kill" in way else 3 if "exit" in way else done.returncode)


@pytest.mark.parametrize("backend", ["asyncio", "uvloop"])
def test_a_loop_can_be_closed_under_a_bridge(backend: str) -> None:
    """The thread copies on, and does no harm; at the end of the interpreter nobody waits for it."""
    done = python(
        """
        import asyncio, uvloop, warnings
        warnings.simplefilter("ignore")
        kept = []

        class Abandoned:
            '''As the task that runs a bridge is, when the interpreter ends.'''

            def __init__(self, passage):
                self.passage = passage

            def __del__(self, write=os.write, is_finalizing=sys.is_finalizing):
                assert is_finalizing()
                self.passage.stop()
                write(1, b"stopped")

        async def begin():
            listener = await serialnet.listen("tcp://127.0.0.1:0")
            for _ in range(2):
                kept.append(await serialnet.connect(listener.urls[0]))
                kept.append(await listener.accept())
            x, a, y, b = kept
            bridge.append(Bridge(a, b))
            kept.append(asyncio.ensure_future(bridge[0].run()))
            await x.send(b"ping")
            assert await y.receive() == b"ping"
            return x._socket, y._socket

        loop = asyncio.new_event_loop() if sys.argv[1] == "asyncio" else uvloop.new_event_loop()
        x, y = loop.run_until_complete(begin())
        loop.close()
        y.setblocking(True)
        x.send(b"pong")
        assert y.recv(4) == b"pong"
        x.shutdown(socket.SHUT_RDWR)
        y.shutdown(socket.SHUT_WR)
        y.settimeout(5)
        assert y.recv(4) == b""
        sys.modules["abandoned"] = Abandoned(bridge[0]._to_port.passage)
        # As the copying thread may be found then: at work.
        from serialnet.bridge.copy import thread
        held = threading.Event()
        hold = lambda: (thread.turns.lock.acquire(), held.set(), threading.Event().wait())
        threading.Thread(target=hold, daemon=True).start()
        held.wait(10)
        """,
        backend,
    )
    assert done.stdout == "stopped", done.stderr
    assert done.returncode == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_child_of_a_fork_leaves_the_parents_bridge_alone(backend: str) -> None:
    """Also when it takes its own apart: what it unregistered would be lost for the parent."""
    done = python(
        """
        import warnings
        warnings.simplefilter("ignore", DeprecationWarning)

        async def ready(x, y):
            sent = 0
            with anyio.move_on_after(0.3):  # until nothing goes
                while True:
                    sent += await x.send_some(bytes(65536))
            pid = os.fork()
            if pid == 0:
                try:
                    from serialnet.bridge.copy import thread, pools, waker
                    assert thread._poller is None and not pools._pipes and not waker._idle
                    for pump in (bridge[0]._to_port, bridge[0]._to_user):
                        assert pump.passage is not None
                        pump.close()
                    os._exit(0)
                finally:
                    os._exit(1)
            assert os.waitpid(pid, 0)[1] == 0
            while sent:
                sent -= len(await y.receive())
            for word in (b"pong", b"ping"):
                await y.send(word)
                assert await x.receive() == word
            print("alive", flush=True)
        run(lambda: bridged(ready), sys.argv[1])
        """,
        backend,
    )
    assert done.stdout == "alive\n", done.stderr


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_broken_connection_is_no_signal_in_the_poller(backend: str) -> None:
    """Command-line programs often have SIGPIPE as it is by default, which would end the process."""
    done = python(
        """
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)

        async def ready(x, y):
            await y.aclose()
            with anyio.move_on_after(5):
                try:
                    while True:
                        await x.send(bytes(20_000))
                except anyio.BrokenResourceError:
                    pass
            print("alive", flush=True)
        run(lambda: bridged(ready), sys.argv[1])
        """,
        backend,
    )
    assert done.stdout == "alive\n", done.stderr


def test_signals_go_to_the_main_thread() -> None:
    done = python(
        """
        heard = []
        signal.signal(signal.SIGUSR1, lambda *_: heard.append(threading.current_thread().name))

        async def ready(x, y):
            masks = [
                open(f"/proc/self/task/{task}/status").read() for task in os.listdir("/proc/self/task")
                if int(task) != os.getpid()
            ]
            assert any("SigBlk:\\tfffffffe" in mask for mask in masks), masks
            os.kill(os.getpid(), signal.SIGUSR1)
        run(lambda: bridged(ready), "asyncio")
        print(heard)
        """
    )
    assert done.stdout == "['MainThread']\n", done.stderr


def test_two_loops_share_the_poller() -> None:
    results: list[str] = []
    pollers = set()

    async def main() -> None:
        async with tcp() as (a, beyond_a), tcp() as (b, beyond_b), anyio.create_task_group() as tasks:
            tasks.start_soon(Bridge(a, b).run)
            tasks.start_soon(send_random, beyond_a, 3_000_000, 1)
            results.append(await receive_hashed(beyond_b, 3_000_000, 2))
            pollers.add(thread._poller)
            tasks.cancel_scope.cancel()

    threads = [
        threading.Thread(target=anyio.run, args=(main,), kwargs={"backend": backend})
        for backend in ("asyncio", "trio", "asyncio")
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(results) == 3
    assert len(set(results)) == 1
    assert len(pollers) == 1


async def test_many_connects_leave_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread, "IDLE", 0.05)
    process = psutil.Process()
    async with serialnet.listen("tcp://127.0.0.1:0") as listener:

        async def one() -> None:
            async with (
                serialnet.connect(listener.urls[0]) as x,
                serialnet.connect(listener.urls[0]) as y,
                anyio.create_task_group() as tasks,
            ):
                tasks.start_soon(Bridge(await listener.accept(), await listener.accept()).run)
                await x.send(b"1")
                assert await y.receive() == b"1"
                await x.aclose()
                await y.aclose()

        for _ in range(10):
            await one()
        before = process.num_fds()
        tasks_before = len(anyio.get_running_tasks())
        for _ in range(CONNECTS):
            await one()
        assert process.num_fds() <= before
        assert len(anyio.get_running_tasks()) == tasks_before
    with anyio.fail_after(10):
        while thread._poller is not None:  # noqa: ASYNC110
            await anyio.sleep(0.01)
    assert len(pools._scratches) <= pools.MOST_IDLE
    assert not [each for each in threading.enumerate() if each.name.startswith("serialnet")]


async def test_a_session_leaves_no_work_to_the_garbage_collector() -> None:
    async with serialnet.listen("tcp://127.0.0.1:0") as listener:

        async def session() -> list[weakref.ref[object]]:
            async with (
                serialnet.connect(listener.urls[0]) as x,
                await listener.accept() as a,
                serialnet.connect(listener.urls[0]) as y,
                await listener.accept() as b,
            ):
                bridge = Bridge(a, b)
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(bridge.run)
                    await x.send(b"ping")
                    assert await y.receive() == b"ping"
                    await x.send_eof()
                    await y.send_eof()
                return [weakref.ref(one) for one in (bridge, a, b)]

        gc.disable()
        try:
            left = await session()
            await anyio.lowlevel.checkpoint()  # the bridge's task goes, too
            assert [one() for one in left] == [None] * 3
        finally:
            gc.enable()


async def test_cancelling_at_each_await() -> None:
    process = psutil.Process()

    async def run() -> None:
        async with tcp() as (a, beyond_a), tcp() as (b, beyond_b):
            await beyond_a.send(b"x")
            await beyond_a.send_eof()
            await beyond_b.send_eof()
            await Bridge(a, b).run()

    await run()
    before = process.num_fds()
    await cancelled_everywhere(run)
    assert process.num_fds() <= before


async def test_the_thread_sleeps_beside_idle_bridges_and_ends_with_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(thread, "IDLE", 0.05)
    dispatched = 0
    dispatch = Poller.dispatch

    def counted(poller: Poller, timeout: float | None = 0) -> bool:
        nonlocal dispatched
        dispatched += 1
        return dispatch(poller, timeout)

    monkeypatch.setattr(Poller, "dispatch", counted)
    async with tcp() as (a, beyond_a), tcp() as (b, beyond_b), anyio.create_task_group() as tasks:
        tasks.start_soon(Bridge(a, b).run)
        await beyond_a.send(b"1")
        assert await beyond_b.receive() == b"1"
        (copying,) = (each for each in threading.enumerate() if each.name == "serialnet-copy")
        await anyio.sleep(0.2)
        dispatched = 0
        await anyio.sleep(0.5)
        assert dispatched == 0
        tasks.cancel_scope.cancel()
    await anyio.to_thread.run_sync(copying.join, 10)
    assert not copying.is_alive()


async def test_an_idle_bridge_does_not_wake() -> None:
    """Neither does one whose PTY has hung up, or whose other end is closed half."""
    async with tcp() as (a, beyond_a), tcp() as (b, _), anyio.create_task_group() as tasks:
        tasks.start_soon(Bridge(a, b).run)
        await beyond_a.send_eof()
        await anyio.sleep(0.05)
        before = time.process_time()
        await anyio.sleep(0.5)
        assert time.process_time() - before < 0.25
        tasks.cancel_scope.cancel()
