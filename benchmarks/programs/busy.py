"""Work that keeps an event loop busy."""

from __future__ import annotations

import ctypes
import hashlib
import os
import time
from collections.abc import Callable

import anyio

__all__ = ["in_c", "in_python", "keep_busy", "work_now_and_then"]

SLICE = 0.001
SHARE = 0.9
GAP = SLICE * (1 - SHARE) / SHARE
LIBC = ctypes.CDLL(None)
CLOCK_MONOTONIC = 1
DATA = bytes(65536)


async def keep_busy(work: Callable[[], None]) -> None:
    """Work for a millisecond at a time, for nine tenths of the time.

    An event loop's own timers are too coarse for the gaps: epoll counts in milliseconds.
    """
    timer = LIBC.timerfd_create(CLOCK_MONOTONIC, os.O_NONBLOCK)
    once = (ctypes.c_long * 4)(0, 0, 0, round(GAP * 1e9))
    while True:
        work()
        LIBC.timerfd_settime(timer, 0, once, None)
        await anyio.wait_readable(timer)
        os.read(timer, 8)


async def work_now_and_then() -> None:
    """Do the same as an application would write it; the loop sleeps for a millisecond or more."""
    while True:
        in_python()
        await anyio.sleep(GAP)


def in_python() -> None:
    """Run Python, which keeps the interpreter's lock."""
    end = time.perf_counter() + SLICE
    while time.perf_counter() < end:
        pass


def in_c() -> None:
    """Run C that lets go of the lock, as hashing, compressing, numpy and system calls do."""
    end = time.perf_counter() + SLICE
    while time.perf_counter() < end:
        hashlib.sha256(DATA)
