"""Halves of a transport, lent to whoever copies bytes without the event loop. Private to the library.

While its receiving half is lent nobody else receives from a transport, while its sending half is, nobody
else sends. A borrower that meets anything but bytes (the end of file, an error, a request) just gives the
half back: whoever receives or sends next, in the usual way, meets the same again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

__all__ = ["Sink", "Source"]


class _Half:
    __slots__ = ("descriptor", "revoke", "splices")

    def __init__(self, descriptor: int, *, splices: bool = False) -> None:
        self.descriptor: int = descriptor
        #: whether it is a socket with nothing between it and the bytes
        self.splices: bool = splices
        #: gives the half back at once; set by the borrower, called by the owner, in the loop's thread
        self.revoke: Callable[[], object] = _not_borrowed


class Source(_Half, ABC):
    """The receiving half of a transport. What is read may be read in another thread."""

    __slots__ = ("pauses",)

    def __init__(self, descriptor: int, *, splices: bool = False) -> None:
        super().__init__(descriptor, splices=splices)
        #: whether what comes next is not for the borrower: it gives the half back when the bytes that it
        #: has are delivered
        self.pauses: bool = False

    @abstractmethod
    def read(self, buffer: memoryview) -> memoryview:
        """Read without blocking.

        :param buffer: the whole of an object that has ``find``, or the first part of it
        :return: the bytes, at the start of ``buffer`` or elsewhere; none, if what comes is not for the
            borrower
        :raises BlockingIOError: if there is nothing now
        """

    @abstractmethod
    def give_back(self, error: Exception | None) -> None:
        """Give it back, in the loop's thread.

        :param error: what :meth:`read` raised, to be met by whoever receives next
        """


class Sink(_Half, ABC):
    """The sending half of a transport. What is written may be written in another thread."""

    __slots__ = ("interject", "send_eof", "write")

    def __init__(self, descriptor: int, write: Callable[[memoryview], int], *, splices: bool = False) -> None:
        super().__init__(descriptor, splices=splices)
        #: writes without blocking (it raises ``BlockingIOError``) some of what :meth:`encode` returned
        self.write: Callable[[memoryview], int] = write
        #: says, at once, that nothing will follow, where that can be said; raises ``OSError``
        self.send_eof: Callable[[], None] | None = None
        #: writes some bytes of the owner's between two encoded pieces, in the loop's thread; returns how many
        #: were written, perhaps none; set by the borrower
        self.interject: Callable[[bytes], int] = _nothing_written

    def encode(self, data: memoryview) -> memoryview:
        """Turn data into what is to be written whole."""
        return data

    def remainder(self, wire: memoryview, sent: int) -> int:
        """How many bytes must still follow the first ``sent`` ones, if the rest of the data is dropped."""
        return 0

    @abstractmethod
    def give_back(self, unsent: bytes) -> bytes:
        """Give it back, in the loop's thread.

        :param unsent: the rest of what :meth:`encode` returned
        :return: the part of it which the borrower still has to send, in the usual way
        """


def _not_borrowed() -> None:
    pass


def _nothing_written(wire: bytes) -> int:
    return 0
