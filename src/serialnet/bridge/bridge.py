"""The bridge: two transports, two directions, and the line between them."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, closing
from functools import cached_property, partial

import anyio

from ..core.errors import BridgeError, LineError
from ..core.line import Line
from ..core.transport import STREAM_ERRORS, AskingTransport, Transport
from ..values.events import LineEvent, SettingsChanged
from .asking import AskingPump
from .copy.onloop import LoopPoller
from .copy.waker import Waker
from .hook import Direction, Hook, HookFactory, make_hooks
from .middleware import Middleware
from .pump import Gate, Pump, SendFailed, Shared, Tap
from .stats import BridgeEnd, BridgeStats, Count, LiveStats, Side

__all__ = ["Bridge"]

logger: logging.Logger = logging.getLogger("serialnet.bridge")

LINGER = 0.5
# How long what runs at the end of a session may take: the hooks, then closing the ends.
HOOK_TIMEOUT = 15.0
CLOSE_TIMEOUT = 2.0
# How often it is looked whether a client that cannot be read from is still there.
HANG_UP_CHECK = 2.0
# How long a port may take nothing from a client that is done, when another one waits.
PROGRESS_CHECK = 1.0


class Bridge:
    """Joins two live transports for one session: ``end = await Bridge(a, b).run()``.

    Bytes go both ways. If one end asks for line changes (an RFC 2217 session, say) and the other offers a
    line (a serial port), each request is carried out where it stands among the asker's bytes, and what
    happens on the line is told to the asker. Two ends that offer a line exchange bytes only.

    :param hooks: hooks, or factories of them; the first is the outermost
    :raises BridgeError: if both ends ask
    """

    def __init__(self, a: Transport, b: Transport, *, hooks: Sequence[Hook | HookFactory] = ()) -> None:
        if isinstance(a, AskingTransport) and isinstance(b, AskingTransport):
            raise BridgeError("both ends ask for line changes, and neither can carry them out")
        stats = LiveStats()
        self.stats: BridgeStats = stats
        self.hooks: list[Hook] = make_hooks(hooks)
        self._ends: dict[Side, Transport] = {"a": a, "b": b}
        # The port is the end that offers a line; of two equal ends, b.
        self._port: Side = "a" if isinstance(b, AskingTransport) or (a.line and not b.line) else "b"
        user, port = self._ends[_other(self._port)], self._ends[self._port]
        self._asker = user if isinstance(user, AskingTransport) else None
        self._shared = Shared()
        self._to_user = Pump(port, user, self._shared, *self._looks(self._port, stats))
        looks = self._looks(_other(self._port), stats)
        gate = Gate(self._middleware.awaits_data, self._middleware.before_data) if self.hooks else None
        self._to_port: Pump
        if self._asker is not None:
            self._to_port = AskingPump(self._asker, port, self._shared, *looks, gate, self._middleware.ask)
        else:
            self._to_port = Pump(user, port, self._shared, *looks, gate)
        self._wake: Callable[[], None] | None = None  # while it waits quietly
        self._is_hurried = False
        self._lingering = False
        self._done: list[Side] = []  # the ends that will send no more
        self._end: BridgeEnd | None = None
        self._scope: anyio.CancelScope | None = None  # while it works
        self._started = False
        self._end_told = False

    # Most sessions do without these, and most bridges of a process are idle.

    @cached_property
    def _hurried(self) -> anyio.Event:
        return anyio.Event()

    @cached_property
    def _middleware(self) -> Middleware:
        return Middleware(
            self.hooks, self.line, self.stats, discard=lambda: self._to_user.discard(), fail=self._hook_failed
        )

    @property
    def port(self) -> Transport:
        """The end that offers a line; ``b``, if none or both do."""
        return self._ends[self._port]

    @property
    def user(self) -> Transport:
        """The other end: a client, mostly."""
        return self._ends[_other(self._port)]

    @property
    def line(self) -> Line | None:
        """The line of :attr:`port`."""
        return self.port.line

    @property
    def to_port(self) -> Direction:
        """The direction towards :attr:`port`."""
        return Direction.A_TO_B if self._port == "b" else Direction.B_TO_A

    @property
    def lingering(self) -> bool:
        """Whether the session is about to end: one end is done, and what it sent may still be on its way."""
        over = self._end is not None or self._lingering or self._to_port.at_end or self._to_user.at_end
        return over or any(end._hung_up(half=True) for end in self._ends.values())

    def hurry(self) -> None:
        """Don't linger: somebody else waits."""
        self._is_hurried = True
        self._hurried.set()
        if self._wake is not None:
            self._wake()

    def stop(self, reason: str) -> None:
        """End the session, as a hook may want to."""
        self._finish(BridgeEnd("hook", reason, None, self.stats))

    def inject(self, data: bytes) -> None:
        """Send a few bytes of a hook's own to the client.

        They stand behind what the hooks' taps have seen from the port, and before what they have not; no tap
        sees them. Not to be called by a tap.
        """
        self._to_user.inject(data)

    async def dismiss(self, reason: str, last_words: bytes) -> None:
        """End the session; the client gets the last words first, if it takes them within 0.5 s."""
        self.inject(last_words)
        with anyio.move_on_after(LINGER):
            await self._to_user.injected()
        self.stop(reason)

    async def run(self) -> BridgeEnd:
        """Carry the session to its end, and close both ends; raises only when cancelled."""
        if self._started:
            raise RuntimeError("a bridge runs once")
        self._started = True
        self.stats._began = time.monotonic()
        try:
            if not self.hooks and self._asker is None:
                await self._copy_quietly()
            if self._end is None:
                await self._work()
            assert self._end is not None
            if self.hooks:
                with anyio.move_on_after(HOOK_TIMEOUT):
                    await self._tell_end(self._end)
            return self._end
        except anyio.get_cancelled_exc_class():
            if self.hooks and not self._end_told:
                with anyio.move_on_after(CLOSE_TIMEOUT, shield=True):
                    await self._tell_end(BridgeEnd("hook", "it was cancelled", None, self.stats))
            raise
        finally:
            self.stats._ended = time.monotonic()
            await self._close()

    async def _copy_quietly(self) -> None:
        """Let the poller copy both directions, and just wait, as long as nothing but bytes and ends come."""
        try:
            waker = Waker()
        except OSError:  # no more descriptors, of which the loop needs none
            return
        pumps = {_other(self._port): self._to_port, self._port: self._to_user}
        over: list[Side] = []
        self._wake = waker.wake

        def end(side: Side) -> None:  # in a turn, mostly in the poller's thread
            over.append(side)
            passage = pumps[side].passage
            if len(over) == 2 or passage is None or not passage.passed_end:
                waker.wake()

        try:
            lent = [
                await pump.open(
                    partial(end, side),
                    passes_end=self._ends[_other(side)].can_send_eof,
                    at_once=pump is self._to_port,  # a client may have asked something already
                )
                for side, pump in pumps.items()
            ]
            if all(lent) and not self._is_hurried and self._end is None:
                await waker.wait()
        finally:
            self._wake = None
            for pump in pumps.values():
                pump.close()
            waker.close()
        self._done = [side for side in over if pumps[side].at_end]
        if len(self._done) == 2 and self._end is None:
            self._end = self._ended(self._done[0], None)

    async def _work(self) -> None:
        """Run the session with all that it may need, each in a task of its own."""
        async with AsyncExitStack() as stack:
            poller: LoopPoller | None = None
            if self._middleware.has("data"):
                # It is a user's code: it runs in the loop's thread.
                self._shared.poller = poller = stack.enter_context(closing(LoopPoller()))
            tasks = await stack.enter_async_context(anyio.create_task_group())
            self._scope = tasks.cancel_scope
            if not self._to_port.at_end:
                tasks.start_soon(self._from_user)
            if not self._to_user.at_end:
                tasks.start_soon(self._direction, self._port, self._to_user)
            tasks.start_soon(self._notice_hang_up)
            if self._middleware.has("timeout"):
                tasks.start_soon(self._middleware.keep_deadlines)
            if self.line and (self._asker or self._middleware.has("event")):
                tasks.start_soon(self._watch, self.line)
            if poller is not None:
                tasks.start_soon(poller.run)

    # The directions

    async def _from_user(self) -> None:
        """What the user's end sends: bytes, and requests if it asks; the hooks open the session first."""
        await self._middleware.tell(lambda hook: hook.opened(self))
        side = _other(self._port)
        try:
            if self._asker is not None and self.line is not None:
                await self._asker.notify(SettingsChanged(self.line.settings, self.line.outputs))
        except STREAM_ERRORS as error:
            self._finish(self._ended(side, error))
        else:
            await self._direction(side, self._to_port)

    async def _notice_hang_up(self) -> None:
        """End the session when an end has gone while the other takes nothing.

        Nobody reads from that end then, so nobody else would hear of it. If it was reset, that is enough;
        if it merely said that it is done, only when somebody else waits.
        """
        pumps: dict[Side, Pump | AskingPump] = {
            _other(self._port): self._to_port,
            self._port: self._to_user,
        }
        while True:
            progress = {side: pump.progress for side, pump in pumps.items()}
            with anyio.move_on_after(HANG_UP_CHECK):
                await self._hurried.wait()
            if waited_for := self._is_hurried:
                await anyio.sleep(PROGRESS_CHECK)
            for side, pump in pumps.items():
                if pump.progress == progress[side] and self._ends[side]._hung_up(half=waited_for):
                    self._finish(self._ended(side, anyio.BrokenResourceError("it hung up")))

    async def _direction(self, side: Side, pump: Pump | AskingPump) -> None:
        sink = self._ends[_other(side)]
        try:
            await pump.run()
        except SendFailed as failure:
            # The other direction may still hold bytes that the sink sent before it broke.
            await self._last_words(self._ended(_other(side), failure.error))
            return
        except STREAM_ERRORS as error:
            self._finish(self._ended(side, error))
            return
        except Exception as error:
            logger.exception("a transport failed as it should not, and ends the session")
            self._finish(self._ended(side, error))
            return
        if not sink.can_send_eof:
            end = self._ended(side, None)
            self._lingering = True
            if sink.line is not None:
                try:
                    await sink.line.drain()
                except (LineError, *STREAM_ERRORS) as error:
                    logger.info("bytes were left behind at the end of a session: %s", error)
            await self._last_words(end)
            return
        await self._pass_end_on(side)

    async def _pass_end_on(self, side: Side) -> None:
        """Tell the other end that this one is done; the second one ends the session."""
        self._done.append(side)
        if len(self._done) == 2:
            self._finish(self._ended(self._done[0], None))
            return
        try:
            await self._ends[_other(side)].send_eof()
        except STREAM_ERRORS as error:
            self._finish(self._ended(_other(side), error))

    async def _last_words(self, end: BridgeEnd) -> None:
        self._lingering = True
        with anyio.move_on_after(LINGER):
            await self._hurried.wait()
        self._finish(end)

    def _ended(self, side: Side, error: Exception | None) -> BridgeEnd:
        name = "the port" if side == self._port else "the client"
        if error is None:
            reason = f"{name} closed the connection"
        else:
            reason = f"{name} was lost: {error}" if str(error) else f"{name} was closed"
        return BridgeEnd(side, reason, error, self.stats)

    async def _tell_end(self, end: BridgeEnd) -> None:
        self._end_told = True
        await self._middleware.tell(lambda hook: hook.closed(end))

    def _hook_failed(self, error: Exception) -> None:
        self._finish(BridgeEnd("hook", "a hook failed", error, self.stats))

    def _finish(self, end: BridgeEnd) -> None:
        if self._end is None:
            self._end = end
            if self._scope is not None:
                self._scope.cancel()
            if self._wake is not None:
                self._wake()

    async def _close(self) -> None:
        line = self.line
        if self._asker is not None and line is not None and line.outputs.brk:
            with anyio.move_on_after(CLOSE_TIMEOUT, shield=True):
                try:
                    await line.set_outputs(brk=False)
                except (LineError, *STREAM_ERRORS) as error:
                    logger.info("a BREAK could not be ended: %s", error)
        for end in self._ends.values():
            if end._close_at_once():
                continue
            with anyio.move_on_after(CLOSE_TIMEOUT, shield=True):
                try:
                    await end.aclose()
                except Exception:
                    logger.exception("an end did not close as it should")

    def _looks(self, side: Side, stats: LiveStats) -> tuple[Count, Tap | None]:
        """What counts the bytes of a direction, and what taps them, if any hook does."""
        direction = Direction.A_TO_B if side == "a" else Direction.B_TO_A
        count = stats.a_to_b if side == "a" else stats.b_to_a
        return count, self._middleware.tap(direction) if self.hooks else None

    # What happens of its own accord

    async def _watch(self, line: Line) -> None:
        try:
            async with line.events() as events:
                async for event in events:
                    self.stats._count(event)
                    await self._middleware.tell(partial(_hear, event))
                    if self._asker is not None:
                        await self._asker.notify(event)
        except (LineError, *STREAM_ERRORS) as error:
            # Whichever end it was, the direction that reads from it ends the session and says why.
            logger.debug("the line is no longer watched: %s", error)


def _hear(event: LineEvent, hook: Hook) -> Awaitable[None]:
    return hook.event(event)


def _other(side: Side) -> Side:
    return "b" if side == "a" else "a"
