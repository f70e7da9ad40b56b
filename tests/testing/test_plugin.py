"""The pytest plug-in, in test suites of its users."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import anyio.to_thread
import pytest

from ..interop.tools import served

pytest_plugins = ["pytester"]


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    # Processes of their own: plug-ins of this run are none of theirs.
    return pytester.runpytest_subprocess("-p", "pytest_serialnet", "-p", "no:cacheprovider", *arguments)


def test_a_board_that_has_just_started(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest
        from serialnet.chips import Mode

        @pytest.mark.parametrize("turn", [1, 2])
        def test_application(serial_board, turn):
            assert serial_board.expect(r"serialnet-app:(\\w+)\\r\\n", 5)[1] == "factory"
            assert serial_board.board.boots == [Mode.APPLICATION]
            serial_board.send(b"ping")
            assert serial_board.receive(timeout=5) == b"ping"

        @pytest.mark.serial_board("esp32c3", capacitor=1e-7, flash_size=1 << 20)
        def test_chip(serial_board):
            assert serial_board.board.chip == "esp32c3"
            assert serial_board.board.flash.size == 1 << 20
            serial_board.enter_bootloader()
            serial_board.expect("waiting for download", 5)
        """
    )
    run(pytester, "--strict-markers", "-W", "error").assert_outcomes(passed=3)


def test_a_failure_shows_what_was_said(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_it(serial_board):
            serial_board.expect("serialnet-app:factory\\r\\n", 5)
            serial_board.send(b"ping\\x00")
            raise AssertionError

        def test_that_is_well(serial_board):
            pass
        """
    )
    result = run(pytester)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        ["*-- serial board --*", "< serialnet-app:factory\\r\\n", "> ping\\x00", "< ping\\x00"]
    )


@pytest.mark.parametrize("how", ["option", "configuration"])
async def test_a_board_by_its_url(how: str, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_it(serial_board):
            assert serial_board.board is None
            assert serial_board.url.startswith("tcp://127.0.0.1:")
            serial_board.expect("serialnet-app:factory", 5)
        """
    )
    async with served() as shared:
        arguments = ["--serial-board", shared.url]
        if how == "configuration":
            pytester.makeini(f"[pytest]\nserial_board = {shared.url}\n")
            arguments = []
        result = await anyio.to_thread.run_sync(lambda: run(pytester, *arguments))
        result.assert_outcomes(passed=1)
        assert len(shared.board.boots) == 1


def test_what_cannot_be_opened_is_an_error_in_one_line(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(serial_board): pass")
    result = run(pytester, "--serial-board", "/dev/ttyNOWHERE")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*OpenError: cannot open /dev/ttyNOWHERE: there is no such device"])


def test_it_imports_nothing_until_it_is_used() -> None:
    program = (
        "import sys, pytest; before = set(sys.modules); import pytest_serialnet;"
        "print(sorted({*sys.modules} - before))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "['pytest_serialnet']\n"


def test_pytest_finds_it() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    # The same name twice, so that "-p pytest_serialnet" and the entry point are one and the same.
    assert project["project"]["entry-points"]["pytest11"] == {"pytest_serialnet": "pytest_serialnet"}
