"""What becomes of open ports when processes fork and end."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from .conftest import Peer

OPEN = """
import os, sys, threading
import serial
from serialnet.pyserial import Serial
port = Serial(sys.argv[1], timeout=10)
"""


def run(program: str, url: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", OPEN + program, url]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)


@pytest.mark.parametrize(
    "ending",
    [
        "",
        "sys.exit(0)",
        "port.timeout = 0.2; threading.Thread(target=port.read).start()",
        "import anyio; port._connection._background.portal.call(anyio.to_thread.run_sync, lambda: None)",
        "del port",
        "port.close()",
    ],
    ids=["end", "exit", "a thread reads", "worker threads", "deleted", "closed"],
)
def test_no_open_port_keeps_a_process_from_its_end(ending: str, peer: Peer) -> None:
    result = run(f"port.write(b'farewell')\n{ending}", peer.url)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert peer.connection.recv(100) == b"farewell"
    assert peer.connection.recv(100) == b""


def test_an_uncaught_error_ends_it_as_ever(peer: Peer) -> None:
    result = run("raise SystemExit(3)", peer.url)
    assert (result.returncode, result.stderr) == (3, "")


FORK = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # Python's of forks beside threads, since 3.12
child = os.fork()
if child == 0:
    for use in (port.read, lambda: port.write(b"x"), lambda: port.reset_input_buffer()):
        try:
            use()
        except serial.SerialException as error:
            assert "forked" in str(error), error
        else:
            os._exit(2)
    port.close()
    with Serial("loop:", timeout=10) as own:
        own.write(b"own")
        assert own.read(3) == b"own"
    sys.exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
port.write(b"parent")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="has no fork")
def test_a_forked_process_is_told_that_the_port_is_its_parents(peer: Peer) -> None:
    result = run(FORK, peer.url)
    assert (result.returncode, result.stderr) == (0, "")
    assert peer.connection.recv(100) == b"parent"
