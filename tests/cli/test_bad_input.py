"""What a user gets wrong, or what is wrong around him: one line that says what, a status, no traceback."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import socket
import subprocess
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from serialnet.cli import main
from serialnet.transports import serial

from ..transports.fake_tty import FakeTty

Says: TypeAlias = Callable[..., None]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")


@pytest.fixture
def device() -> Iterator[str]:
    """A device that nobody uses."""
    master, slave = os.openpty()
    tty.setraw(slave)
    yield os.ttyname(slave)
    os.close(slave)
    os.close(master)


@pytest.fixture
def says(capsys: pytest.CaptureFixture[str]) -> Says:
    """Run a command that fails, and compare its one line and its status."""

    def says(expected: str, *arguments: str, status: int = 1) -> None:
        ended = main(arguments)
        out, err = capsys.readouterr()
        assert re.fullmatch(rf"serialnet: [^\n]*{re.escape(expected)}[^\n]*\n", err)
        assert (ended, out) == (status, "")

    return says


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_a_file_where_a_link_should_go(says: Says, tmp_path: Path, kind: str) -> None:
    place = tmp_path / "ttyV0"
    match kind:
        case "file":
            place.write_text("precious")
        case "directory":
            place.mkdir()
        case "link":
            place.symlink_to("/dev/null")
    before = os.lstat(place)
    for command in (["attach", "sim://esp32", str(place)], ["serve", "loop:", "--listen", f"pty://{place}"]):
        says(f"cannot make the link {place}: there is something of that name", *command)
    assert os.lstat(place) == before


def test_a_file_where_a_socket_should_go(says: Says, tmp_path: Path) -> None:
    place = tmp_path / "sock"
    place.write_text("precious")
    says(str(place), "serve", "loop:", "--listen", f"unix://{place}")
    assert place.read_text() == "precious"


@pytest.mark.parametrize(
    "command", [["serve", "--no-reopen"], ["attach"], ["reset"], ["link", "--no-wait", "loop:"]], ids=" ".join
)
def test_a_port_in_use_has_a_named_holder(says: Says, device: str, command: list[str]) -> None:
    holder = os.open(device, os.O_RDWR | os.O_NOCTTY)
    try:
        fcntl.flock(holder, fcntl.LOCK_EX)
        name = Path("/proc/self/comm").read_text().strip()
        says(f"{device} is in use by {name} (pid {os.getpid()})", *command, device)
    finally:
        os.close(holder)


def test_a_tcp_port_in_use(says: Says) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        says(f"cannot listen on {url[6:]}: Address already in use", "serve", "loop:", "--listen", url)


@pytest.mark.parametrize("command", ["serve", "reset", "attach"])
def test_a_baud_rate_that_the_driver_refuses(
    says: Says, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    fake = FakeTty()
    fake.errors["TCSETS2"] = errno.EINVAL
    monkeypatch.setattr(serial.factory, "_system", fake)
    expected = "cannot open /dev/ttyUSB0: its driver refuses 12345 8N1"
    says(expected, command, "/dev/ttyUSB0?baudrate=12345")


def test_a_baud_rate_that_the_driver_replaces(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fake = FakeTty()
    fake.take = lambda baudrate, cflag: (9600, cflag)
    monkeypatch.setattr(serial.factory, "_system", fake)
    assert main(["reset", "/dev/ttyUSB0?baudrate=4000000"]) == 0
    assert "asked for 4000000 8N1, in force is 9600 8N1" in caplog.text
    assert termios.TIOCM_RTS & fake.modem == 0


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("no_such_module:factory", "No module named 'no_such_module'"),
        ("json:JSONDecodeError", "missing"),
        ("json:dumps", "has no options, layer, connect"),
    ],
)
def test_a_broken_plug_in(
    says: Says, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str, reason: str
) -> None:
    info = tmp_path / "their_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[serialnet.transports]\nbad = {entry}\n")
    monkeypatch.syspath_prepend(tmp_path)
    expected = f"the transport 'bad' of the package their-package cannot be used ({entry}): "
    says(expected, "link", "--once", "bad:", "loop:", status=2)
    says(reason, "link", "--once", "bad:", "loop:", status=2)
    assert main(["reset", "sim://esp32"]) == 0


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sim://esp32?pace=maybe", "option 'pace' of sim: must be on or off, not 'maybe'"),
        ("sim://esp32?speed=1", "sim: has no option 'speed'; expected: "),
        ("/dev/ttyUSB0?baudrate=0", "serial: baudrate must be from 1 to 4294967295, not 0"),
        ("loop:?rtscts&xonxoff", "loop: rtscts and xonxoff exclude each other"),
    ],
)
def test_options(says: Says, url: str, expected: str) -> None:
    says(expected, "reset", url, status=2)


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv is not installed")
@pytest.mark.parametrize("what", ["device", "link", "socket"])
def test_permissions(device: str, tmp_path: Path, what: str) -> None:
    os.chmod(device, 0)
    tmp_path.chmod(0o555)
    arguments, expected = {
        "device": (["reset", device], f"cannot open {device}: no permission"),
        "link": (
            ["attach", "loop:", f"{tmp_path}/v"],
            f"cannot make the link {tmp_path}/v: Permission denied",
        ),
        "socket": (
            ["serve", "loop:", "--listen", f"unix://{tmp_path}/s"],
            f"cannot listen on {tmp_path}/s: Permission denied",
        ),
    }[what]
    command = [sys.executable, "-m", "serialnet", *arguments]
    if os.geteuid() == 0:  # root may do anything, unless it is told not to
        command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *command]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert re.fullmatch(rf"serialnet: {re.escape(expected)}[^\n]*\n", ended.stderr)
    assert (ended.returncode, ended.stdout) == (1, "")
