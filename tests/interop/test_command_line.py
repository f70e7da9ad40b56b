"""The command line, as a user runs it: each command in a process of its own."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec

import anyio
import pytest
from anyio.streams.text import TextReceiveStream

import serialnet

from .tools import Finished, python

ANY_PORT = "rfc2217://127.0.0.1:0"


@pytest.fixture
def anyio_backend() -> str:
    # The command line has an event loop of its own, in another process.
    return "asyncio"


async def command(*arguments: str, timeout: float = 30.0) -> Finished:
    return await python("-m", "serialnet", *arguments, timeout=timeout)


@dataclass
class Serving:
    """``serialnet serve`` in the background."""

    process: anyio.abc.Process
    output: str
    urls: list[str]
    errors: str = ""

    async def stop(self, with_: signal.Signals) -> None:
        """Interrupt it, and wait for its end."""
        assert self.process.stderr is not None
        self.process.send_signal(with_)
        with anyio.fail_after(10):
            await self.process.wait()
            self.errors = "".join([text async for text in TextReceiveStream(self.process.stderr)])


@asynccontextmanager
async def serving(*arguments: str) -> AsyncIterator[Serving]:
    process = await anyio.open_process(
        [sys.executable, "-m", "serialnet", "serve", *arguments], stdin=subprocess.DEVNULL
    )
    async with process:
        try:
            assert process.stdout is not None
            output = ""
            with anyio.fail_after(20):
                async for text in TextReceiveStream(process.stdout):
                    output += text
                    if output.endswith(" 115200\n"):  # the last of the commands to paste
                        break
            yield Serving(process, output, re.findall(r"^listening on (\S+)$", output, re.MULTILINE))
        finally:
            if process.returncode is None:
                process.kill()


@pytest.mark.parametrize("with_", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
async def test_serve_says_where_and_ends_when_interrupted(with_: signal.Signals) -> None:
    async with serving("sim://esp32", "--listen", ANY_PORT) as server:
        (url,) = server.urls
        assert re.fullmatch(r"rfc2217://127\.0\.0\.1:[1-9]\d*", url)
        # Commands to paste.
        assert f"  esptool --port {url} flash-id\n" in server.output
        assert f"  python -m serial.tools.miniterm {url} 115200\n" in server.output
        await server.stop(with_)
        assert server.process.returncode == 0
        assert server.errors == ""


async def test_serve_ends_cleanly_while_a_client_is_there() -> None:
    async with (
        serving("sim://esp32", "--listen", ANY_PORT) as server,
        serialnet.connect(server.urls[0]) as port,
    ):
        await port.send(b"x")
        assert await port.receive() == b"x"
        await server.stop(signal.SIGINT)
        assert server.process.returncode == 0
        assert server.errors == ""
        with anyio.fail_after(5), pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            await port.receive()


@pytest.mark.skipif(find_spec("esptool") is None, reason="esptool is not installed")
@pytest.mark.timeout(120)
async def test_esptool_through_a_served_board() -> None:
    async with serving("sim://esp32", "--listen", ANY_PORT) as server:
        esptool = await python(
            *("-m", "esptool", "--port", server.urls[0], "--connect-attempts", "1", "chip-id"), timeout=90
        )
        assert esptool.status == 0, esptool
        assert "ESP32-D0WDQ6" in esptool.output
        await server.stop(signal.SIGINT)
        assert server.errors == ""


async def test_reset_through_a_served_board() -> None:
    async with serving("sim://esp32", "--listen", ANY_PORT, "--listen", "tcp://127.0.0.1:0") as server:
        url, raw = server.urls
        for arguments, bootloader in (
            (["--bootloader"], True),
            ([], False),
            (["--sequence", "U0,1|W0.1|U1,0|W0.1|U0,0"], True),
        ):
            reset = await command("reset", url, *arguments)
            assert (reset.status, reset.output, reset.errors) == (0, "", "")
            # What the board said is lost with the session: ask how it is.
            assert await is_in_bootloader(raw) is bootloader


async def is_in_bootloader(url: str) -> bool:
    """The application echoes what the boot loader takes for noise."""
    async with serialnet.connect(url) as port:
        await port.send(b"which are you?")
        with anyio.move_on_after(0.5):
            return not await port.receive()
    return True


async def test_the_port_may_be_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = await command("serve", "sim://esp32", "--listen", f"tcp://127.0.0.1:{port}")
    assert result.status == 1
    assert result.errors == f"serialnet: cannot listen on 127.0.0.1:{port}: Address already in use\n"
    assert result.output == ""


USAGE, FAILURE = 2, 1
SIM = "sim://esp32"
# What was typed, the exit status, and what the one line must say.
WRONG = [
    ("serve foo://x", USAGE, "no transport 'foo'; expected one of: .*rfc2217.*sim"),
    ("serve sim://esp32?nope=1", USAGE, "no option 'nope'; expected: .*capacitor"),
    ("serve sim://esp32?capacitor=x", USAGE, "'capacitor'.* number"),
    ("serve sim://esp32?baudrate=0", USAGE, "baudrate must be from 1"),
    ("serve sim://esp32?parity=Q", USAGE, "'parity'.*not 'Q'"),
    ("serve sim://esp32?rtscts&xonxoff", USAGE, "exclude each other"),
    ("serve sim://esp32?baudrate=1&baudrate=2", USAGE, "'baudrate' stands there twice"),
    ("serve sim://esp99", USAGE, "esp32s2.*not 'esp99'"),
    ("serve localhost:4000", USAGE, "did you mean 'rfc2217://localhost:4000'"),
    ("serve 4000", USAGE, "did you mean ':4000'"),
    ("serve ttyUSB0", USAGE, "did you mean '/dev/ttyUSB0'"),
    ("serve tcp+tcp://127.0.0.1:1", USAGE, "'tcp' is no layer"),
    ("serve /dev/ttyNOPE", FAILURE, "cannot open /dev/ttyNOPE: .*no such"),
    ("serve /dev/null", FAILURE, "cannot open /dev/null: .*not a serial port"),
    ("serve tcp://127.0.0.1:1", FAILURE, "cannot connect to 127.0.0.1:1: Connection refused"),
    (f"serve {SIM} --listen sim://esp32", USAGE, "cannot be listened on"),
    (f"serve {SIM} --listen tcp://127.0.0.1", USAGE, "expected tcp://HOST:PORT"),
    (f"serve {SIM} --listen tcp://127.0.0.1:99999", USAGE, "not 99999"),
    (f"serve {SIM} --listen tcp://127.0.0.1:0?x=1", USAGE, "no option 'x'"),
    (f"serve {SIM} --listen tcp://nosuch.invalid:0", FAILURE, "cannot listen on nosuch.invalid:0: "),
    (f"serve {SIM} --listen rfc2217://0.0.0.0:0", USAGE, "--allow .*--insecure"),
    (f"serve {SIM} --listen tcp://[::]:0", USAGE, "--allow .*--insecure"),
    (f"serve {SIM} --allow nonsense", USAGE, "'nonsense' is no network"),
    (f"serve {SIM} --on-connect X9", USAGE, "'X9'.*dtr-pulse"),
    (f"serve {SIM} --on-first-data W99", USAGE, r"longer than \d+ s"),
    (f"serve {SIM} --on-disconnect D2", USAGE, "'D2'"),
    ("reset :1", FAILURE, "cannot connect to 127.0.0.1:1: Connection refused"),
    ("reset rfc2217://127.0.0.1:1/path", USAGE, "nothing after the port"),
    ("reset sim://esp32 --sequence D9", USAGE, "'D9'"),
    # argparse shows the usage, too.
    ("", USAGE, "COMMAND"),
    ("bogus", USAGE, "'bogus'.*serve"),
    ("serve --nope", USAGE, "--nope"),
    ("reset", USAGE, "URL"),
    ("reset sim://esp32 --bootloader --sequence D0", USAGE, "not allowed with"),
    ("ports extra", USAGE, "extra"),
]


async def test_what_is_wrong_is_said_in_a_line() -> None:
    room = anyio.CapacityLimiter(os.cpu_count() or 1)
    wrong: dict[str, Finished] = {}

    async def check(typed: str, status: int, pattern: str) -> None:
        async with room:
            result = await command(*typed.split())
        said, _, last = result.errors.rstrip("\n").rpartition("\n")
        if (
            result.status != status
            or result.output
            or not last.startswith("serialnet")
            or (said and not said.startswith("usage: serialnet"))
            or not re.search(pattern, last)
        ):
            wrong[typed] = result

    async with anyio.create_task_group() as tasks:
        for row in WRONG:
            tasks.start_soon(check, *row)
    assert not wrong


@pytest.mark.parametrize("name", ["serve", "attach", "ports", "reset", "demo"])
async def test_help(name: str) -> None:
    whole = await command("--help")
    assert (whole.status, whole.errors) == (0, "")
    assert re.search(rf"^    {name} ", whole.output, re.MULTILINE)
    own = await command(name, "--help")
    assert (own.status, own.errors) == (0, "")
    assert own.output.startswith(f"usage: serialnet {name} ")


async def test_version() -> None:
    result = await command("--version")
    assert (result.status, result.output, result.errors) == (0, f"serialnet {serialnet.__version__}\n", "")


async def test_ports() -> None:
    result = await command("ports")
    assert (result.status, result.errors) == (0, "")
    found = [port.url for port in serialnet.ports()]
    told = [line.split()[0] for line in result.output.splitlines() if not line.startswith(" ")]
    assert told == (["PORT", *found] if found else ["no"])
