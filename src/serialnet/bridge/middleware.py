"""The hooks of one session, from the outermost to the line behind them."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import anyio

from ..core.errors import LineError
from ..core.line import Line
from ..core.transport import STREAM_ERRORS
from ..values.requests import Configure, GetInputs, InForce, LineRequest, PurgeRequest, SendBreak, SetOutputs
from ..values.settings import Purge
from .hook import Direction, Forward, Hook, overrides
from .pump import Tap
from .stats import BridgeStats

__all__ = ["Middleware"]

logger: logging.Logger = logging.getLogger("serialnet.bridge")


class Middleware:
    """Takes requests through the hooks to the line, and calls the hooks when it is their turn.

    :param line: what requests are put to at last
    :param discard: throws away what was received from the port and not sent on
    :param fail: ends the session, since a hook failed on the data
    """

    def __init__(
        self,
        hooks: Sequence[Hook],
        line: Line | None,
        stats: BridgeStats,
        *,
        discard: Callable[[], None],
        fail: Callable[[Exception], None],
    ) -> None:
        self._hooks = hooks
        self._line = line
        self._stats = stats
        self._discard = discard
        self._fail = fail
        self._serially = anyio.Lock()  # requests, and what hooks do by themselves
        self._deadline_moved = anyio.Event()

    def has(self, name: str) -> bool:
        """Whether any hook has this method."""
        return any(overrides(hook, name) for hook in self._hooks)

    async def tell(self, step: Callable[[Hook], Awaitable[None]]) -> None:
        """Have each hook do something; its failure is its own."""
        for hook in self._hooks:
            await _guarded(hook, step)
        self._deadline_moved.set()

    # The data

    def tap(self, direction: Direction) -> Tap | None:
        """What shows the bytes of a direction to the hooks that want to see them, if any does."""
        taps = [hook.data for hook in self._hooks if overrides(hook, "data")]

        def tap(view: memoryview) -> memoryview:
            try:
                for data in taps:
                    changed = data(direction, view)
                    if changed is not None:
                        view = memoryview(changed)
                self._deadline_moved.set()
            except Exception as error:
                logger.exception("a hook failed on the data, and ends the session")
                self._fail(error)
                return view[:0]
            return view

        return tap if taps else None

    def awaits_data(self) -> bool:
        """Whether a hook is to act before more of the client's bytes go on."""
        return any(hook.awaits_data for hook in self._hooks)

    async def before_data(self) -> None:
        """Let these hooks act."""
        async with self._serially:
            for index, hook in enumerate(self._hooks):
                if hook.awaits_data:
                    hook.awaits_data = False
                    await _guarded(hook, partial(_before_data, self.forward(index + 1)))
        self._deadline_moved.set()

    async def keep_deadlines(self) -> None:
        """Call each hook at its deadline, for ever."""
        while True:
            deadlines = [hook.deadline for hook in self._hooks if hook.deadline is not None]
            self._deadline_moved = anyio.Event()
            with anyio.move_on_at(min(deadlines, default=float("inf"))):
                await self._deadline_moved.wait()
            async with self._serially:
                for index, hook in enumerate(self._hooks):
                    if hook.deadline is not None and hook.deadline <= anyio.current_time():
                        hook.deadline = None
                        await _guarded(hook, partial(_time_out, self.forward(index + 1)))

    # Requests

    async def ask(self, request: LineRequest) -> None:
        """Carry a request out, and answer it."""
        async with self._serially:
            self._stats.requests += 1
            try:
                in_force = await self.forward()(request)
                if type(in_force) is not type(request.unchanged):
                    raise TypeError(f"a hook answered {request} with {in_force!r}")
            except Exception:
                logger.exception("a hook failed; its request is refused")
                in_force = request.unchanged
            await request.answer(in_force)  # type: ignore[arg-type]  # the types were compared
        self._deadline_moved.set()

    def forward(self, index: int = 0) -> Forward:
        """What hands a request to the hook at ``index``; behind the last one, to the line."""
        if index == len(self._hooks):
            return self._carry_out
        hook = self._hooks[index]

        async def forward(request: LineRequest) -> InForce:
            return await hook.request(request, self.forward(index + 1))

        return forward

    async def _carry_out(self, request: LineRequest) -> InForce:
        """Put a request to the line; what is in force is the answer, also when the line fails."""
        line = self._line
        if line is None:
            self._stats.refused += 1
            return request.unchanged
        before = line.settings, line.outputs
        try:
            return await self._put(request, line)
        except (LineError, *STREAM_ERRORS) as error:
            self._stats.refused += 1
            logger.warning("refused %s: %s", request, error)
        finally:
            self._stats.line_changes += (line.settings, line.outputs) != before
        match request:
            case Configure():
                return line.settings
            case SetOutputs():
                return line.outputs
        return request.unchanged

    async def _put(self, request: LineRequest, line: Line) -> InForce:
        match request:
            case Configure(settings):
                return await line.configure(settings)
            case SetOutputs(dtr, rts, brk):
                return await line.set_outputs(dtr=dtr, rts=rts, brk=brk)
            case GetInputs():
                return await line.get_inputs()
            case PurgeRequest(what):
                await line.purge(what)
                if Purge.RECEIVED in what:
                    self._discard()
                return what
            case SendBreak(duration):
                await line.set_outputs(brk=True)
                try:
                    await anyio.sleep(duration)
                finally:
                    with anyio.CancelScope(shield=True):
                        await line.set_outputs(brk=False)
        return None


async def _guarded(hook: Hook, step: Callable[[Hook], Awaitable[None]]) -> None:
    try:
        await step(hook)
    except Exception:
        logger.exception("the hook %s failed", type(hook).__name__)


def _time_out(forward: Forward, hook: Hook) -> Awaitable[None]:
    return hook.timeout(forward)


def _before_data(forward: Forward, hook: Hook) -> Awaitable[None]:
    return hook.before_data(forward)
