"""A lock whose holder works through many small pieces, and lets others in between any two of them."""

from __future__ import annotations

import threading

__all__ = ["Turns"]


class Turns:
    """Taken by one thread at a time: by the busy one with ``with turns.lock``, by others as it is wanted::

        with turns.queue, turns.next():
            ...

    The busy holder looks at :attr:`wanted` after each piece of work, which costs less than to release and
    take a lock, and :meth:`give_way` if so: a lock that is merely released and taken again goes to the one
    that runs, not to those that wait.

    These are bare locks because a ``with`` of Python's own locks lets no :exc:`KeyboardInterrupt` in between
    taking one and being bound to release it. It would keep the turn for ever.
    """

    __slots__ = ("lock", "queue", "wanted")

    def __init__(self) -> None:
        self.lock: threading.Lock = threading.Lock()
        """Whose holder has the turn."""
        self.queue: threading.Lock = threading.Lock()
        """Where those wait who want it: the first holds this until its turn is over."""
        self.wanted: bool = False
        """Whether somebody waits for it, or did."""

    def next(self) -> threading.Lock:
        """Ask for the next turn, being first in the queue; the lock is what to wait for."""
        self.wanted = True
        return self.lock

    def give_way(self) -> None:
        """Let the one that waits have it, and take it again afterwards."""
        self.lock.release()
        with self.queue:  # there is nobody who could have asked meanwhile
            self.wanted = False
            self.lock.acquire()
