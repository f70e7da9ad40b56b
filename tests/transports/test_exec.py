"""``exec:``: a command's standard streams; it ends with the transport, whatever becomes of that."""

from __future__ import annotations

import logging
import os
import random
import shlex
import signal
import sys
import threading
from typing import Any

import anyio
import psutil
import pytest

import serialnet
from serialnet import EndpointError, LineSettings, OpenError, TransportAttribute
from serialnet.transports import exec as module
from serialnet.transports.exec import ExecTransport
from serialnet.transports.rfc2217 import RFC2217Transport

from ..fake_ends import cancelled_everywhere, descriptors
from ..interop.tools import until
from .test_tcp import flood

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")

BACKENDS: list[Any] = ["asyncio", "trio", ("asyncio", {"use_uvloop": True})]


@pytest.fixture(params=BACKENDS, ids=["asyncio", "trio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(autouse=True)
def _say_all(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "serialnet.exec")


async def execute(command: str) -> ExecTransport:
    transport = await serialnet.connect(f"exec:{command}")
    assert isinstance(transport, ExecTransport)
    return transport


def script(text: str) -> str:
    return f"{sys.executable} -Suc {shlex.quote(text)}"


def pid(transport: ExecTransport) -> int:
    return transport._keeper._process.pid


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "serialnet.exec"]


async def test_its_streams_are_the_transport() -> None:
    async with await execute("cat") as transport:
        await transport.send(b"hello")
        assert await transport.receive() == b"hello"
        assert transport.extra(TransportAttribute.url) == "exec:cat"
        await transport.send_eof()
        with pytest.raises(anyio.EndOfStream):
            await transport.receive()
        with pytest.raises(anyio.BrokenResourceError):
            await transport.send(b"more")
    with pytest.raises(anyio.ClosedResourceError):
        await transport.receive()


async def test_its_output_goes_on_after_the_end_of_its_input() -> None:
    async with await execute("sh -c 'cat >/dev/null; echo done'") as transport:
        await transport.send(b"x")
        await transport.send_eof()
        assert await transport.receive() == b"done\n"


async def test_it_is_split_as_a_shell_does_and_run_without_one() -> None:
    async with await execute("echo 'a  b' $HOME \\* | x") as transport:
        assert await transport.receive() == b"a  b $HOME * | x\n"


async def test_cancelled_receives_and_sends_lose_nothing() -> None:
    rng = random.Random(1)
    data = rng.randbytes(500_000)
    async with await execute("cat") as transport:
        with anyio.fail_after(20):
            assert await flood(transport, transport, data, rng) == data


async def test_its_errors_go_to_the_log_line_by_line(caplog: pytest.LogCaptureFixture) -> None:
    text = (
        "import os; os.write(2, b'one\\n\\x1b[2Jtwo\\r\\n\\n\\xff' + 3000 * b'x' + b'\\nlast');"
        " os.write(1, b'out\\n')"
    )
    async with await execute(script(text)) as transport:
        assert await transport.receive() == b"out\n"
        with pytest.raises(anyio.EndOfStream):
            await transport.receive()
        await transport._keeper.wait()
        name = transport.name
    lines = messages(caplog)
    assert lines[:2] == [f"{name}: one", f"{name}: ?[2Jtwo"]
    assert lines[-1] == f"{name}: last"
    assert all(len(line) <= len(name) + 2 + module.MOST_LINE for line in lines)


async def test_many_errors_block_nobody() -> None:
    async with await execute("sh -c 'head -c 300000 /dev/zero >&2; echo done'") as transport:
        with anyio.fail_after(10):
            assert await transport.receive() == b"done\n"


async def test_a_failure_without_a_word_says_why() -> None:
    async with await execute("sh -c 'echo no such board >&2; exit 3'") as transport:
        for _ in range(2):
            with pytest.raises(anyio.BrokenResourceError, match=r"^sh ended with status 3: no such board$"):
                await transport.receive()


async def test_also_to_who_sends() -> None:
    async with await execute("sh -c 'echo no such board >&2; exit 3'") as transport:
        with pytest.raises(anyio.BrokenResourceError, match=r"^sh ended with status 3: no such board$"):
            await transport.send(bytes(10_000_000))  # the pipe takes some


async def test_a_failure_after_some_output_is_told_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with await execute("sh -c 'echo x; kill -9 $$'") as transport:
        assert await transport.receive() == b"x\n"
        for _ in range(2):
            with pytest.raises(anyio.EndOfStream):
                await transport.receive()
    assert messages(caplog) == ["sh was ended by SIGKILL"]


async def test_closing_ends_it_by_the_end_of_its_input(caplog: pytest.LogCaptureFixture) -> None:
    transport = await execute("cat")
    await transport.aclose()
    await transport.aclose()
    assert transport._keeper.status == 0
    assert not psutil.pid_exists(pid(transport))
    assert not messages(caplog)


@pytest.mark.parametrize(
    ("trap", "status"), [("pass", -signal.SIGTERM), ("signal.signal(15, signal.SIG_IGN)", -signal.SIGKILL)]
)
async def test_or_by_force(monkeypatch: pytest.MonkeyPatch, trap: str, status: int) -> None:
    monkeypatch.setattr(module, "GRACE", 0.1)
    transport = await execute(script(f"import signal, time; {trap}; print('x', end=''); time.sleep(60)"))
    await transport.receive()
    await transport.aclose()
    assert transport._keeper.status == status
    assert not psutil.pid_exists(pid(transport))


async def test_with_all_that_it_has_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GRACE", 0.1)
    transport = await execute("sh -c 'sleep 60 & echo $!; wait'")
    grandchild = int(await transport.receive())
    await transport.aclose()
    await until(lambda: not psutil.pid_exists(grandchild) or psutil.Process(grandchild).status() == "zombie")


async def test_a_close_that_is_cancelled_kills_it_at_once() -> None:
    transport = await execute(script("import time; print('x', end=''); time.sleep(60)"))
    await transport.receive()
    await anyio.aclose_forcefully(transport)
    await until(lambda: transport._keeper.status is not None)
    assert transport._keeper.status == -signal.SIGKILL
    assert not psutil.pid_exists(pid(transport))


async def test_who_holds_its_errors_open_delays_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    # As the master of a shared ssh connection does.
    transport = await execute("sh -c 'sleep 60 <&- >&- & echo $!'")
    grandchild = int(await transport.receive())
    try:
        with anyio.fail_after(module.GRACE / 2):
            await transport.aclose()
        assert transport._keeper.status == 0
    finally:
        os.kill(grandchild, signal.SIGKILL)


async def test_without_handles_on_processes_it_is_looked_after(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_handle", lambda pid: None)
    async with await execute("sh -c 'echo x; exec 2>&-; cat'") as transport:
        assert await transport.receive() == b"x\n"
    assert transport._keeper.status == 0


async def test_ctrl_c_is_not_for_it() -> None:
    async with await execute("cat") as transport:
        assert os.getpgid(pid(transport)) == pid(transport)


async def test_its_hang_up_is_seen_without_reading() -> None:
    async with await execute("sh -c 'echo x'") as transport:
        await until(lambda: transport._hung_up(half=True))
        assert not transport._hung_up()
        assert await transport.receive() == b"x\n"


async def test_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GRACE", 0.5)

    async def session() -> None:
        async with await execute("cat") as transport:
            await transport.send(b"x")
            await transport.receive()

    def keepers() -> int:
        return sum(thread.name == "serialnet exec:cat" for thread in threading.enumerate())

    await session()
    await until(lambda: not keepers())
    before = descriptors()
    await cancelled_everywhere(session)
    await until(lambda: not keepers())
    await until(lambda: descriptors() == before)
    assert not psutil.Process().children()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("exec:", "expected exec:COMMAND"),
        ("exec:   ", "expected exec:COMMAND"),
        ("exec:echo 'a", "split as a shell does: no closing quotation"),
        ("exec:?baudrate=9600 cat", "no option 'baudrate'; expected: none"),
        ("rfc2217+exec:?baud=9600 cat", "no option 'baud'; expected: .*baudrate"),
    ],
)
async def test_what_is_no_command(url: str, message: str) -> None:
    with pytest.raises(EndpointError, match=message):
        await serialnet.connect(url)
    with pytest.raises(EndpointError):
        await serialnet.listen("exec:cat")


async def test_what_cannot_be_run() -> None:
    with pytest.raises(OpenError, match="cannot run /no/such/program: No such file"):
        await serialnet.connect("exec:/no/such/program")
    with pytest.raises(OpenError, match="cannot run /: Permission denied"):
        await serialnet.connect("exec:/")


SERVE = f"{sys.executable} -m serialnet serve loop: --listen rfc2217+stdio:"


async def test_rfc2217_over_it_to_one_that_serves_on_its_own_streams(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serialnet.connect(f"rfc2217+exec:?baudrate=9600&rts=on&timeout=20 {SERVE}") as port:
        assert isinstance(port, RFC2217Transport)
        assert port.line.settings == LineSettings(9600)
        await port.send(b"\xff\x00abc")
        received = b""
        while len(received) < 5:
            received += await port.receive()
        assert received == b"\xff\x00abc"
        assert (await port.line.get_inputs()).cts
        command = port._over
    assert isinstance(command, ExecTransport)
    assert command._keeper.status == 0  # it ends by itself when its client's input ends
    assert f"{command.name}: listening on rfc2217+stdio:" in messages(caplog)


async def test_options_are_keywords_as_well() -> None:
    async with serialnet.connect(f"rfc2217+exec:{SERVE}", parity="E", timeout=20) as port:
        assert port.line is not None
        assert port.line.settings.parity.value == "E"


async def test_a_far_failure_is_told() -> None:
    with pytest.raises(OpenError, match="ended with status 1: serialnet: cannot open /dev/none: there is no"):
        await serialnet.connect(
            f"rfc2217+exec:{sys.executable} -m serialnet serve /dev/none --listen rfc2217+stdio:", timeout=20
        )
