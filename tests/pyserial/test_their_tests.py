"""pyserial's own tests, of its source distribution, on our object."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest
import serial

from .conftest import serve

MODULES = [
    "test",
    "test_advanced",
    "test_cancel",
    "test_context",
    "test_exclusive",
    "test_high_load",
    "test_iolib",
    "test_readline",
    "test_rs485",
    "test_settings_dict",
    "test_threaded",
]

# What does not pass, and why that is as it shall be; docs/reference/pyserial.md has the same table.
BUFFERED = (
    "a write returns once the bytes are in a buffer of 64 KiB, as the system's buffer (4 KiB) does it for a "
    "local port; the test writes less than that to a port that it expects to have none"
)
NOT_EXCLUSIVE = "`exclusive` is the business of whoever shares the port; a loopback plug is nobody's"
EXCEPTIONS = {
    "test.Test_MoreTimeouts.test_WriteTimeout": BUFFERED,
    "test_cancel.TestCancelWrite.test_cancel_once": BUFFERED,
}
EXCEPTIONS_OF_LOOP = {"test_exclusive.Test_exclusive.test_exclusive_true": NOT_EXCLUSIVE}


@pytest.fixture(scope="session")
def their_tests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Their folder, of the pyserial that is installed; pip fetches it."""
    directory = tmp_path_factory.mktemp("pyserial")
    requirement = f"pyserial=={serial.VERSION}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
    result = subprocess.run(
        [*command, requirement, "--dest", directory], check=False, capture_output=True, text=True
    )
    archives = list(directory.glob("*.tar.gz"))
    if not archives:
        pytest.skip(f"pip cannot fetch the source of {requirement}: {result.stderr.strip()[-200:]}")
    with tarfile.open(archives[0]) as archive:
        archive.extractall(directory, filter="data")
    (tests,) = directory.glob("pyserial-*/test")
    return tests


@pytest.mark.timeout(300)
@pytest.mark.parametrize("over", ["loop", "rfc2217"])
def test_pass_but_for_those_listed(over: str, their_tests: Path) -> None:
    if over == "loop":
        failed, exceptions = failing(their_tests, "loop:"), EXCEPTIONS | EXCEPTIONS_OF_LOOP
    else:
        with serve() as url:
            failed, exceptions = failing(their_tests, url), EXCEPTIONS
    assert failed == exceptions.keys()


def failing(their_tests: Path, url: str) -> set[str]:
    """Which tests fail; some wait for no more than 50 ms, so a busy machine has three attempts."""
    failed = run(their_tests, url, MODULES)
    for _ in range(2):
        again = sorted({name.partition(".")[0] for name in failed - EXCEPTIONS.keys()})
        if again:
            failed &= run(their_tests, url, again) | EXCEPTIONS.keys()
    return failed


def run(their_tests: Path, url: str, modules: Sequence[str]) -> set[str]:
    """Run them once."""
    program = Path(__file__).with_name("their_tests.py")
    command = [sys.executable, str(program), str(their_tests), url, *modules]
    result = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert re.search(r"^Ran [1-9]\d* tests? in", result.stderr, re.MULTILINE), result.stderr
    assert "did not answer" not in result.stderr
    return set(re.findall(r"^(?:FAIL|ERROR): \w+ \((\S+)\)", result.stderr, re.MULTILINE))
