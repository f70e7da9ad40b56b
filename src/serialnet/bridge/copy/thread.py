"""The one poller that all bridges of a process share, in a thread of its own.

It is there as long as there are lanes, and a few seconds longer. Asyncio's, uvloop's and trio's bridges all
go through it: the loops' threads add and remove lanes, and never wait for it longer than one lane takes for
its bit.
"""

from __future__ import annotations

import logging
import os
import signal
import threading

from typing_extensions import override

from .lane import Lane
from .poller import Poller
from .pools import forget_pipes
from .readiness import IN
from .turns import Turns
from .waker import Waker, forget_wakers

__all__ = ["poller", "turns"]

logger: logging.Logger = logging.getLogger("serialnet.bridge")

# How long the thread outlives its last lane.
IDLE = 2.0

turns: Turns = Turns()
"""Those of the poller, and of making one."""
_poller: _Poller | None = None


class _Poller(Poller):
    """A poller for a thread, which it lets sleep when nothing happens."""

    def __init__(self) -> None:
        super().__init__(turns=turns)
        self._waker = Waker()
        self._make_room(self._waker.descriptor)
        self._readiness.register(self._waker.descriptor, IN)
        self._rests = False

    def rest(self) -> None:
        """Wait as long as there are lanes and nothing happens."""
        self._rests = True
        try:
            if not self.is_empty:
                self.dispatch(None)
        finally:
            self._rests = False

    @override
    def remove(self, lane: Lane) -> None:
        super().remove(lane)
        if self.is_empty:
            self._stir()

    @override
    def close(self) -> None:
        super().close()
        self._waker.close()

    @override
    def _sending_begins(self) -> None:
        self._stir()

    @override
    def _unknown(self, descriptor: int) -> None:
        self._waker.clear()

    def _stir(self) -> None:
        if self._rests:
            self._waker.wake()


def poller() -> Poller:
    """Return the poller, whose thread runs; to be called in a turn, within which a lane is added.

    :raises OSError: if there are no more descriptors
    :raises RuntimeError: if there are no more threads
    """
    global _poller
    if _poller is None:
        poller = _Poller()
        try:
            threading.Thread(target=_run, args=(poller,), name="serialnet-copy", daemon=True).start()
        except RuntimeError:
            poller.close()
            raise
        _poller = poller
    return _poller


def _run(poller: _Poller) -> None:
    # Signals are for the main thread; and SIGPIPE, where it is not ignored, would end the process.
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        while True:
            if poller.dispatch(IDLE):
                continue
            with turns.lock:
                if poller.is_empty:
                    _end(poller)
                    return
            poller.rest()
    except Exception:
        # No memory for a buffer, say: who waits for this thread must not wait for ever.
        logger.exception("the copying thread failed as it should not; the event loops go on")
        with turns.queue, turns.next():
            _end(poller)


def _end(poller: _Poller) -> None:
    """Let the next lane have another thread."""
    global _poller
    _poller = None
    poller.abandon()
    poller.close()


def _after_fork() -> None:
    """In the child, which has no such thread: take no part in what the parent's does.

    The child shares the kernel's objects: what it removed from the epoll instance, the parent would miss.
    """
    global _poller, turns
    forget_wakers()
    turns = Turns()
    if _poller is not None:
        _poller.forgotten = True
        _poller.turns = turns  # the thread may have had its turn
        _poller.close()
        _poller = None
    forget_pipes()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
