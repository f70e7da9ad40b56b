"""The client of RFC 2217: requests for a far line, matched with their answers."""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import TypeAlias

from ...values.events import InputsChanged, LineEvent, SettingsChanged
from ...values.settings import Inputs, LineSettings, Outputs, Purge
from ..negotiation import Side
from ..telnet import BINARY, COM_PORT, ECHO, SGA
from .codes import (
    BAUDRATE,
    BREAK,
    CONTROL_TOPICS,
    DTR,
    INBOUND_FLOW,
    OUTPUT_TOPICS,
    RTS,
    SERVER,
    SETTING_TOPICS,
    TOPICS,
    ComPort,
    LineState,
    Topic,
    decode_errors,
    decode_inputs,
    is_granted,
)
from .session import SIGNATURE, Session

__all__ = ["Answered", "Ask", "ClientEvent", "ComPortClient", "Policy"]

_MOST_ABANDONED = 64


class Policy(Enum):
    """What it means when a server does not answer in time."""

    REQUIRE = auto()
    """The line is not as it was asked to be: an error."""
    WARN = auto()
    """It most likely is; some servers do not answer this."""
    IGNORE = auto()
    """Many servers do not answer this."""


_POLICIES: Mapping[ComPort, Policy] = {
    ComPort.SET_BAUDRATE: Policy.REQUIRE,
    ComPort.SET_DATASIZE: Policy.REQUIRE,
    ComPort.SET_PARITY: Policy.REQUIRE,
    ComPort.SET_STOPSIZE: Policy.REQUIRE,
    ComPort.SET_CONTROL: Policy.WARN,
    ComPort.PURGE_DATA: Policy.WARN,
    ComPort.NOTIFY_MODEMSTATE: Policy.IGNORE,
    ComPort.SET_LINESTATE_MASK: Policy.IGNORE,
    ComPort.SIGNATURE: Policy.IGNORE,
}


@dataclass(slots=True, eq=False)
class Ask:
    """One command that a server has to answer.

    :param about: what the answer is about: commands that share a code have different topics
    :param asked: the code of the value that was asked for; ``None`` when any answer will do
    """

    about: Topic | ComPort
    asked: int | None = None
    abandoned: bool = False

    @property
    def policy(self) -> Policy:
        """What it means when no answer comes in time."""
        return _POLICIES[self.about.command if isinstance(self.about, Topic) else self.about]

    def fits(self, code: int | None) -> bool:
        """Whether an answer grants what was asked for."""
        if self.asked is None or code is None:
            return True
        return is_granted(self.asked, code) if self.about is BAUDRATE else code == self.asked


@dataclass(frozen=True, slots=True)
class Answered:
    """The server has answered; the client's properties have what is in force since.

    :param granted: whether the answer is what was asked for
    """

    ask: Ask
    granted: bool


ClientEvent: TypeAlias = Answered | LineEvent


class ComPortClient(Session[ClientEvent]):
    """The end of an RFC 2217 session that uses a serial port far away.

    Its requests return what is to be answered, in the order of the answers; an :class:`Answered` event comes
    for each. To wait, and for how long, is up to the user, who must :meth:`abandon` what is waited for no
    longer. What the server tells unasked comes as a :data:`LineEvent`.

    :param answers_to_control: False if the server's answers to SET-CONTROL are wrong or missing: outputs and
        flow control then count as set when they have been asked for (pyserial's ``ign_set_control``)
    """

    def __init__(self, *, answers_to_control: bool = True) -> None:
        super().__init__(us=(COM_PORT, BINARY, SGA), them=(COM_PORT, BINARY, SGA, ECHO))
        self._answers_to_control = answers_to_control
        self._settings = LineSettings()
        self._outputs = Outputs()
        self._inputs: Inputs | None = None
        self._known: set[Topic] = set()
        self._asks: dict[Topic | ComPort, deque[Ask]] = {}
        self._granted_baudrate = 0
        self._linestate_mask = 0
        self._server_signature: bytes | None = None

    @property
    def settings(self) -> LineSettings:
        """The settings in force, as the server told; the defaults of what it has not told yet."""
        return self._settings

    @property
    def outputs(self) -> Outputs:
        """The outputs in force, as the server told; off if it has not told yet."""
        return self._outputs

    @property
    def tells_outputs(self) -> bool:
        """Whether the server has told which outputs are in force; many never do."""
        return DTR in self._known and RTS in self._known

    @property
    def inputs(self) -> Inputs | None:
        """The modem status lines, as the server told; ``None`` if it has not told yet."""
        return self._inputs

    @property
    def server_signature(self) -> bytes | None:
        """The text by which the server made itself known, if it did."""
        return self._server_signature

    # Requests.

    def initiate(self) -> None:
        """Queue the offer of RFC 2217 and, in both directions, of BINARY and no go-aheads.

        RFC 2217 comes first: some servers look for telnet in the first bytes only.
        """
        for side, option in (
            (Side.US, COM_PORT),
            (Side.US, BINARY),
            (Side.THEM, BINARY),
            (Side.US, SGA),
            (Side.THEM, SGA),
        ):
            self._telnet.ask(side, option)

    def configure(self, settings: LineSettings, *, force: bool = False) -> list[Ask]:
        """Ask for settings.

        :param force: ask also for what is known to be in force
        """
        codes = [(topic, topic.code(settings, self._outputs)) for topic in SETTING_TOPICS]
        return self._set(
            (topic, code) for topic, code in codes if force or not self._is_in_force(topic, code)
        )

    def set_outputs(
        self, *, dtr: bool | None = None, rts: bool | None = None, brk: bool | None = None
    ) -> list[Ask]:
        """Drive the outputs that are named, by commands that stand side by side.

        When both DTR and RTS go off, RTS goes first: between the two, RTS alone would reset an ESP32.
        """
        wanted = {"dtr": dtr, "rts": rts, "brk": brk}
        both_off = dtr is False and rts is False
        return self._set(
            (topic, topic.encode(wanted[topic.name]))
            for topic in ((RTS, DTR, BREAK) if both_off else OUTPUT_TOPICS)
            if wanted[topic.name] is not None
        )

    def query_settings(self) -> list[Ask]:
        """Ask which settings are in force."""
        return self._set((topic, topic.query) for topic in SETTING_TOPICS)

    def query_outputs(self) -> list[Ask]:
        """Ask which outputs are in force. Many servers do not answer that: see :meth:`forget`."""
        return self._set((topic, topic.query) for topic in OUTPUT_TOPICS)

    def purge(self, what: Purge) -> list[Ask]:
        """Have the server throw away bytes.

        :raises ValueError: if ``what`` is empty
        """
        if not what:
            raise ValueError("nothing to purge")
        return [self._ask(Ask(ComPort.PURGE_DATA, what.value), bytes((what.value,)))]

    def get_inputs(self) -> list[Ask]:
        """Poll the modem status lines. Servers also tell of each change on their own.

        pyserial's client polls without a value; but sredird takes the next byte for it, of data or whatever.
        """
        return [self._ask(Ask(ComPort.NOTIFY_MODEMSTATE), b"\0")]

    def watch_errors(self, mask: LineState = LineState.ERRORS) -> list[Ask]:
        """Say which line errors are to be told; none before this is called.

        :raises ValueError: if the mask has other bits: they change with every character
        """
        bits = int(mask)
        if bits & ~int(LineState.ERRORS):
            raise ValueError(f"not a mask of line errors: {bits:#x}")
        self._linestate_mask = bits
        return [self._ask(Ask(ComPort.SET_LINESTATE_MASK), bytes((bits,)))]

    def ask_signature(self) -> list[Ask]:
        """Ask the server who it is."""
        return [self._ask(Ask(ComPort.SIGNATURE))]

    def suspend(self) -> None:
        """Ask the server to send no data until :meth:`resume`."""
        self._send(ComPort.FLOWCONTROL_SUSPEND)

    def resume(self) -> None:
        """Let the server send data again."""
        self._send(ComPort.FLOWCONTROL_RESUME)

    def abandon(self, ask: Ask) -> None:
        """Wait for this answer no longer. It will be recognised, and dropped, should it come late."""
        ask.abandoned = True
        asks = self._asks.get(ask.about)
        while asks and len(asks) > _MOST_ABANDONED and asks[0].abandoned:
            asks.popleft()

    def forget(self, ask: Ask) -> None:
        """Expect no answer to this any more, as a later command has been answered."""
        asks = self._asks.get(ask.about)
        if asks and ask in asks:
            asks.remove(ask)

    def assume(self, ask: Ask) -> None:
        """Take what was asked for as granted, though no answer came."""
        if isinstance(ask.about, Topic) and ask.asked is not None:
            self._learn(ask.about, ask.asked)

    def _is_in_force(self, topic: Topic, code: int) -> bool:
        if topic not in self._known or self._asks.get(topic):
            return False
        if topic is BAUDRATE and code == self._granted_baudrate:
            return True
        return code == topic.code(self._settings, self._outputs)

    def _set(self, codes: Iterable[tuple[Topic, int]]) -> list[Ask]:
        asks = []
        for topic, code in codes:
            payload = topic.payload(code)
            if topic.command is ComPort.SET_CONTROL and not self._answers_to_control:
                self._send(topic.command, payload)
                self._learn(topic, code)
            else:
                asks.append(self._ask(Ask(topic, None if code == topic.query else code), payload))
        return asks

    def _ask(self, ask: Ask, payload: bytes = b"") -> Ask:
        self._send(ask.about.command if isinstance(ask.about, Topic) else ask.about, payload)
        self._asks.setdefault(ask.about, deque()).append(ask)
        return ask

    # Answers, and what the server tells unasked.

    def _handle(self, command: int, payload: bytes) -> bool:
        if command in (ComPort.FLOWCONTROL_SUSPEND, ComPort.FLOWCONTROL_RESUME):
            # Some servers send the code of a client here.
            command += SERVER
        match command - SERVER:
            case ComPort.SIGNATURE:
                if payload:
                    self._server_signature = payload
                    self._settle(ComPort.SIGNATURE)
                else:
                    self._send(ComPort.SIGNATURE, SIGNATURE)
            case ComPort.SET_BAUDRATE if len(payload) == 8 and not any(payload[4:]):
                # Old versions of sredird append four zeros.
                self._acknowledged(BAUDRATE, int.from_bytes(payload[:4], "big"))
            case ComPort.SET_CONTROL if len(payload) == 1 and payload[0] in CONTROL_TOPICS:
                if self._answers_to_control:
                    self._acknowledged(CONTROL_TOPICS[payload[0]], payload[0])
            case known if known in TOPICS and len(payload) == TOPICS[known].width:
                self._acknowledged(TOPICS[known], int.from_bytes(payload, "big"))
            case ComPort.NOTIFY_LINESTATE if len(payload) == 1:
                # Some servers send this in place of the acknowledgement of the mask.
                self._settle(ComPort.SET_LINESTATE_MASK)
                if errors := payload[0] & self._linestate_mask:
                    self._events.append(decode_errors(errors))
            case ComPort.NOTIFY_MODEMSTATE if len(payload) == 1:
                self._inputs_told(decode_inputs(payload[0]))
            case ComPort.FLOWCONTROL_SUSPEND:
                self._suspended = True
            case ComPort.FLOWCONTROL_RESUME:
                self._suspended = False
            case ComPort.SET_LINESTATE_MASK:
                self._settle(ComPort.SET_LINESTATE_MASK)
            case ComPort.PURGE_DATA if len(payload) == 1:
                self._settle(ComPort.PURGE_DATA, payload[0])
            case _:
                return False
        return True

    def _acknowledged(self, topic: Topic, code: int) -> None:
        is_news = self._learn(topic, code)
        ask = self._settle(topic, code)
        if topic is BAUDRATE:
            self._granted_baudrate = ask.asked if ask and ask.asked and ask.fits(code) else 0
        if ask is None and is_news:
            self._events.append(SettingsChanged(self._settings, self._outputs))

    def _settle(self, about: Topic | ComPort, code: int | None = None) -> Ask | None:
        """Find out which command this answers.

        Answers keep the order of the commands, but some servers leave some out. So what grants a command
        answers it and shows that those before it will not be answered; what grants none refuses the first.
        """
        asks = self._asks.get(about)
        if not asks:
            return None
        granted = next((ask for ask in asks if ask.fits(code)), None)
        answered = granted or asks[0]
        while asks.popleft() is not answered:
            pass
        if not answered.abandoned:
            self._events.append(Answered(answered, granted is not None))
        return answered

    def _learn(self, topic: Topic, code: int) -> bool:
        """Take note of what is in force, and tell whether it was not known."""
        value = topic.value(code)
        if value is None or topic is INBOUND_FLOW:
            return False
        is_news = topic not in self._known or code != topic.code(self._settings, self._outputs)
        self._known.add(topic)
        if topic in OUTPUT_TOPICS:
            self._outputs = replace(self._outputs, **{topic.name: value})
        else:
            self._settings = replace(self._settings, **{topic.name: value})
        return is_news

    def _inputs_told(self, after: Inputs) -> None:
        before, self._inputs = self._inputs, after
        self._settle(ComPort.NOTIFY_MODEMSTATE)
        if before is None:
            self._events.append(InputsChanged(after, after))
        elif before != after:
            self._events.append(InputsChanged(before, after))
