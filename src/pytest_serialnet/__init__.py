"""The pytest plug-in of serialnet: the fixture ``serial_board``.

pytest imports this in every project where serialnet is installed, so it stands outside of the package, and
imports that only when a test asks for the fixture.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from serialnet.testing.boards import SerialBoard

_BOARD = pytest.StashKey["SerialBoard"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option, and its name in configuration files."""
    text = "the URL of the board that the fixture serial_board gives to tests; default: a simulated one"
    parser.getgroup("serialnet").addoption("--serial-board", metavar="URL", help=text)
    parser.addini("serial_board", text)


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line(
        "markers",
        "serial_board(chip, **options): which board serial_board simulates: sim://CHIP with these options",
    )


@pytest.fixture
def serial_board(request: pytest.FixtureRequest) -> Iterator[SerialBoard]:
    """Give a board that has just restarted into its application, as a blocking port."""
    from serialnet.testing.boards import open_board

    url = request.config.getoption("serial_board") or request.config.getini("serial_board") or None
    marker = request.node.get_closest_marker("serial_board")
    args, kwargs = (marker.args, marker.kwargs) if marker else ((), {})
    with open_board(url, *args, **kwargs) as board:
        request.node.stash[_BOARD] = board
        yield board


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a failed test what the board and the test have said to each other."""
    report = yield
    board = item.stash.get(_BOARD, None)
    if report.when == "call" and report.failed and board is not None:
        report.sections.append(("serial board", board.transcript()))
    return report
