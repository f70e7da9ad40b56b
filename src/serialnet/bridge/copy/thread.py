"""The one poller that all bridges of a process share, in a thread of its own.

It is there as long as there are lanes, and a few seconds longer. Asyncio's, uvloop's and trio's bridges all
go through it: the loops' threads add and remove lanes, and never wait for it longer than one lane takes for
its bit.
"""

from __future__ import annotations

import os
import signal
import threading

from .poller import Poller, Ride
from .pools import forget_pipes
from .waker import forget_wakers

__all__ = ["add"]

# How often the thread looks whether it is still needed.
IDLE = 2.0

_lock = threading.Lock()
_poller: Poller | None = None


def add(ride: Ride) -> Poller:
    """Drive a lane, whose lock is held, from another thread; returns what drives it."""
    global _poller
    with _lock:
        if _poller is None:
            poller = Poller()
            threading.Thread(target=_run, args=(poller,), name="serialnet-copy", daemon=True).start()
            _poller = poller
        _poller.add(ride)
        return _poller


def _run(poller: Poller) -> None:
    global _poller
    # Signals are for the main thread; and SIGPIPE, where it is not ignored, would end the process.
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    while True:
        if not poller.dispatch(IDLE) and poller.is_empty:
            with _lock:
                if poller.is_empty:
                    _poller = None
                    poller.close()
                    return


def _after_fork() -> None:
    """In the child, which has no such thread: take no part in what the parent's does.

    The child shares the kernel's objects: what it removed from the epoll instance, the parent would miss.
    """
    global _lock, _poller
    _lock = threading.Lock()
    if _poller is not None:
        _poller.forgotten = True
        _poller.close()
        _poller = None
    forget_pipes()
    forget_wakers()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
