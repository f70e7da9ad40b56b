"""The telnet protocol (RFC 854, 855, 860, 1143) without I/O: one side of one connection.

Received bytes go into :meth:`Telnet.receive_data`; :meth:`Telnet.next_event` takes one event after the other
out of them and parses no further than that; :meth:`Telnet.data_to_send` has the replies. Nothing that a peer
sends raises: what is wrong is dropped, counted (:attr:`Telnet.violations`) and logged for debugging.

The parser may stop at any byte. Beyond the bytes it was given it keeps one unfinished subnegotiation, of at
most :data:`MAX_SUBNEGOTIATION` bytes. There is at most one reply of three bytes to a negotiation, so the
replies stay bounded if their user sends them before it receives more.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

from typing_extensions import Buffer

from .escaping import escape, split
from .negotiation import Option, Side, State

__all__ = [
    "BINARY",
    "COM_PORT",
    "ECHO",
    "MAX_SUBNEGOTIATION",
    "SGA",
    "TIMING_MARK",
    "Code",
    "Command",
    "Subnegotiation",
    "Telnet",
    "TelnetEvent",
    "subnegotiation",
]

logger: logging.Logger = logging.getLogger(__name__)

MAX_SUBNEGOTIATION = 1024
"""Bytes that a subnegotiation may have, its option included; longer ones are ignored."""

BINARY = 0
"""RFC 856."""
ECHO = 1
"""RFC 857."""
SGA = 3
"""Suppress go-ahead, RFC 858."""
TIMING_MARK = 6
"""RFC 860: an option without a state."""
COM_PORT = 44
"""RFC 2217."""


class Code(IntEnum):
    """What follows an IAC (RFC 854)."""

    SE = 240
    NOP = 241
    DM = 242
    BRK = 243
    IP = 244
    AO = 245
    AYT = 246
    EC = 247
    EL = 248
    GA = 249
    SB = 250
    WILL = 251
    WONT = 252
    DO = 253
    DONT = 254
    IAC = 255


_HEARD: Mapping[Code, tuple[Side, bool]] = {
    Code.WILL: (Side.THEM, True),
    Code.WONT: (Side.THEM, False),
    Code.DO: (Side.US, True),
    Code.DONT: (Side.US, False),
}
_SAID: Mapping[tuple[Side, bool], Code] = {
    (Side.US, True): Code.WILL,
    (Side.US, False): Code.WONT,
    (Side.THEM, True): Code.DO,
    (Side.THEM, False): Code.DONT,
}


@dataclass(frozen=True, slots=True)
class Command:
    """A command of two bytes, IAC and this (NOP to GA)."""

    code: Code


@dataclass(frozen=True, slots=True)
class Subnegotiation:
    """What stood between IAC SB and IAC SE, unescaped."""

    option: int
    payload: bytes


TelnetEvent: TypeAlias = bytes | Command | Subnegotiation
"""Data, of any length above 0, or something else that stood between data."""


def subnegotiation(option: int, payload: bytes) -> bytes:
    """Encode a subnegotiation."""
    return b"\xff\xfa" + escape(bytes((option,)) + payload) + b"\xff\xf0"


class Telnet:
    """One side of a telnet connection.

    :param us: the options that we do, when asked or when we offer them
    :param them: the options that we let the peer do, when it offers or when we ask; all others are refused
        as often as they are asked for
    """

    def __init__(self, *, us: Iterable[int], them: Iterable[int]) -> None:
        self.violations: int = 0
        """How often the peer broke a rule or sent what nobody asked for."""
        self._options = {(Side.US, option): Option() for option in us}
        self._options |= {(Side.THEM, option): Option() for option in them}
        self._received = b""
        self._position = 0
        self._subnegotiation: bytearray | None = None
        self._to_send = bytearray()

    @property
    def buffered(self) -> int:
        """How many received bytes wait to be parsed."""
        return len(self._received) - self._position

    @property
    def is_idle(self) -> bool:
        """Whether nothing was received in part: what comes next is data or begins a command."""
        return self.buffered == 0 and self._subnegotiation is None

    def enabled(self, side: Side, option: int) -> bool:
        """Whether an option is in force."""
        return self._options[side, option].state is State.YES

    def refused(self, side: Side, option: int) -> bool:
        """Whether the peer has refused, or ended, an option."""
        return self._options[side, option].refused

    def ask(self, side: Side, option: int, enable: bool = True) -> None:
        """Ask the peer to have an option in force, or no longer.

        :raises ValueError: if the option is not one of those given to the constructor
        """
        if (side, option) not in self._options:
            raise ValueError(f"option {option} is not one that this side knows")
        say = self._options[side, option].ask(enable)
        if say is not None:
            self._negotiate(side, option, say)

    def send(self, wire: bytes) -> None:
        """Queue bytes as they are, behind the replies that are queued already."""
        self._to_send += wire

    def data_to_send(self) -> bytes:
        """Take what is queued.

        It must not be written between two halves of escaped data: an IAC could stand there.
        """
        data = bytes(self._to_send)
        self._to_send.clear()
        return data

    def receive_data(self, data: Buffer) -> None:
        """Take in received bytes. They are parsed by :meth:`next_event`."""
        self._received = self._received[self._position :] + bytes(data)
        self._position = 0

    def next_event(self) -> TelnetEvent | None:
        """Parse up to the end of the next event.

        :return: the event, or ``None`` when more bytes have to be received first
        """
        while True:
            data, self._position = split(self._received, self._position)
            if self._subnegotiation is None:
                if data:
                    return data
            else:
                # One byte more than allowed tells that it was too long.
                self._subnegotiation += data[: MAX_SUBNEGOTIATION + 1 - len(self._subnegotiation)]
            command = self._take_command()
            if command is None:
                return None
            event = self._obey(*command)
            if event is not None:
                return event

    def reject(self, what: str) -> None:
        """Count and log something that the peer should not have sent."""
        self.violations += 1
        logger.debug("ignored from the peer: %s", what)

    def _take_command(self) -> tuple[int, int | None] | None:
        """Take an IAC and what belongs to it: the command, and the option of a negotiation."""
        command = self._received[self._position + 1 : self._position + 3]
        if not command:
            return None
        if command[0] not in _HEARD:
            self._position += 2
            return command[0], None
        if len(command) == 1:
            return None
        self._position += 3
        return command[0], command[1]

    def _obey(self, code: int, option: int | None) -> TelnetEvent | None:
        content, self._subnegotiation = self._subnegotiation, None
        if code == Code.SE:
            return self._end(content)
        if content is not None:
            self.reject(f"IAC {code} within a subnegotiation, which ends it")
        if option is not None:
            self._hear(Code(code), option)
        elif code == Code.SB:
            self._subnegotiation = bytearray()
        elif code < Code.SE:
            self.reject(f"IAC {code}, which is no command")
        else:
            return Command(Code(code))
        return None

    def _end(self, content: bytearray | None) -> Subnegotiation | None:
        if content is None:
            self.reject("IAC SE outside a subnegotiation")
        elif not content:
            self.reject("a subnegotiation without an option")
        elif len(content) > MAX_SUBNEGOTIATION:
            self.reject(f"a subnegotiation of more than {MAX_SUBNEGOTIATION} bytes")
        else:
            return Subnegotiation(content[0], bytes(content[1:]))
        return None

    def _hear(self, verb: Code, option: int) -> None:
        side, enable = _HEARD[verb]
        if option == TIMING_MARK:
            # All that was received before has been parsed: this is the mark.
            reply = True if verb is Code.DO else None
        elif (side, option) in self._options:
            reply = self._options[side, option].hear(enable)
        else:
            reply = False if enable else None
        if reply is not None:
            self._negotiate(side, option, reply)

    def _negotiate(self, side: Side, option: int, enable: bool) -> None:
        self.send(bytes((Code.IAC, _SAID[side, enable], option)))
