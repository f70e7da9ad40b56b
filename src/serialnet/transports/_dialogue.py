"""A relay's protocol on a transport, at either end of it."""

from __future__ import annotations

from typing import Generic, TypeVar

from ..core.transport import Transport
from ..wire.relay import MOST_LINE, Event, RelayEnd

__all__ = ["Dialogue"]

M = TypeVar("M", bound=RelayEnd)


class Dialogue(Generic[M]):
    """Says what a protocol has to say, and hears what comes; cancelled, it can go on later.

    :param transport: carries it; closing it ends the dialogue
    :param protocol: one end of the protocol
    """

    def __init__(self, transport: Transport, protocol: M) -> None:
        self.transport = transport
        self.protocol = protocol
        self._unsent = bytearray()

    async def flush(self) -> None:
        """Send what there is to be said.

        :raises ~anyio.BrokenResourceError: if the peer has gone
        """
        self._unsent += self.protocol.data_to_send()
        while self._unsent:
            n = await self.transport.send_some(bytes(self._unsent))
            del self._unsent[:n]

    async def next_event(self) -> Event:
        """Wait for what the peer says next, and answer what wants an answer.

        :raises RelayError: if it does not keep to the protocol
        :raises ~anyio.EndOfStream: if it has gone
        :raises ~anyio.BrokenResourceError: likewise
        """
        while True:
            event = self.protocol.next_event()
            if event is not None:
                return event
            await self.flush()
            self.protocol.receive_data(await self.transport.receive(MOST_LINE))
