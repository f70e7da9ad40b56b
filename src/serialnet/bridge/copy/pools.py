"""What lanes need for a moment, and share: buffers and pipes. All of it may be called in any thread."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

__all__ = [
    "PIPE_SIZE",
    "Pipe",
    "forget_pipes",
    "give_pipe",
    "give_scratch",
    "pop_scratch",
    "push_scratch",
    "take_pipe",
    "take_scratch",
]

SCRATCH_SIZE = 256 * 1024
PIPE_SIZE = 512 * 1024
# The kernel grants each user 64 MiB of pipes; beyond that it makes small ones.
MOST_PIPES = 64
# How many of each are kept when nobody needs them.
MOST_IDLE = 4

# Lists and their pop() and append() need no lock.
_scratches: list[memoryview] = []
_pipes: list[Pipe] = []
_pipes_made: list[None] = []


def take_scratch() -> memoryview:
    """Take a buffer, of which the taker is the only user."""
    try:
        return _scratches.pop()
    except IndexError:
        return memoryview(bytearray(SCRATCH_SIZE))


def give_scratch(scratch: memoryview) -> None:
    """Give a buffer back."""
    if len(_scratches) < MOST_IDLE:
        _scratches.append(scratch)


# The same for whoever takes and gives back in one go, without a call of Python.
pop_scratch: Callable[[], memoryview] = _scratches.pop
push_scratch: Callable[[memoryview], None] = _scratches.append


class Pipe:
    """A pipe through which bytes go from one socket to another without being copied."""

    __slots__ = ("reading", "writing")

    reading: int
    writing: int

    def __init__(self) -> None:
        import fcntl  # not everywhere, nor is splice

        self.reading, self.writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        with contextlib.suppress(OSError):  # it has 64 KiB, or 4: that works, too
            fcntl.fcntl(self.writing, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        _pipes_made.append(None)

    def close(self) -> None:
        """Close both ends."""
        os.close(self.reading)
        os.close(self.writing)


def take_pipe() -> Pipe | None:
    """Take an empty pipe, if there are not too many."""
    try:
        return _pipes.pop()
    except IndexError:
        pass
    if len(_pipes_made) >= MOST_PIPES:
        return None
    try:
        return Pipe()
    except OSError:  # no more descriptors
        return None


def give_pipe(pipe: Pipe) -> None:
    """Give an empty pipe back."""
    if len(_pipes) < MOST_IDLE:
        _pipes.append(pipe)
    else:
        pipe.close()
        _pipes_made.pop()


def forget_pipes() -> None:
    """In the child of a fork: leave the parent's pipes alone."""
    while _pipes:
        _pipes.pop().close()
    _pipes_made.clear()
