"""Ports as they are plugged in and unplugged."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeAlias

import anyio
import anyio.lowlevel
from anyio.to_thread import run_sync
from typing_extensions import override

from ._inotify import CREATED, DELETED, Inotify
from .port_list import PortInfo, PortSource, list_ports, source_in_use, system_ports

__all__ = ["PortAdded", "PortEvent", "PortRemoved", "watch_ports"]

DEVICES = Path("/dev")
#: Seconds without news after which udev has made its links, and the most to wait for that.
QUIET = 0.1
LONGEST = 1.0
#: Seconds between two looks where nobody tells: at a system without inotify, at another source.
SYSTEM_INTERVAL = 1.0
SOURCE_INTERVAL = 0.1


@dataclass(frozen=True, slots=True)
class PortAdded:
    """A port that was plugged in, or was there when the watch began."""

    port: PortInfo


@dataclass(frozen=True, slots=True)
class PortRemoved:
    """A port that was unplugged."""

    port: PortInfo


PortEvent: TypeAlias = PortAdded | PortRemoved


@asynccontextmanager
async def watch_ports(source: PortSource | None = None) -> AsyncIterator[AsyncIterator[PortEvent]]:
    """Watch ports come and go: ``async with watch_ports() as events: async for event in events: ...``.

    It begins with a :class:`PortAdded` for each port that is there. A device that comes back under its old
    name is removed and added, but one that does so between two looks of a polling watch. ``holders`` are
    left out. On Linux nothing runs while nothing happens; elsewhere it looks once a second.

    :param source: who lists the ports, in place of the system; it is asked ten times a second
    """
    news: _News
    if (source or source_in_use()) is not system_ports:
        news = _Polling(SOURCE_INTERVAL)
    else:
        try:
            news = _Notified(Inotify())
        except OSError:
            news = _Polling(SYSTEM_INTERVAL)
    try:
        yield _Watch(source, news)
    finally:
        news.close()


class _News(Protocol):
    replaced: set[str]
    """Devices that have gone since, though they may be back."""

    async def wait(self) -> None:
        """Wait until it is time to look again."""

    def close(self) -> None: ...


class _Polling(_News):
    def __init__(self, interval: float) -> None:
        self._interval = interval
        self.replaced = set()

    @override
    async def wait(self) -> None:
        await anyio.sleep(self._interval)

    @override
    def close(self) -> None:
        pass


class _Notified(_News):
    def __init__(self, inotify: Inotify) -> None:
        self._inotify = inotify
        self.replaced = set()
        try:
            self._inotify.add(str(DEVICES), CREATED | DELETED)
            self._follow_links()
        except BaseException:
            self._inotify.close()
            raise

    @override
    async def wait(self) -> None:
        await anyio.wait_readable(self._inotify.descriptor)
        self._read()
        with anyio.move_on_after(LONGEST):
            while True:
                with anyio.move_on_after(QUIET) as quiet:
                    await anyio.wait_readable(self._inotify.descriptor)
                if quiet.cancelled_caught:
                    return
                self._read()

    @override
    def close(self) -> None:
        anyio.notify_closing(self._inotify.descriptor)
        self._inotify.close()

    def _read(self) -> None:
        for seen in self._inotify.read():
            if seen.mask & DELETED:
                self.replaced.add(str(DEVICES / seen.name))
        self._follow_links()

    def _follow_links(self) -> None:
        # The directory comes with the first device and goes with the last.
        for directory in (DEVICES / "serial", DEVICES / "serial" / "by-id"):
            with suppress(OSError):
                self._inotify.add(str(directory), CREATED | DELETED)


class _Watch(AsyncIterator[PortEvent]):
    """Not a generator: a cancelled wait for the next event must not end the watch."""

    def __init__(self, source: PortSource | None, news: _News) -> None:
        self._source = source
        self._news = news
        self._known: dict[str, PortInfo] = {}
        self._events: deque[PortEvent] = deque()
        self._is_due = True

    @override
    async def __anext__(self) -> PortEvent:
        await anyio.lowlevel.checkpoint()
        while not self._events:
            if not self._is_due:
                await self._news.wait()
                self._is_due = True
            found = await run_sync(list_ports, self._source, abandon_on_cancel=True)
            self._is_due = False
            self._compare({port.url: port for port in found})
        return self._events.popleft()

    def _compare(self, found: dict[str, PortInfo]) -> None:
        replaced, self._news.replaced = self._news.replaced, set()
        for url, port in self._known.items():
            if url in replaced or url not in found or not _same(port, found[url]):
                self._events.append(PortRemoved(port))
        for url, port in found.items():
            if url in replaced or url not in self._known or not _same(port, self._known[url]):
                self._events.append(PortAdded(port))
        self._known = found


def _same(one: PortInfo, other: PortInfo) -> bool:
    """Whether two are the same but for what is found out later, or changes without a new device."""
    return _bare(one) == _bare(other)


def _bare(port: PortInfo) -> PortInfo:
    return replace(port, by_id=(), by_path=(), holders=())
