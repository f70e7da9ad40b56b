"""``ssh://`` against a real sshd: a port with no TCP port open for it."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
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


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[tuple[str, int]]:
    """An sshd of our own: the command to reach it with, and its port."""
    assert SSHD is not None
    for name in ("host", "user"):
        key = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)]
        subprocess.run(key, check=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "known_hosts").write_text(f"[127.0.0.1]:{port} {(tmp_path / 'host.pub').read_text()}")
    if os.getuid() == 0:  # what the service would make
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    config, log = tmp_path / "sshd_config", tmp_path / "sshd.log"
    config.write_text(
        f"ListenAddress 127.0.0.1:{port}\n"
        f"HostKey {tmp_path}/host\n"
        f"AuthorizedKeysFile {tmp_path}/user.pub\n"
        "PidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin yes\nPasswordAuthentication no\n"
    )
    near = (
        f"ssh -F none -i {tmp_path}/user -o IdentitiesOnly=yes -o UserKnownHostsFile={tmp_path}/known_hosts"
    )
    command = [SSHD, "-D", "-f", str(config), "-E", str(log)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as server:
        try:
            while not _answers(port):
                assert server.poll() is None, log.read_text()
                time.sleep(0.02)
            yield near, port
        finally:
            server.terminate()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def far() -> str:
    """The far serialnet: this Python with this source."""
    source = Path(serialnet.__file__).parents[1]
    return f"PYTHONPATH={source} {sys.executable} -m serialnet"


async def test_a_port_behind_it(sshd: tuple[str, int]) -> None:
    near, port = sshd
    async with host_board(Board("esp32")) as board:
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


async def test_what_goes_wrong_there_is_told(sshd: tuple[str, int]) -> None:
    near, port = sshd
    url = f"ssh://127.0.0.1:{port}/dev/no%20'such"

    async def refusal(url: str = url, **options: object) -> str:
        with pytest.raises(OpenError) as caught:
            await serialnet.connect(url, **{"ssh": near, "command": far(), **options})
        return str(caught.value)

    assert "cannot open /dev/no 'such: there is no such device" in await refusal()
    assert "ended with status 127" in await refusal(command="/no/serialnet")
    assert "Permission denied" in await refusal(ssh=near.replace("/user ", "/host "))
    assert "Host key verification failed" in await refusal(ssh=near.replace("known_hosts", "nobody"))
    assert "no answer within 1 s" in await refusal(command="sleep 5; true", connect_timeout=1)
    with socket.create_server(("127.0.0.1", 0)) as free:
        closed = free.getsockname()[1]
    assert "Connection refused" in await refusal(f"ssh://127.0.0.1:{closed}/dev/x")


async def test_a_lost_connection_is_an_error(sshd: tuple[str, int]) -> None:
    near, port = sshd
    async with host_board(Board("esp32")) as board:
        url = f"ssh://127.0.0.1:{port}{board.path}"
        async with serialnet.connect(url, ssh=near, command=far(), timeout=20) as transport:
            assert isinstance(transport, RFC2217Transport)
            ssh = transport._over
            assert isinstance(ssh, ExecTransport)
            psutil.Process(ssh._keeper._process.pid).kill()
            with anyio.fail_after(10), pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await transport.line.drain()
