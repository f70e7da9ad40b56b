"""Who works with whom: the one table that the tests check and the documentation shows.

``python -m tests.interop.matrix`` prints the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum


class Can(Enum):
    """What a serial port does for a program."""

    BYTES = "all bytes"
    SETTINGS = "settings"
    OUTPUTS = "DTR, RTS"
    BREAK = "BREAK"
    INPUTS = "CTS, DSR, RI, CD"
    PURGE = "purge"


@dataclass(frozen=True)
class Peer:
    """A program that was tested: all of :class:`Can` works, but for what is told."""

    name: str
    version: str
    how: str
    but: Mapping[Can, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Tool:
    """A program with one job."""

    name: str
    version: str
    how: str
    job: str


RAW = "raw TCP carries bytes alone; the port's URL and hooks do the rest"
NO_LINES = "a pseudo-terminal has none; hooks play sequences when it is opened and closed"
NOT_SEEN = "a pseudo-terminal does not show it to its other end"
NOT_TRIED = "not tried: it was driven as a filter, without its keyboard commands"

SERVERS = {
    "ser2net": Peer("ser2net", "4.3.11", "`telnet(rfc2217),tcp`"),
    "gensio": Peer(
        "gensiot",
        "2.6.2",
        "`-a 'telnet(rfc2217),tcp,...'`",
        {Can.INPUTS: "it did not tell any change of them"},
    ),
    "pyserial": Peer("pyserial", "3.5", "`serial.rfc2217.PortManager`"),
    "esptool": Peer(
        "esp_rfc2217_server",
        "esptool 5.6.0",
        "`rfc2217://...?ign_set_control`",
        {Can.OUTPUTS: "it plays resets of its own in place of what a client asks for"},
    ),
    "sredird": Peer(
        "sredird",
        "2.2.1",
        "by socat, as inetd calls it; `rfc2217://...?ign_set_control`",
        {Can.BREAK: "always one of its own length, by a call that the test's port does not see"},
    ),
}

CLIENTS = {
    "pyserial": Peer("pyserial", "3.5", "`rfc2217://...`"),
    "ser2net": Peer(
        "ser2net",
        "4.3.11",
        "connector `telnet(rfc2217),tcp`, driven through its own server",
    ),
    "gensiot": Peer(
        "gensiot",
        "2.6.2",
        "`telnet(rfc2217),tcp,...`",
        {can: NOT_TRIED for can in Can if can is not Can.BYTES},
    ),
    "socat": Peer("socat", "1.7.4.4", "raw TCP", {can: RAW for can in Can if can is not Can.BYTES}),
    **{
        name: Peer(
            name,
            version,
            "`serialnet attach`; text, and of the settings the baud rate",
            {Can.OUTPUTS: NO_LINES, Can.INPUTS: NO_LINES, Can.BREAK: NOT_SEEN, Can.PURGE: NOT_SEEN},
        )
        for name, version in (("picocom", "3.1"), ("minicom", "2.8"))
    },
}

TOOLS = [
    Tool(
        "avrdude",
        "7.1",
        "`-P net:`, with `--on-connect dtr-pulse`",
        "flashes and verifies an Uno by optiboot",
    ),
    Tool(
        "avrdude",
        "7.1",
        "`serialnet attach --on-connect dtr-pulse`",
        "flashes and verifies an Uno by optiboot",
    ),
    Tool("esptool", "5.6.0", "`rfc2217://...`", "flashes, verifies and reads, at the first attempt"),
    Tool("esptool", "5.6.0", "`serialnet attach`, with hooks", "flashes"),
    Tool("idf-monitor", "1.10.0", "`rfc2217://...`", "shows the output; restarts the board"),
    Tool("mpremote", "1.29.0", "`rfc2217://...`", "runs code"),
    Tool("miniterm", "pyserial 3.5", "`rfc2217://...`", "both ways, and leaves the board alone"),
]


def _table(peers: Sequence[Peer]) -> str:
    """One row a peer; what does not work has a note."""
    notes = list(dict.fromkeys(reason for peer in peers for reason in peer.but.values()))
    lines = [
        "| peer | version | how | " + " | ".join(can.value for can in Can) + " |",
        "|---" * (3 + len(Can)) + "|",
    ]
    for peer in peers:
        cells = [f"no ({notes.index(peer.but[can]) + 1})" if can in peer.but else "yes" for can in Can]
        lines.append(f"| {peer.name} | {peer.version} | {peer.how} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *(f"{number}. {note}" for number, note in enumerate(notes, 1))])


def page() -> str:
    """The page of the documentation."""
    tools = [f"| {tool.name} | {tool.version} | {tool.how} | {tool.job} |" for tool in TOOLS]
    return "\n".join(
        [
            "# Interoperability",
            "",
            "The tests run serialnet against these programs, in these versions, and fail if one of them does",
            "not do what is said here.",
            "",
            "## Other programs at serialnet's server",
            "",
            _table(list(CLIENTS.values())),
            "",
            "Tools with one job:",
            "",
            "| tool | version | how | job |",
            "|---|---|---|---|",
            *tools,
            "",
            "## serialnet's client at other servers",
            "",
            _table(list(SERVERS.values())),
            "",
        ]
    )


if __name__ == "__main__":
    print(page(), end="")
