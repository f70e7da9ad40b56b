"""``serialnet relay``, as a user runs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..interop.tools import python


@pytest.fixture
def anyio_backend() -> str:
    # The command line has an event loop of its own, in another process.
    return "asyncio"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ([], "expected --tokens FILE, --token TOKEN or the variable SERIALNET_TOKEN"),
        (["--token", "short"], "expected tokens of 16"),
        (["--tokens", "open"], "open is open to other users: chmod 600 open"),
        (["--tokens", "absent"], "cannot read the tokens in absent"),
        (["--token", "x" * 16, "--expose", "lab"], "--expose lab: expected NAME=URL"),
        (["--token", "x" * 16, "--listen", "tcp://0.0.0.0:0"], "anybody on the network"),
        (["--token", "x" * 16, "--wait", "-1"], "wait must be a number of seconds"),
    ],
)
async def test_what_cannot_be(
    arguments: list[str], error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SERIALNET_TOKEN", raising=False)
    (tmp_path / "open").touch(0o644)
    finished = await python("-m", "serialnet", "relay", *arguments, directory=tmp_path)
    assert (finished.status, finished.output) == (2, "")
    assert finished.errors.startswith("serialnet: ")
    assert error in finished.errors
    assert finished.errors.count("\n") == 1
    assert "short" not in finished.errors
