"""The commands and values of RFC 2217, section 3, and what they stand for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from typing import Any

from ...values.events import LineErrors
from ...values.settings import FlowControl, Inputs, LineSettings, Outputs, Parity, StopBits
from ..telnet import COM_PORT, subnegotiation

__all__ = [
    "BAUDRATE",
    "BREAK",
    "CONTROL_TOPICS",
    "DATASIZE",
    "DTR",
    "FLOW",
    "INBOUND_FLOW",
    "OUTPUT_TOPICS",
    "PARITY",
    "RTS",
    "SERVER",
    "SETTING_TOPICS",
    "STOPSIZE",
    "TOPICS",
    "ComPort",
    "LineState",
    "ModemState",
    "Topic",
    "decode_errors",
    "decode_inputs",
    "encode_deltas",
    "encode_errors",
    "encode_inputs",
    "is_granted",
    "message",
]

SERVER = 100
"""What a server adds to the code of a command."""


class ComPort(IntEnum):
    """The commands, by the codes that a client sends."""

    SIGNATURE = 0
    SET_BAUDRATE = 1
    SET_DATASIZE = 2
    SET_PARITY = 3
    SET_STOPSIZE = 4
    SET_CONTROL = 5
    NOTIFY_LINESTATE = 6
    NOTIFY_MODEMSTATE = 7
    FLOWCONTROL_SUSPEND = 8
    FLOWCONTROL_RESUME = 9
    SET_LINESTATE_MASK = 10
    SET_MODEMSTATE_MASK = 11
    PURGE_DATA = 12


class LineState(IntFlag):
    """The bits of NOTIFY-LINESTATE that tell errors; the others are idle chatter of a 16550 UART."""

    OVERRUN = 2
    PARITY = 4
    FRAMING = 8
    BREAK = 16
    ERRORS = 30


class ModemState(IntFlag):
    """The bits of NOTIFY-MODEMSTATE, those of a 16550's modem status register."""

    DELTA_CTS = 1
    DELTA_DSR = 2
    TRAILING_RI = 4
    DELTA_CD = 8
    CTS = 16
    DSR = 32
    RI = 64
    CD = 128


@dataclass(frozen=True, slots=True, eq=False)
class Topic:
    """Something that a client sets or asks for, and that the server's acknowledgement is about.

    The values of SET-CONTROL share one command, but an answer about DTR is none about BREAK.

    :param command: the command that carries it
    :param name: the field of :class:`LineSettings` or :class:`Outputs` that has the value
    :param codes: the values and their codes; a baud rate stands for itself
    :param query: the code that asks for the value
    :param width: bytes of the code on the wire
    """

    command: ComPort
    name: str
    codes: Mapping[Any, int] | None = field(repr=False)
    query: int = 0
    width: int = 1

    def code(self, settings: LineSettings, outputs: Outputs) -> int:
        """Encode the value that is in force."""
        return self.encode(getattr(outputs if self in OUTPUT_TOPICS else settings, self.name))

    def encode(self, value: Any) -> int:
        """Encode a value."""
        code: int = value if self.codes is None else self.codes[value]
        return code

    def value(self, code: int) -> Any:
        """Decode a value; ``None`` for the query and for what is not defined."""
        if self.codes is None:
            return code or None
        return next((value for value, known in self.codes.items() if known == code), None)

    def payload(self, code: int) -> bytes:
        """Put a code on the wire."""
        return code.to_bytes(self.width, "big")


BAUDRATE = Topic(ComPort.SET_BAUDRATE, "baudrate", None, width=4)
DATASIZE = Topic(ComPort.SET_DATASIZE, "bytesize", {5: 5, 6: 6, 7: 7, 8: 8})
PARITY = Topic(
    ComPort.SET_PARITY,
    "parity",
    {Parity.NONE: 1, Parity.ODD: 2, Parity.EVEN: 3, Parity.MARK: 4, Parity.SPACE: 5},
)
STOPSIZE = Topic(
    ComPort.SET_STOPSIZE, "stopbits", {StopBits.ONE: 1, StopBits.TWO: 2, StopBits.ONE_POINT_FIVE: 3}
)
FLOW = Topic(
    ComPort.SET_CONTROL, "flow", {FlowControl.NONE: 1, FlowControl.XONXOFF: 2, FlowControl.RTSCTS: 3}
)
BREAK = Topic(ComPort.SET_CONTROL, "brk", {True: 5, False: 6}, query=4)
DTR = Topic(ComPort.SET_CONTROL, "dtr", {True: 8, False: 9}, query=7)
RTS = Topic(ComPort.SET_CONTROL, "rts", {True: 11, False: 12}, query=10)
INBOUND_FLOW = Topic(
    ComPort.SET_CONTROL,
    "flow",
    {FlowControl.NONE: 14, FlowControl.XONXOFF: 15, FlowControl.RTSCTS: 16},
    query=13,
)

OUTPUT_TOPICS = (DTR, RTS, BREAK)
"""What is found in :class:`Outputs`."""

SETTING_TOPICS = (BAUDRATE, DATASIZE, PARITY, STOPSIZE, FLOW)
"""What makes up :class:`LineSettings`."""

TOPICS: Mapping[int, Topic] = {topic.command: topic for topic in (BAUDRATE, DATASIZE, PARITY, STOPSIZE)}
"""What the commands but SET-CONTROL are about."""

CONTROL_TOPICS: Mapping[int, Topic] = {
    **dict.fromkeys((0, 1, 2, 3, 17, 19), FLOW),  # 17 and 19: flow control by DCD and by DSR
    **dict.fromkeys((4, 5, 6), BREAK),
    **dict.fromkeys((7, 8, 9), DTR),
    **dict.fromkeys((10, 11, 12), RTS),
    **dict.fromkeys((13, 14, 15, 16, 18), INBOUND_FLOW),  # 18: flow control by DTR
}
"""What each value of SET-CONTROL is about."""


def message(command: int, payload: bytes = b"") -> bytes:
    """Encode a command."""
    return subnegotiation(COM_PORT, bytes((command,)) + payload)


def is_granted(asked: int, actual: int) -> bool:
    """Whether a UART that runs at ``actual`` bits per second understands one that runs at ``asked``.

    Its divider seldom hits a rate exactly. Ten bits bear a deviation of about 5 %, for both ends together;
    clients (pyserial) take any acknowledgement but the rate they asked for for a refusal.
    """
    return abs(actual - asked) <= 0.03 * asked


def encode_inputs(inputs: Inputs) -> int:
    """Encode the state of the modem status lines, without the bits that tell a change."""
    return (
        inputs.cts * ModemState.CTS
        | inputs.dsr * ModemState.DSR
        | inputs.ri * ModemState.RI
        | inputs.cd * ModemState.CD
    )


def decode_inputs(bits: int) -> Inputs:
    """Decode the state of the modem status lines."""
    return Inputs(
        cts=bool(bits & ModemState.CTS),
        dsr=bool(bits & ModemState.DSR),
        ri=bool(bits & ModemState.RI),
        cd=bool(bits & ModemState.CD),
    )


def encode_deltas(before: Inputs, after: Inputs) -> int:
    """Encode a change of the modem status lines; for RI, only its end counts."""
    return (
        (before.cts != after.cts) * ModemState.DELTA_CTS
        | (before.dsr != after.dsr) * ModemState.DELTA_DSR
        | (before.ri and not after.ri) * ModemState.TRAILING_RI
        | (before.cd != after.cd) * ModemState.DELTA_CD
    )


def encode_errors(errors: LineErrors) -> int:
    """Encode which errors the receiver saw; how many cannot be told."""
    return (
        bool(errors.overrun) * LineState.OVERRUN
        | bool(errors.parity) * LineState.PARITY
        | bool(errors.framing) * LineState.FRAMING
        | bool(errors.breaks) * LineState.BREAK
    )


def decode_errors(bits: int) -> LineErrors:
    """Decode the errors that the receiver saw, each counted once."""
    return LineErrors(
        overrun=int(bool(bits & LineState.OVERRUN)),
        parity=int(bool(bits & LineState.PARITY)),
        framing=int(bool(bits & LineState.FRAMING)),
        breaks=int(bool(bits & LineState.BREAK)),
    )
