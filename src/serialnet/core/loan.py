"""Halves of a transport, lent to whoever copies bytes without the event loop. Private to the library.

While its receiving half is lent nobody else receives from a transport, while its sending half is, nobody
else sends. A borrower that meets anything but bytes (the end of file, an error, a request) just gives the
half back: whoever receives or sends next, in the usual way, meets the same again.
"""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from collections.abc import Callable

__all__ = ["NO_SIGNAL", "Sink", "Source"]

# SIGPIPE would end a program that has not left it ignored, as Python does.
NO_SIGNAL: int = getattr(socket, "MSG_NOSIGNAL", 0)


class _Half:
    __slots__ = ("descriptor", "revoke", "socket")

    def __init__(self, descriptor: int, sock: socket.socket | None = None) -> None:
        self.descriptor: int = descriptor
        #: the stream socket that the descriptor is of, if nothing stands between it and the bytes
        self.socket: socket.socket | None = sock
        #: gives the half back at once; set by the borrower, called by the owner, in the loop's thread
        self.revoke: Callable[[], object] = _not_borrowed


class Source(_Half, ABC):
    """The receiving half of a transport. What is read may be read in another thread."""

    __slots__ = ("pauses",)

    def __init__(self, descriptor: int, sock: socket.socket | None = None) -> None:
        super().__init__(descriptor, sock)
        #: whether what comes next is not for the borrower: it gives the half back when the bytes that it
        #: has are delivered
        self.pauses: bool = False

    @abstractmethod
    def read(self, buffer: memoryview) -> memoryview:
        """Read without blocking; whoever has :attr:`socket` may do it there.

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
    """The sending half of a transport. What is written may be written in another thread.

    :param write: writes some bytes without blocking (it raises ``BlockingIOError``); whoever has
        :attr:`socket` may do it there
    :param encode: turns data into what is to be written whole
    """

    __slots__ = ("encode", "interject", "send_eof", "write")

    def __init__(
        self,
        descriptor: int,
        write: Callable[[memoryview], int],
        sock: socket.socket | None = None,
        encode: Callable[[memoryview], memoryview] | None = None,
    ) -> None:
        super().__init__(descriptor, sock)
        self.write: Callable[[memoryview], int] = write
        self.encode: Callable[[memoryview], memoryview] | None = encode
        #: says, at once, that nothing will follow, where that can be said; raises ``OSError``
        self.send_eof: Callable[[], None] | None = None
        #: writes some bytes of the owner's between two encoded pieces, in the loop's thread; returns how many
        #: were written, perhaps none; set by the borrower
        self.interject: Callable[[bytes], int] = _nothing_written

    def remainder(self, wire: memoryview, sent: int) -> int:
        """How many bytes must still follow the first ``sent`` ones, if the rest of the data is dropped."""
        return 0

    @abstractmethod
    def give_back(self, unsent: bytes) -> bytes:
        """Give it back, in the loop's thread.

        :param unsent: the rest of what ``encode`` returned
        :return: the part of it which the borrower still has to send, in the usual way
        """


def _not_borrowed() -> None:
    pass


def _nothing_written(wire: bytes) -> int:
    return 0
