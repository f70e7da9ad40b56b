"""A connection that waits at a relay for its partner."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import anyio

from ..core.transport import Transport
from ..transports._dialogue import Dialogue
from ..transports._prefixed import PrefixedTransport
from ..wire.relay import Refusal, RelayError, RelayServer

__all__ = ["ANSWER", "HEARTBEAT", "PEER_ERRORS", "Guest", "say"]

# Who waits is asked every so often whether he is there, and has so long for an answer: the dead are noticed
# within 25 s.
HEARTBEAT = 20.0
ANSWER = 5.0

PEER_ERRORS = (RelayError, TimeoutError, anyio.EndOfStream, anyio.BrokenResourceError)


class Guest:
    """A board or a client that has been welcomed. One task keeps it; others decide what becomes of it."""

    def __init__(self, dialogue: Dialogue[RelayServer], who: str) -> None:
        self.who = who
        self.gone: bool = False
        self.left: anyio.Event = anyio.Event()
        """Set by whoever took it, when it is needed no longer."""
        self._dialogue = dialogue
        self._partner: str | None = None
        self._refusal: tuple[Refusal, str] | None = None
        self._pause = anyio.CancelScope()
        self._heard = anyio.Event()
        self._settled = anyio.Event()

    async def keep(self) -> None:
        """Look whether it is there, until it has a partner, is sent away, or is gone."""
        protocol = self._dialogue.protocol
        try:
            while not self._is_decided:
                with anyio.move_on_after(HEARTBEAT) as self._pause:
                    await self._dialogue.next_event()  # it has nothing to say: this is how its end is noticed
                if not self._is_decided:
                    await self._ask(protocol.ping)
                    heard, self._heard = self._heard, anyio.Event()
                    heard.set()
            if self._partner is not None:
                await self._ask(partial(protocol.pair, self._partner))
            elif self._refusal is not None:
                await say(self._dialogue, partial(protocol.refuse, *self._refusal))
                self.gone = True
        except PEER_ERRORS:
            self.gone = True
        finally:
            self._heard.set()
            self._settled.set()

    async def is_alive(self) -> bool:
        """Ask it now."""
        heard = self._heard
        self._pause.cancel()
        await heard.wait()
        return not self.gone

    async def pair(self, partner: str) -> Transport | None:
        """Tell it who its partner is.

        :return: its stream; ``None`` if it is gone
        """
        self._partner = partner
        self._pause.cancel()
        await self._settled.wait()
        if self.gone:
            return None
        return PrefixedTransport(self._dialogue.transport, self._dialogue.protocol.trailing_data)

    async def refuse(self, why: Refusal, text: str) -> None:
        """Send it away."""
        self._refusal = why, text
        self._pause.cancel()
        await self._settled.wait()

    @property
    def _is_decided(self) -> bool:
        return self._partner is not None or self._refusal is not None

    async def _ask(self, question: Callable[[], None]) -> None:
        question()
        with anyio.fail_after(ANSWER):
            await self._dialogue.next_event()


async def say(dialogue: Dialogue[RelayServer], what: Callable[[], None]) -> None:
    """Say something that wants no answer.

    :raises TimeoutError: if the peer does not take it
    """
    what()
    with anyio.fail_after(ANSWER):
        await dialogue.flush()
