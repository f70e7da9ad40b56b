"""What both ends of an RFC 2217 session have: telnet with one option of interest, and data."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable
from typing import Generic, TypeVar

from typing_extensions import Buffer

from ..escaping import NvtDecoder, NvtEncoder, escape
from ..negotiation import Side
from ..telnet import BINARY, COM_PORT, Code, Command, Telnet
from .codes import message

__all__ = ["SIGNATURE", "Session"]

SIGNATURE = b"serialnet"
"""What a peer that asks is told. Some have room for no more than 24 bytes."""

E = TypeVar("E")


class Session(ABC, Generic[E]):
    """One end of an RFC 2217 session, without I/O.

    Received bytes go into :meth:`receive_data`, then :meth:`next_event` is called until it returns ``None``,
    then what :meth:`data_to_send` has is sent; the properties change within these calls. Data is sent as
    :meth:`send_data` encodes it, and each of its results whole, before anything else is.

    Nothing that the peer sends raises. What it must not send is counted and ignored.
    """

    def __init__(self, *, us: Iterable[int], them: Iterable[int]) -> None:
        self._telnet = Telnet(us=us, them=them)
        self._events: deque[E] = deque()
        self._suspended = False
        self._encoder = NvtEncoder()
        self._decoder = NvtDecoder()

    @abstractmethod
    def initiate(self) -> None:
        """Queue the negotiations that open a session. To be called once, before all else."""

    @property
    def agreed(self) -> bool | None:
        """Whether the peer speaks RFC 2217; ``None`` until it said so or refused.

        Either direction of the option will do: some peers take the wrong one.
        """
        telnet = self._telnet
        if any(telnet.enabled(side, COM_PORT) for side in Side):
            return True
        return False if any(telnet.refused(side, COM_PORT) for side in Side) else None

    @property
    def suspended(self) -> bool:
        """Whether the peer wants no data now (FLOWCONTROL-SUSPEND); what else is queued still goes out."""
        return self._suspended

    @property
    def to_terminal(self) -> bool:
        """Whether the peer is a terminal, to which :meth:`send_data` adds NULs."""
        return self._is_terminal(Side.US)

    @property
    def buffered(self) -> int:
        """How many received bytes wait to be parsed."""
        return self._telnet.buffered

    @property
    def is_plain(self) -> bool:
        """Whether the bytes that come next are data but for the doubled IACs, up to the next command."""
        return (
            self._telnet.is_idle
            and not self._events
            and not self._is_waiting()
            and not self._is_terminal(Side.THEM)
        )

    @property
    def violations(self) -> int:
        """How often the peer broke a rule of the protocol, or used what is not supported."""
        return self._telnet.violations

    def receive_data(self, data: Buffer) -> None:
        """Take in received bytes."""
        self._telnet.receive_data(data)

    def next_event(self) -> bytes | E | None:
        """Parse up to the next event and no further.

        :return: data (never empty) or another event; ``None`` when there is none before more was received
        """
        while not self._events and not self._is_waiting():
            event = self._telnet.next_event()
            if event is None:
                return None
            if isinstance(event, bytes):
                if data := self._from_nvt(event):
                    return data
            elif isinstance(event, Command):
                self._obey(event.code)
            elif event.option != COM_PORT or not event.payload:
                self._telnet.reject(f"a subnegotiation for option {event.option}, {event.payload.hex()}")
            elif not self._handle(event.payload[0], event.payload[1:]):
                self._telnet.reject(f"the COM-PORT command {event.payload.hex(' ')}")
        return self._events.popleft() if self._events else None

    def data_to_send(self) -> bytes:
        """Take the replies, requests and notifications that are to be sent."""
        return self._telnet.data_to_send()

    def send_data(self, data: Buffer) -> bytes:
        """Encode data, which is then to be sent whole and in this order.

        BINARY is what both ends of such a session behave as if they had agreed on, whether they have or not.
        Only a peer which has refused it, and RFC 2217 with it, is a terminal (RFC 854): there a CR, unless
        before a LF, has a NUL behind it.
        """
        if self.to_terminal:
            data = self._encoder.encode(bytes(data))
        return escape(data)

    def _from_nvt(self, data: bytes) -> bytes:
        return self._decoder.decode(data) if self._is_terminal(Side.THEM) else data

    def _is_terminal(self, side: Side) -> bool:
        return self._telnet.refused(side, BINARY) and not self.agreed

    def _send(self, command: int, payload: bytes = b"") -> None:
        self._telnet.send(message(command, payload))

    def _is_waiting(self) -> bool:
        """Whether parsing has to wait."""
        return False

    def _obey(self, code: Code) -> None:
        """Carry out a telnet command of two bytes."""

    @abstractmethod
    def _handle(self, command: int, payload: bytes) -> bool:
        """Carry out a COM-PORT command; false if it is none, or its payload is none."""
