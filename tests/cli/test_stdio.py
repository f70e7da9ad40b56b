"""``stdio:`` on the command line: bytes on standard output, words on standard error."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import socket
import subprocess
import sys
import tty

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")

SERVE = [sys.executable, "-m", "serialnet", "serve", "loop:"]
LISTENING = b"listening on stdio:\n"


def test_bytes_come_back_and_it_ends_with_its_input() -> None:
    process = subprocess.run(
        [*SERVE, "--listen", "stdio:"], input=b"hello", capture_output=True, timeout=30, check=False
    )
    assert (process.returncode, process.stdout, process.stderr) == (0, b"hello", LISTENING)


@pytest.mark.parametrize("end", ["stdio:", "listen:stdio:"])
def test_a_link_has_one_session(end: str) -> None:
    process = subprocess.run(
        [sys.executable, "-m", "serialnet", "link", end, "exec:cat"],
        input=b"hello",
        capture_output=True,
        timeout=30,
        check=False,
    )
    words = LISTENING if end.startswith("listen:") else b""
    assert (process.returncode, process.stdout, process.stderr) == (0, b"hello", words)


def test_the_parent_finds_its_streams_as_they_were() -> None:
    far, near = pty.openpty()
    tty.setraw(near)
    try:
        command = [*SERVE, "--listen", "stdio:"]
        with subprocess.Popen(command, stdin=near, stdout=near, stderr=subprocess.PIPE) as process:
            assert process.stderr is not None
            assert process.stderr.readline() == LISTENING
            os.write(far, b"x")
            assert os.read(far, 10) == b"x"
            assert not fcntl.fcntl(near, fcntl.F_GETFL) & os.O_NONBLOCK
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0
    finally:
        os.close(near)
        os.close(far)


def test_a_socket_as_sshd_and_inetd_have_it() -> None:
    near, far = socket.socketpair()
    with near, far:
        with subprocess.Popen(
            [*SERVE, "--listen", "stdio:"], stdin=near.fileno(), stdout=near.fileno()
        ) as process:
            far.sendall(b"hello")
            assert far.recv(10) == b"hello"
            far.shutdown(socket.SHUT_WR)
            assert far.recv(10) == b""  # although others have the socket open still
            assert process.wait(20) == 0
        assert near.getblocking()


def test_it_can_be_had_once() -> None:
    process = subprocess.run(
        [*SERVE, "--listen", "stdio:", "--listen", "stdio:"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert process.returncode == 1
    assert process.stdout == b""
    assert process.stderr.startswith(b"serialnet: standard input and output are in use already")


def test_a_closed_one_is_an_error_in_one_line() -> None:
    process = subprocess.run(
        ["sh", "-c", f"exec {sys.executable} -m serialnet serve loop: --listen stdio: <&-"],
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert process.returncode == 1
    assert process.stderr == b"serialnet: cannot open stdio: standard input or output is closed\n"


def test_what_a_program_prints_goes_to_standard_error() -> None:
    program = (
        "import anyio, serialnet\n"
        "async def main():\n"
        "    print('before')\n"
        "    async with serialnet.connect('stdio:') as transport:\n"
        "        print('a word', flush=True)\n"
        "        await transport.send(await transport.receive())\n"
        "anyio.run(main)\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", program], input=b"bytes", capture_output=True, timeout=30, check=False
    )
    assert (process.returncode, process.stdout, process.stderr) == (0, b"before\nbytes", b"a word\n")
