"""The server of RFC 2217: a client's requests, each answered once and in order."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from typing_extensions import Buffer

from ...values.events import InputsChanged, LineErrors, LineEvent, SettingsChanged
from ...values.requests import (
    Configure,
    GetInputs,
    InForce,
    LineRequest,
    PurgeRequest,
    SendBreak,
    SetOutputs,
)
from ...values.settings import Inputs, LineSettings, Outputs, Purge
from ..negotiation import Side
from ..telnet import BINARY, COM_PORT, ECHO, SGA, Code
from .codes import (
    BAUDRATE,
    CONTROL_TOPICS,
    FLOW,
    INBOUND_FLOW,
    OUTPUT_TOPICS,
    SERVER,
    TOPICS,
    ComPort,
    Topic,
    encode_deltas,
    encode_errors,
    encode_inputs,
    is_granted,
)
from .session import SIGNATURE, Session

__all__ = ["READ_AHEAD", "ComPortServer"]

READ_AHEAD = 64 * 1024
"""Bytes that may be received while a request waits for its answer."""

_BREAK_SECONDS = 0.25


class ComPortServer(Session[LineRequest]):
    """The end of an RFC 2217 session that has the serial port.

    :meth:`next_event` returns data and requests. After a request it returns ``None``, and nothing beyond the
    request is parsed, until :meth:`answer` has been called. What a client merely asks for is answered here.

    The line that a client sees is a virtual one: it has the values of the latest answer, and of
    :class:`SettingsChanged`, which is to be notified first of all.
    """

    def __init__(self) -> None:
        super().__init__(us=(COM_PORT, BINARY, SGA, ECHO), them=(COM_PORT, BINARY, SGA))
        self._settings = LineSettings()
        self._outputs = Outputs()
        self._inputs = Inputs()
        self._pending: LineRequest | None = None
        self._reply: Callable[[], None] = _no_reply
        self._client_signature: bytes | None = None
        # What the client asked for and was last told, by topic. What it never asked for it is never told:
        # pyserial's client fails at an acknowledgement of a command that it has not used.
        self._told: dict[Topic, int] = {}
        self._asked_baudrate = 0
        # RFC 2217, section 3: the masks that a session begins with.
        self._linestate_mask = 0
        self._modemstate_mask = 255
        # Notifications wait here, merged, until somebody takes what is to be sent.
        self._linestate = 0
        self._deltas = 0
        self._told_modemstate: int | None = None

    @property
    def settings(self) -> LineSettings:
        """The settings in force, as far as the client is concerned."""
        return self._settings

    @property
    def outputs(self) -> Outputs:
        """The outputs in force, as far as the client is concerned."""
        return self._outputs

    @property
    def pending(self) -> LineRequest | None:
        """The request that waits for its answer."""
        return self._pending

    @property
    def client_signature(self) -> bytes | None:
        """The text by which the client made itself known, if it did."""
        return self._client_signature

    def initiate(self) -> None:
        """Queue the greeting.

        The client is asked for RFC 2217 and, in both directions, BINARY and no go-aheads. We claim to echo,
        as servers of serial ports do, lest human clients show all that is typed twice.
        """
        for side, option in (
            (Side.THEM, COM_PORT),
            (Side.US, BINARY),
            (Side.THEM, BINARY),
            (Side.US, SGA),
            (Side.THEM, SGA),
            (Side.US, ECHO),
        ):
            self._telnet.ask(side, option)

    def receive_data(self, data: Buffer) -> None:
        """Take in received bytes.

        :raises BufferError: if a request waits for its answer and more than :data:`READ_AHEAD` bytes would
            wait behind it: look at :attr:`buffered` before reading on
        """
        if self._pending is not None and self.buffered + memoryview(data).nbytes > READ_AHEAD:
            raise BufferError("too many bytes behind a request that was not answered")
        super().receive_data(data)

    def answer(self, in_force: InForce) -> None:
        """Answer the pending request with what is in force now.

        :raises RuntimeError: if no request is pending
        :raises TypeError: if it is a request for something else
        """
        if self._pending is None:
            raise RuntimeError("no request is pending")
        if not isinstance(in_force, type(self._pending.unchanged)):
            raise TypeError(f"{in_force!r} is no answer to {self._pending!r}")
        if isinstance(in_force, LineSettings):
            self._settings = in_force
        elif isinstance(in_force, Outputs):
            self._outputs = in_force
        elif isinstance(in_force, Inputs):
            self._inputs = in_force
        self._pending = None
        self._reply()

    def notify(self, event: LineEvent) -> None:
        """Take note of what happened to the line, and tell the client if it wants to know.

        Events merge until :meth:`data_to_send` is called, so any number of them takes bounded memory.
        """
        match event:
            case SettingsChanged(settings, outputs):
                self._settings, self._outputs = settings, outputs
            case InputsChanged(before, after):
                self._inputs = after
                self._deltas |= encode_deltas(before, after)
            case LineErrors():
                self._linestate |= encode_errors(event) & self._linestate_mask
            case _:
                pass  # the wire has no word for a device that goes and comes back

    def data_to_send(self) -> bytes:
        """Take the replies, and the notifications that are due."""
        if self.agreed and not self.suspended:
            self._notify_modemstate()
            self._notify_linestate()
            if self._pending is None:
                self._announce_settings()
        return super().data_to_send()

    # Requests.

    def _is_waiting(self) -> bool:
        return self._pending is not None

    def _request(self, request: LineRequest, reply: Callable[[], None]) -> None:
        self._pending = request
        self._reply = reply
        self._events.append(request)

    def _obey(self, code: Code) -> None:
        if code is Code.BRK:
            self._request(SendBreak(_BREAK_SECONDS), _no_reply)
        elif code is Code.AYT:
            # An answer for the eye would be taken for data.
            self._telnet.send(bytes((Code.IAC, Code.NOP)))

    def _handle(self, command: int, payload: bytes) -> bool:
        match command:
            case ComPort.SIGNATURE:
                if payload:
                    self._client_signature = payload
                else:
                    self._send(SERVER + command, SIGNATURE)
            case ComPort.SET_CONTROL:
                return self._set(CONTROL_TOPICS.get(payload[0] if payload else 0, FLOW), payload)
            case _ if command in TOPICS:
                return self._set(TOPICS[command], payload)
            case ComPort.NOTIFY_LINESTATE:
                self._send(SERVER + command, b"\0")
            case ComPort.NOTIFY_MODEMSTATE:
                # Both polls are custom, not law (pyserial's ``poll_modem``).
                self._request(GetInputs(unchanged=self._inputs), self._reply_inputs)
            case ComPort.FLOWCONTROL_SUSPEND:
                self._suspended = True
            case ComPort.FLOWCONTROL_RESUME:
                self._suspended = False
            case ComPort.SET_LINESTATE_MASK:
                if valid := len(payload) == 1:
                    self._linestate_mask = payload[0]
                    self._linestate &= payload[0]
                self._send(SERVER + command, bytes((self._linestate_mask,)))
                return valid
            case ComPort.SET_MODEMSTATE_MASK:
                if valid := len(payload) == 1:
                    self._modemstate_mask = payload[0]
                self._send(SERVER + command, bytes((self._modemstate_mask,)))
                return valid
            case ComPort.PURGE_DATA:
                return self._purge(payload)
            case _:
                return False
        return True

    def _set(self, topic: Topic, payload: bytes) -> bool:
        """Set a value, or ask for it. Whatever is not understood is answered as if it had been asked for."""
        valid = len(payload) == topic.width
        code = int.from_bytes(payload, "big") if valid else topic.query
        value = topic.value(code)
        if value is None or topic is INBOUND_FLOW:
            # Serial drivers know one flow control for both directions: the outbound one is set.
            self._acknowledge(topic)
            return valid and (topic is INBOUND_FLOW or code == topic.query)
        reply = partial(self._acknowledge, topic)
        if topic in OUTPUT_TOPICS:
            self._request(SetOutputs(**{topic.name: value}, unchanged=self._outputs), reply)
        else:
            if topic is BAUDRATE:
                self._asked_baudrate = value
            settings = replace(self._settings, **{topic.name: value})
            self._request(Configure(settings, unchanged=self._settings), reply)
        return True

    def _purge(self, payload: bytes) -> bool:
        reply = partial(self._send, SERVER + ComPort.PURGE_DATA, payload[:1] or b"\0")
        valid = len(payload) == 1 and payload[0] in (1, 2, 3)
        if valid:
            self._request(PurgeRequest(Purge(payload[0])), reply)
        else:
            reply()
        return valid

    # Replies and notifications.

    def _acknowledge(self, topic: Topic) -> None:
        code = self._code(topic)
        if topic is not INBOUND_FLOW:
            # It follows the outbound one, which is announced: a change is not announced twice.
            self._told[topic] = code
        self._send(SERVER + topic.command, topic.payload(code))

    def _code(self, topic: Topic) -> int:
        """Encode what the client is told that is in force."""
        if topic is BAUDRATE and is_granted(self._asked_baudrate, self._settings.baudrate):
            return self._asked_baudrate
        return topic.code(self._settings, self._outputs)

    def _reply_inputs(self) -> None:
        state = encode_inputs(self._inputs)
        if self._told_modemstate is not None:
            self._told_modemstate = state
        self._send(SERVER + ComPort.NOTIFY_MODEMSTATE, bytes((state,)))

    def _notify_modemstate(self) -> None:
        """Tell the client what its mask lets through, once it speaks RFC 2217 and after each change.

        By the letter, state and changes go out when their bits, masked, are not all zero. Then a client that
        masks the delta bits would never hear of a line that dropped while no other is asserted: so a
        difference to what it was told before counts, too.
        """
        state, mask = encode_inputs(self._inputs), self._modemstate_mask
        if self._told_modemstate is None:
            # The first report tells the state only. Clients rely on it.
            self._deltas = 0
            due = mask != 0
        elif state == self._told_modemstate and not self._deltas:
            return
        else:
            due = bool((state | self._deltas | (state ^ self._told_modemstate)) & mask)
        if due:
            self._send(SERVER + ComPort.NOTIFY_MODEMSTATE, bytes(((state | self._deltas) & mask,)))
        self._told_modemstate, self._deltas = state, 0

    def _notify_linestate(self) -> None:
        if self._linestate:
            self._send(SERVER + ComPort.NOTIFY_LINESTATE, bytes((self._linestate,)))
            self._linestate = 0

    def _announce_settings(self) -> None:
        for topic, told in self._told.items():
            if self._code(topic) != told:
                self._acknowledge(topic)


def _no_reply() -> None:
    pass
