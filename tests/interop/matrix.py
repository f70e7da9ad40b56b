"""Who works with whom: the one table that the tests check and the documentation shows.

``python -m tests.interop.matrix > docs/reference/interoperability.md`` writes the page, with the versions
that are installed. Each test that shows what a row says names it: see :func:`shows`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TypeAlias, TypeVar

from .versions import installed

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "interoperability.md"

F = TypeVar("F")


class Can(Enum):
    """What a serial port does for a program."""

    BYTES = "all bytes"
    SETTINGS = "settings"
    OUTPUTS = "DTR, RTS"
    BREAK = "BREAK"
    INPUTS = "CTS, DSR, RI, CD"
    PURGE = "purge"


@dataclass(frozen=True, eq=False)
class Peer:
    """A program that was tested: all of :class:`Can` works, but for what is told.

    :param program: what has a version, see :mod:`.versions`
    :param but: why something does not work
    :param notes: what else is to be said of something that works
    """

    name: str
    program: str
    how: str
    but: Mapping[Can, str] = field(default_factory=dict)
    notes: Mapping[Can, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Tool:
    """A program with one job."""

    name: str
    program: str
    how: str
    job: str


Row: TypeAlias = Peer | Tool

RAW = "raw TCP carries bytes alone; the port's URL and hooks do the rest"
NO_LINES = "a pseudo-terminal has none; hooks play sequences when it is opened and closed"
NOT_SEEN = "a pseudo-terminal does not show it to its other end"
NO_COMMAND = "it has no key for it"
STAYS_ON = "it says that a BREAK goes on when that is over"
EACH_SECOND = "it looks once a second"

SERVERS = {
    "ser2net": Peer(
        "ser2net",
        "ser2net",
        "`telnet(rfc2217),tcp`",
        notes={Can.BREAK: STAYS_ON, Can.INPUTS: EACH_SECOND},
    ),
    "gensio": Peer(
        "gensiot",
        "gensiot",
        "`-a 'telnet(rfc2217),tcp,...'`",
        {
            Can.INPUTS: "it does not pass them on: it tells no state, no change, and answers no poll",
            Can.PURGE: "it does not answer, so that nobody can tell whether it did",
        },
        {Can.BREAK: STAYS_ON},
    ),
    "pyserial": Peer("pyserial", "pyserial", "`serial.rfc2217.PortManager`"),
    "esptool": Peer(
        "esp_rfc2217_server",
        "esptool",
        "`rfc2217://...?ign_set_control`",
        {Can.OUTPUTS: "it plays resets of its own in place of what a client asks for"},
    ),
    "sredird": Peer(
        "sredird",
        "sredird",
        "by socat, as inetd calls it; `rfc2217://...?ign_set_control`",
        {Can.BREAK: "always one of its own length, by a call that the test's port does not see"},
        {Can.INPUTS: "it looks ten times a second"},
    ),
}

CLIENTS = {
    "pyserial": Peer("pyserial", "pyserial", "`rfc2217://...`"),
    "ser2net": Peer(
        "ser2net",
        "ser2net",
        "connector `telnet(rfc2217),tcp`, driven through its own server",
    ),
    "gensiot": Peer(
        "gensiot",
        "gensiot",
        "`telnet(rfc2217),tcp,...`, by its keys",
        dict.fromkeys((Can.OUTPUTS, Can.INPUTS, Can.PURGE), NO_COMMAND),
        {Can.BREAK: "of 0.25 s"},
    ),
    "socat": Peer("socat", "socat", "raw TCP", {can: RAW for can in Can if can is not Can.BYTES}),
    **{
        name: Peer(
            name,
            name,
            "`serialnet attach`",
            {Can.OUTPUTS: NO_LINES, Can.INPUTS: NO_LINES, Can.BREAK: NOT_SEEN, Can.PURGE: NOT_SEEN},
            {Can.BYTES: "text, as it is typed and shown", Can.SETTINGS: "the baud rate"},
        )
        for name in ("picocom", "minicom")
    },
}

FLASHES_UNO = "flashes and verifies an Uno by optiboot"

TOOLS = {
    "avrdude net": Tool("avrdude", "avrdude", "`-P net:`, with `--on-connect dtr-pulse`", FLASHES_UNO),
    "avrdude pty": Tool("avrdude", "avrdude", "`serialnet attach --on-connect dtr-pulse`", FLASHES_UNO),
    "esptool": Tool(
        "esptool", "esptool", "`rfc2217://...`", "flashes, verifies and reads, at the first attempt"
    ),
    "esptool pty": Tool("esptool", "esptool", "`serialnet attach`, with hooks", "flashes"),
    "idf-monitor": Tool(
        "idf-monitor", "idf-monitor", "`rfc2217://...`", "shows the output; restarts the board"
    ),
    "mpremote": Tool("mpremote", "mpremote", "`rfc2217://...`", "runs code"),
    "miniterm": Tool("miniterm", "pyserial", "`rfc2217://...`", "both ways, and leaves the board alone"),
}

ROWS: tuple[Row, ...] = (*CLIENTS.values(), *TOOLS.values(), *SERVERS.values())
shown: set[tuple[Row, Can | None]] = set()


def cells(row: Row) -> Iterator[tuple[Row, Can | None]]:
    """What a row says that works."""
    if isinstance(row, Tool):
        yield row, None
    else:
        yield from ((row, can) for can in Can if can not in row.but)


def shows(*rows: Row, can: Can | None = None) -> Callable[[F], F]:
    """Mark a test that fails if something does not work.

    :param can: what; ``None`` for all that the rows say
    """

    def mark(test: F) -> F:
        for row in rows:
            shown.update(cells(row) if can is None else [(row, can)])
        return test

    return mark


def _table(peers: Sequence[Peer], version: Callable[[str], str]) -> str:
    """One row a peer; what does not work has a note, and some of what does."""
    notes: list[str] = []

    def cell(peer: Peer, can: Can) -> str:
        note = peer.but.get(can) or peer.notes.get(can)
        if note is not None and note not in notes:
            notes.append(note)
        number = "" if note is None else f" ({notes.index(note) + 1})"
        return ("no" if can in peer.but else "yes") + number

    lines = [
        "| peer | version | how | " + " | ".join(can.value for can in Can) + " |",
        "|---" * (3 + len(Can)) + "|",
    ]
    lines += [
        f"| {peer.name} | {_version(peer, version)} | {peer.how} | "
        + " | ".join(cell(peer, can) for can in Can)
        + " |"
        for peer in peers
    ]
    return "\n".join([*lines, "", *(f"{number}. {note}" for number, note in enumerate(notes, 1))])


def _version(row: Row, version: Callable[[str], str]) -> str:
    number = version(row.program)
    return number if row.name == row.program else f"{row.program} {number}"


def page(version: Callable[[str], str]) -> str:
    """The page of the documentation, with the version of each program as ``version`` tells it."""
    tools = [
        f"| {tool.name} | {_version(tool, version)} | {tool.how} | {tool.job} |" for tool in TOOLS.values()
    ]
    return "\n".join(
        [
            "# Interoperability",
            "",
            "The tests run serialnet against these programs, and fail if one of them does not do what is",
            "said here; the versions are those of a run that passed.",
            "",
            "## Other programs at serialnet's server",
            "",
            _table(list(CLIENTS.values()), version),
            "",
            "Tools with one job:",
            "",
            "| tool | version | how | job |",
            "|---|---|---|---|",
            *tools,
            "",
            "## serialnet's client at other servers",
            "",
            _table(list(SERVERS.values()), version),
            "",
        ]
    )


def published(text: str) -> dict[str, str] | None:
    """The versions on the page; ``None`` if the page says anything else than :func:`page`."""
    pieces = page(lambda program: f"\0{program}\0").split("\0")
    match = re.fullmatch(r"(\S+)".join(map(re.escape, pieces[::2])), text)
    return dict(zip(pieces[1::2], match.groups(), strict=True)) if match else None


if __name__ == "__main__":
    print(page(lambda program: installed(program) or "?"), end="")
