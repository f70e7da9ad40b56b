"""What a real program said on the wire, kept as text.

::

    program: ser2net version 4.3.11
    how: accepter telnet(rfc2217),tcp; connector serialdev,...,local

    [greeting]
    > ff fb 2c
    < ff fd 2c

Each part is named; in it, the lines that begin with ``>`` are what the client sent, those with ``<`` what the
server did, one telnet message or piece of data each, in the order of their coming.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

DIRECTORY = Path(__file__).with_name("transcripts")

TO_SERVER, TO_CLIENT = ">", "<"

# A subnegotiation, a negotiation, another command, data; any bytes are cut by this, and none is left out.
MESSAGE = re.compile(
    rb"\xff\xfa(?:[^\xff]|\xff\xff)*\xff\xf0|\xff[\xfb-\xfe].|\xff[^\xff]|(?:[^\xff]|\xff\xff)+|\xff",
    re.DOTALL,
)


@dataclass(frozen=True)
class Part:
    """A part of a session: who sent what, in this order."""

    name: str
    lines: list[tuple[str, bytes]] = field(default_factory=list)

    def said(self, direction: str) -> bytes:
        """All that was sent one way."""
        return b"".join(wire for one, wire in self.lines if one == direction)

    def add(self, direction: str, wire: bytes) -> None:
        """Write down what came; what goes the same way as the last is joined to it."""
        if self.lines and self.lines[-1][0] == direction:
            wire = self.lines.pop()[1] + wire
        self.lines.append((direction, wire))


@dataclass(frozen=True)
class Transcript:
    """A recorded session."""

    program: str
    how: str
    parts: list[Part]

    def __str__(self) -> str:
        lines = [f"program: {self.program}", f"how: {self.how}"]
        for part in self.parts:
            lines += ["", f"[{part.name}]"]
            for direction, wire in part.lines:
                lines += [f"{direction} {message.hex(' ')}" for message in messages(wire)]
        return "\n".join(lines) + "\n"


def messages(wire: bytes) -> Iterator[bytes]:
    """Cut telnet into its messages, and the data between them."""
    return (match[0] for match in MESSAGE.finditer(wire))


def read(name: str) -> Transcript:
    """Read a transcript."""
    return parse((DIRECTORY / f"{name}.txt").read_text().splitlines())


def parse(lines: Iterable[str]) -> Transcript:
    about: dict[str, str] = {}
    parts: list[Part] = []
    for line in lines:
        if line.startswith("["):
            parts.append(Part(line.strip("[]")))
        elif parts and line:
            parts[-1].add(line[0], bytes.fromhex(line[1:]))
        elif line:
            key, _, value = line.partition(": ")
            about[key] = value
    return Transcript(about["program"], about["how"], parts)
