"""The table of who works with whom: what it says is tested, and the documentation says the same."""

from __future__ import annotations

from importlib import import_module

import pytest

from .matrix import PAGE, ROWS, cells, published, shown
from .versions import installed

TESTS = (
    "test_avrdude",
    "test_esptool",
    "test_matrix_clients",
    "test_matrix_servers",
    "test_pty",
    "test_pyserial",
    "test_terminals",
)
TO_PUBLISH = f"python -m tests.interop.matrix > {PAGE.relative_to(PAGE.parents[2])}"


def test_the_documentation_shows_it() -> None:
    assert published(PAGE.read_text()) is not None, TO_PUBLISH


def test_the_documentation_shows_the_versions_that_are_here() -> None:
    """Other versions are no mistake: the other tests tell whether they work, too."""
    versions = published(PAGE.read_text()) or {}
    here = {program: version for program in versions if (version := installed(program))}
    if news := {program: version for program, version in here.items() if version != versions[program]}:
        pytest.skip(f"once all tests pass with {news}, publish that: {TO_PUBLISH}")


def test_every_yes_has_a_test() -> None:
    for name in TESTS:
        import_module(f"{__package__}.{name}")
    assert shown == {cell for row in ROWS for cell in cells(row)}
