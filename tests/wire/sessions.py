"""What our client does at the recorded servers: first for real, then again and again from the transcripts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from serialnet import Inputs, LineSettings, Purge
from serialnet.values.settings import FlowControl, Parity, StopBits
from serialnet.wire.comport import Ask, ComPortClient

from .wire_tools import IAC, sb

NOP = b"\xf1"
DATA = b"a\r\0b\r\nc\xff\xff\xffd\0\r\n"


@dataclass(frozen=True)
class Step:
    """Something that our client asks for, bytes that it would never send, or something that happens."""

    name: str
    ask: Callable[[ComPortClient], list[Ask]] = lambda client: []
    raw: bytes = b""
    inputs: Inputs | None = None


def configure(name: str, settings: LineSettings) -> Step:
    return Step(name, lambda client: client.configure(settings, force=True))


def outputs(name: str, *, dtr: bool | None = None, rts: bool | None = None, brk: bool | None = None) -> Step:
    return Step(name, lambda client: client.set_outputs(dtr=dtr, rts=rts, brk=brk))


def initiate(client: ComPortClient) -> list[Ask]:
    client.initiate()
    return []


def suspend(client: ComPortClient) -> list[Ask]:
    client.suspend()
    return []


def resume(client: ComPortClient) -> list[Ask]:
    client.resume()
    return []


GREETING = Step("greeting", initiate)
BACK = configure("115200 8N1", LineSettings())
ECHO = Step("data", raw=DATA.replace(IAC, IAC + IAC))

# All that the client can do.
USUAL = (
    GREETING,
    Step("settings?", ComPortClient.query_settings),
    Step("outputs?", ComPortClient.query_outputs),
    configure("settings", LineSettings(57600, 7, Parity.EVEN, StopBits.TWO, FlowControl.XONXOFF)),
    configure("an odd rate", LineSettings(12345)),
    configure("1.5 stop bits", LineSettings(9600, 5, stopbits=StopBits.ONE_POINT_FIVE)),
    BACK,
    outputs("DTR", dtr=True, rts=False),
    outputs("neither", dtr=False, rts=False),
    outputs("BREAK", brk=True),
    outputs("no BREAK", brk=False),
    Step("outputs then?", ComPortClient.query_outputs),
    Step("inputs?", ComPortClient.get_inputs),
    Step("CTS and DSR go on", inputs=Inputs(cts=True, dsr=True)),
    Step("CTS and DSR go off", inputs=Inputs()),
    Step("line errors", ComPortClient.watch_errors),
    Step("purges", lambda client: [ask for what in (1, 2, 3) for ask in client.purge(Purge(what))]),
    Step("suspend", suspend),
    Step("data while suspended", raw=b"held"),
    Step("resume", resume),
    ECHO,
    Step("signature", ComPortClient.ask_signature),
    configure("settings at the end", LineSettings()),
)

# What the client does not say, as others do.
ODD = (
    GREETING,
    BACK,
    Step("a signature", raw=sb(0, *b"somebody")),
    Step("9 data bits", raw=sb(2, 9)),
    Step("inbound flow control?", raw=sb(5, 13)),
    Step("an unknown control", raw=sb(5, 20)),
    Step("a poll of the line state", raw=sb(6, 0)),
    Step("a poll without a value", raw=sb(7)),
    Step("data behind it", raw=b"hello"),
    Step("a mask without changes", raw=sb(11, 0xF0)),
    Step("a mask of 0", raw=sb(11, 0)),
    Step("purges of nothing", raw=sb(12, 0) + sb(12, 9)),
    Step("a NOP", raw=IAC + NOP + b"XYZ"),
    Step("a mask of 255", raw=sb(11, 255)),
    configure("115200 8N1 again", LineSettings()),
    ECHO,
)

CISCO = (GREETING, Step("a rate in one byte", raw=sb(1, 13)), BACK, ECHO)
PARITY_9 = (GREETING, Step("parity 9", raw=sb(3, 9)), BACK, ECHO)

NO_LINES = (GREETING, Step("outputs?", ComPortClient.query_outputs), outputs("DTR", dtr=True), ECHO)


@dataclass(frozen=True)
class Session:
    """What is done at which server.

    :param lines: whether its port has DTR, RTS and what else a PTY has not
    """

    server: str
    steps: Sequence[Step]
    lines: bool = True


SERVERS = ("ser2net", "sredird", "pyserial")

RECORDED: Mapping[str, Session] = {
    **{f"{server}-usual": Session(server, USUAL) for server in (*SERVERS, "gensio", "esptool")},
    **{f"{server}-odd": Session(server, ODD) for server in SERVERS},
    **{f"{server}-cisco": Session(server, CISCO) for server in SERVERS},
    "pyserial-parity-9": Session("pyserial", PARITY_9),
    "ser2net-no-lines": Session("ser2net", NO_LINES, lines=False),
}
"""By the names of the transcripts."""
