"""``ssh://`` against a real sshd: a port with no TCP port open for it."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import psutil
import pytest

import serialnet
from serialnet import LineSettings, OpenError
from serialnet.chips import Board
from serialnet.testing.pty import host_board
from serialnet.transports.exec import ExecTransport
from serialnet.transports.rfc2217 import RFC2217Transport

from .tools import until

SSHD = shutil.which("sshd") or shutil.which("/usr/sbin/sshd")
pytestmark = pytest.mark.skipif(
    SSHD is None or shutil.which("ssh") is None or sys.platform != "linux",
    reason="needs Linux, ssh and sshd (openssh-client, openssh-server)",
)


@asynccontextmanager
async def sshd(directory: Path) -> AsyncIterator[tuple[str, int]]:
    """Run an sshd of our own; the near command to reach it with, and its port."""
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / name], check=True)
    authorized = directory / "authorized_keys"
    authorized.write_text((directory / "user.pub").read_text())
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (directory / "known_hosts").write_text(f"[127.0.0.1]:{port} {(directory / 'host.pub').read_text()}")
    if os.getuid() == 0:  # what the service would make
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    config = directory / "sshd_config"
    config.write_text(
        f"ListenAddress 127.0.0.1:{port}\n"
        f"HostKey {directory}/host\n"
        f"AuthorizedKeysFile {authorized}\n"
        "PidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin yes\nPasswordAuthentication no\n"
        "PermitUserEnvironment no\n"
    )
    log = (directory / "sshd.log").open("wb")
    assert SSHD is not None
    server = subprocess.Popen([SSHD, "-D", "-e", "-f", config], stdin=subprocess.DEVNULL, stderr=log)
    try:
        await until(lambda: _answers(port) or server.poll() is not None)
        assert server.poll() is None, (directory / "sshd.log").read_text()
        near = (
            f"ssh -F none -i {directory}/user -o IdentitiesOnly=yes"
            f" -o UserKnownHostsFile={directory}/known_hosts"
        )
        yield near, port
    finally:
        server.terminate()
        server.wait()
        log.close()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def far() -> str:
    """The far serialnet: this Python with this source."""
    source = Path(serialnet.__file__).parents[1]
    return f"PYTHONPATH={source} {sys.executable} -m serialnet"


async def test_a_port_behind_it(tmp_path: Path) -> None:
    async with host_board(Board("esp32")) as board, sshd(tmp_path) as (near, port):
        url = f"ssh://{getpass.getuser()}@127.0.0.1:{port}{board.path}?baudrate=9600"
        async with serialnet.connect(url, ssh=near, command=far(), timeout=20) as transport:
            assert isinstance(transport, RFC2217Transport)
            assert transport.line.settings == LineSettings(9600)
            assert (await transport.line.configure(LineSettings(230400))).baudrate == 230400
            await transport.send(b"hello")
            ssh = transport._over
            assert isinstance(ssh, ExecTransport)
            process = psutil.Process(ssh._keeper._process.pid)
            servers = [far for far in psutil.process_iter() if "rfc2217+stdio:" in _arguments(far)]
            assert servers
        assert ssh._keeper.status == 0
        assert not process.is_running()
        await until(lambda: not any(server.is_running() for server in servers))


def _arguments(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


async def test_what_goes_wrong_there_is_told(tmp_path: Path) -> None:
    async with sshd(tmp_path) as (near, port):
        host = f"ssh://{getpass.getuser()}@127.0.0.1:{port}"

        async def refusal(url: str, **options: object) -> str:
            with pytest.raises(OpenError) as caught:
                await serialnet.connect(url, **{"ssh": near, "command": far(), **options})
            return str(caught.value)

        assert "no such device" in await refusal(f"{host}/dev/no%20'such")
        assert "not found" in await refusal(f"{host}/dev/x", command="/no/serialnet")
        assert "Permission denied" in await refusal(f"{host}/dev/x", ssh=near.replace("/user ", "/host "))
        assert "Host key verification failed" in await refusal(
            f"{host}/dev/x", ssh=near.replace("known_hosts", "nobody")
        )
        assert "no answer within 1 s" in await refusal(
            f"{host}/dev/x", command="cat >/dev/null; true", connect_timeout=1
        )
    assert "Connection refused" in await refusal(f"{host}/dev/x")


async def test_a_lost_connection_is_an_error(tmp_path: Path) -> None:
    async with host_board(Board("esp32")) as board, sshd(tmp_path) as (near, port):
        url = f"ssh://127.0.0.1:{port}{board.path}"
        async with serialnet.connect(url, ssh=near, command=far(), timeout=20) as transport:
            assert isinstance(transport, RFC2217Transport)
            ssh = transport._over
            assert isinstance(ssh, ExecTransport)
            psutil.Process(ssh._keeper._process.pid).kill()
            with anyio.fail_after(10), pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                while True:
                    await transport.receive()
