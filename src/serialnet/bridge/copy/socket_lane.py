"""A lane between two sockets, whose bytes nobody looks at: large amounts do not even come into the process.

Among a thousand lanes hardly anything is in the processor's caches when one has its turn. Then every object
that a message touches, and every call of Python, costs a tenth of a microsecond; so
:meth:`SocketLane.readable` is written out, and needs no other method as long as nothing unusual happens.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from socket import AF_INET, AF_INET6, socket

from typing_extensions import override

from ...core.loan import NO_SIGNAL, Sink, Source
from .lane import OFF, READING, SENDING, Lane, State
from .pools import PIPE_SIZE, Pipe, give_pipe, pop_scratch, push_scratch, take_pipe, take_scratch

__all__ = ["SocketLane"]

# Splicing has a price for each call and none for each byte: it begins after a read of this size ...
SPLICE_FROM = 16384
# ... and ends with one that is smaller than this.
SPLICE_UNTIL = 4096


class SocketLane(Lane):
    """One direction.

    :param from_: the socket of ``source``
    :param to: the socket of ``sink``
    """

    __slots__ = ("_from", "_in_pipe", "_may_splice", "_pipe", "_splicing", "_to")

    received: int
    state: State
    taken: int

    def __init__(
        self,
        source: Source,
        sink: Sink,
        from_: socket,
        to: socket,
        wake: Callable[[], None],
        *,
        passes_end: bool = False,
    ) -> None:
        super().__init__(source, sink, wake, passes_end=passes_end)
        # A read that does not fill the buffer has taken all (epoll(7)); but one from a Unix socket stops
        # where a descriptor was passed.
        self.tells_rest: bool = from_.family in (AF_INET, AF_INET6)
        self._from = from_
        self._to = to
        self._may_splice = hasattr(os, "splice")
        self._splicing = False
        self._pipe: Pipe | None = None
        self._in_pipe = 0

    @override
    def readable(self) -> bool:
        if self._splicing:
            self._splice()
            return self.state is READING
        try:
            scratch = pop_scratch()
        except IndexError:
            scratch = take_scratch()
        try:
            n = self._from.recv_into(scratch)
        except OSError as error:
            push_scratch(scratch)
            if not isinstance(error, BlockingIOError):
                self._fail(error)
            return False
        if n == 0:
            push_scratch(scratch)
            self._end()
            return False
        self.received += n
        wire = scratch[:n]
        try:
            sent = self._to.send(wire, NO_SIGNAL)
        except OSError as error:
            sent = 0
            if not isinstance(error, BlockingIOError):
                self.state = OFF
        if n >= SPLICE_FROM:
            self._splicing = self._may_splice
        if sent < n:
            self._keep(wire, sent, scratch)
            return False
        push_scratch(scratch)
        return n == len(scratch)

    @override
    def writable(self) -> None:
        if self._pipe is not None:
            self._empty(self._pipe)
        else:
            super().writable()

    @override
    def stop(self) -> bytes:
        unsent = super().stop()
        if self._pipe is not None:
            while self._in_pipe:
                piece = os.read(self._pipe.reading, self._in_pipe)
                self._in_pipe -= len(piece)
                unsent += piece
            give_pipe(self._pipe)
            self._pipe = None
        return unsent

    @override
    def discard(self) -> None:
        if self._pipe is None:
            super().discard()

    def _splice(self) -> None:
        # It never gets past urgent data, whether nothing follows (EAGAIN), much, or the end (0): whenever it
        # gets nothing, the next read is one that does, and knows the end from what only looks like it.
        pipe = take_pipe()
        if pipe is None:
            self._splicing = False
            return
        try:
            n = os.splice(
                self.source.descriptor,
                pipe.writing,
                PIPE_SIZE,
                flags=os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE,
            )
        except OSError as error:
            give_pipe(pipe)
            self._splicing = False
            if error.errno == errno.EINVAL:
                self._may_splice = False
            elif error.errno != errno.EAGAIN:
                self._fail(error)
            return
        if n == 0:
            give_pipe(pipe)
            self._splicing = False
            return
        self.received += n
        self._splicing = n >= SPLICE_UNTIL
        self._pipe, self._in_pipe = pipe, n
        self._empty(pipe)

    def _empty(self, pipe: Pipe) -> None:
        while self._in_pipe:
            try:
                n = os.splice(
                    pipe.reading,
                    self.sink.descriptor,
                    self._in_pipe,
                    flags=os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE,
                )
            except BlockingIOError:
                self.state = SENDING
                return
            except OSError:
                self.state = OFF
                return
            self._in_pipe -= n
            self.taken += n
        give_pipe(pipe)
        self._pipe = None
        self.state = READING
