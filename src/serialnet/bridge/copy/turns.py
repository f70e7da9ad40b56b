"""A lock whose holder works through many small pieces, and lets others in between any two of them."""

from __future__ import annotations

import threading

__all__ = ["Turns"]


class Turns:
    """Taken with ``with``, by one thread at a time.

    Its busy holder looks at :attr:`wanted` after each piece of work, which costs less than to release and
    take a lock, and :meth:`give_way` if so: a lock that is merely released and taken again goes to the one
    that runs, not to those that wait.
    """

    __slots__ = ("_asking", "_lock", "wanted")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asking = threading.Lock()
        self.wanted: bool = False
        """Whether somebody waits for it."""

    def __enter__(self) -> None:
        with self._asking:
            self.wanted = True
            self._lock.acquire()
            self.wanted = False

    def __exit__(self, *exception: object) -> None:
        self._lock.release()

    def give_way(self) -> None:
        """Let the one that waits have it, and take it again afterwards."""
        self._lock.release()
        self.__enter__()
