"""RFC 2217 servers of others, each started on a serial port."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path

import anyio
import pytest

import serialnet
from serialnet import OpenError, Transport

from .versions import where


def find(program: str) -> str:
    """Where a program is; its tests are skipped without it."""
    path = where(program)
    if path is None:
        pytest.skip(f"{program} is not installed")
    return path


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number: int = listener.getsockname()[1]
    return number


def ser2net(device: str, port: int, directory: Path) -> list[str]:
    configuration = directory / "ser2net.yaml"
    configuration.write_text(
        "%YAML 1.1\n---\n"
        "connection: &port\n"
        f"  accepter: telnet(rfc2217),tcp,127.0.0.1,{port}\n"
        f"  connector: serialdev,{device},115200n81,local\n"
    )
    return [find("ser2net"), "-d", "-n", "-c", str(configuration)]


def pyserial(device: str, port: int, directory: Path) -> list[str]:
    return [sys.executable, "-m", f"{__package__}.port_manager", device, str(port)]


def esptool(device: str, port: int, directory: Path) -> list[str]:
    if find_spec("esp_rfc2217_server") is None:
        pytest.skip("esptool is not installed")
    return [sys.executable, "-m", "esp_rfc2217_server", "-p", str(port), device]


def gensio(device: str, port: int, directory: Path) -> list[str]:
    line = f"serialdev,{device},115200N81,local"
    return [find("gensiot"), "-i", line, "-a", f"telnet(rfc2217),tcp,127.0.0.1,{port}"]


def sredird(device: str, port: int, directory: Path) -> list[str]:
    # It serves on its standard streams, as inetd calls it.
    command = f"EXEC:{find('sredird')} 5 {device} {directory / 'lock'}"
    return [find("socat"), f"TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr", command]


SERVERS: Mapping[str, Callable[[str, int, Path], list[str]]] = {
    "ser2net": ser2net,
    "pyserial": pyserial,
    "esptool": esptool,
    "sredird": sredird,
    "gensio": gensio,
}


@asynccontextmanager
async def serving(
    name: str, device: str, directory: Path, environment: Mapping[str, str]
) -> AsyncIterator[int]:
    """One of them on a device: its TCP port. Whoever connects waits until it is up: see :func:`when_up`."""
    port = free_port()
    command = SERVERS[name](device, port, directory)
    async with await anyio.open_process(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=None,
        env=environment,
        start_new_session=True,
    ) as process:
        try:
            yield port
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # also sredird, which socat would leave behind


@asynccontextmanager
async def ser2net_to(url: str, number: int, directory: Path) -> AsyncIterator[None]:
    """ser2net as a client of an RFC 2217 server, whose own server is at a TCP port."""
    configuration = directory / "ser2net.yaml"
    configuration.write_text(
        "%YAML 1.1\n---\n"
        "connection: &port\n"
        f"  accepter: telnet(rfc2217),tcp,127.0.0.1,{number}\n"
        f"  connector: telnet(rfc2217),tcp,{url.removeprefix('rfc2217://').replace(':', ',')}\n"
    )
    command = [find("ser2net"), "-d", "-n", "-c", str(configuration)]
    async with await anyio.open_process(command, stdout=subprocess.DEVNULL, stderr=None) as process:
        try:
            yield
        finally:
            process.kill()


async def when_up(url: str) -> Transport:
    """Connect to a server that may not be up yet."""
    with anyio.fail_after(20):
        while True:
            try:
                return await serialnet.connect(url)
            except OpenError as error:
                if "refused" not in str(error):
                    raise
                await anyio.sleep(0.02)
