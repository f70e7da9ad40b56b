"""``pty:///tmp/ttyV0``: a pseudo-terminal, for programs that want a device."""

from __future__ import annotations

import errno
import grp
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio
from anyio.lowlevel import cancel_shielded_checkpoint, checkpoint, checkpoint_if_cancelled
from typing_extensions import Buffer, override

from ..core.endpoint import Endpoint
from ..core.errors import EndpointError, OpenError
from ..core.options import option
from ..core.registry import TransportFactory
from ..core.transport import AskingTransport, Listener, Transport, TransportAttribute
from ..values.events import LineEvent, SettingsChanged
from ..values.requests import Configure, InForce, LineRequest, PurgeRequest
from ..values.settings import LineSettings, Purge
from ._descriptor import DescriptorTransport, part_from
from ._news import News
from ._pty import AskingPty

__all__ = ["PtyListener", "PtyOptions", "PtyTransport", "factory"]

# More than the system holds of what a program has written: what is read after that was written later.
CAPACITY = 1 << 17
# How long a program may be at its settings when it has just opened the device, or switched off the telling.
SETTLING = 0.05
# Where the system does not tell that a device was opened, it is looked at in this interval.
LOOK_AGAIN = 0.1


@dataclass(frozen=True, slots=True)
class PtyOptions:
    """The options of ``pty:``."""

    mode: str | None = option(None, "permissions of the device, as 660; default: the system's")
    group: str | None = option(None, "the group that the device belongs to; default: the system's")

    def __post_init__(self) -> None:
        if self.mode is not None and not (self.mode.isdecimal() and set(self.mode) <= set("01234567")):
            raise ValueError(f"mode is an octal number, as 660, not {self.mode!r}")
        if self.mode is not None and int(self.mode, 8) > 0o777:
            raise ValueError(f"mode is at most 777, not {self.mode}")

    def open(self) -> AskingPty:
        """Make a PTY."""
        return AskingPty(
            mode=None if self.mode is None else int(self.mode, 8),
            group=None if self.group is None else grp.getgrnam(self.group).gr_gid,
        )


class _Device:
    """A PTY and the symbolic link that leads to it."""

    def __init__(self, pty: AskingPty, link: str) -> None:
        self.pty = pty
        self._link = link
        if link:
            _make_link(pty.path, link)

    @property
    def url(self) -> str:
        return str(Endpoint(("pty",), path=self._link or self.pty.path))

    def close(self) -> None:
        if self._link:
            with suppress(OSError):
                if os.readlink(self._link) == self.pty.path:
                    os.unlink(self._link)
        for descriptor in (self.pty.master, self.pty.opens):
            if descriptor is not None:
                anyio.notify_closing(descriptor)
        self.pty.close()


class PtyTransport(AskingTransport, DescriptorTransport):
    """The master of a PTY: the program that has it open asks for baud rates, stop bits and flow control.

    It stays when the program closes the device, and goes on when that or another one opens it. What is sent
    while nobody has it open is lost, as a serial driver loses it, and so is what a program has not read when
    it closes. A program that has the device open but does not read stops the sender.

    Changes of the settings arrive beside the bytes, and merge: before a program's first byte they come
    first; later, all that could be read comes before them. Data bits and parity cannot be seen.

    :param session: of a listener: it ends at the last close, and what is sent after that is lost, too
    """

    can_send_eof = False
    _lends = False  # what it asks for comes beside the bytes

    def __init__(self, device: _Device, session: _Session | None = None) -> None:
        super().__init__(device.pty.master)
        self._device = device
        self._pty = device.pty
        self._session = session
        self._client = 0 if session is None else session.client
        self._request: LineRequest | None = None
        self._answered = News()
        self._spoke = False  # the client has written something
        self._settled = 0  # the last client that was given time
        self._passed = 0  # bytes since the settings were looked at

    # Receiving

    @override
    async def receive_event(self, buffer: Buffer) -> int | LineRequest:
        with self._receiving, memoryview(buffer).cast("B") as view:
            if not view:
                raise ValueError("the buffer must have room for one byte at least")
            await checkpoint_if_cancelled()
            waited = False
            while True:
                self._check_open()
                if self._request is not None:
                    await self._answered.wait()
                elif (event := self._next(view)) is not None:
                    if isinstance(event, Configure) and not self._spoke and self._settled != self._client:
                        await self._settle()
                        continue
                    if not waited:
                        await cancel_shielded_checkpoint()
                    return event
                else:
                    await self._wait()
                waited = True

    async def _settle(self) -> None:
        """Let a client that has just come make all its settings, which ends when it writes.

        pyserial, for one, opens at 9600 baud what shall have another rate. To put that in force somewhere far
        away, and then the other, takes longer than some programs wait for their first answer.
        """
        self._request = None
        self._pty.look_again()
        with anyio.move_on_after(SETTLING):
            while not (self._pty.closed or self._pty.unread):  # noqa: ASYNC110  # readable are settings, too
                await anyio.sleep(SETTLING / 10)
        self._settled = self._client

    def _next(self, view: memoryview) -> int | LineRequest | None:
        """What comes next, if it has come."""
        self._pty.look()
        if self._session is not None:
            if self._session.over or self._pty.client != self._client:
                raise self._end()
        elif self._pty.client != self._client:
            self._client, self._spoke = self._pty.client, False
        if self._pty.changed and (not self._spoke or self._passed >= CAPACITY) and (asked := self._asked()):
            return asked
        try:
            while not (n := self._pty.read_into(view)):  # 0: it asked for something
                if (not self._spoke or self._pty.purge) and (asked := self._asked()):
                    return asked
        except BlockingIOError:
            return self._asked()
        except OSError as error:
            if error.errno != errno.EIO:
                raise anyio.BrokenResourceError(f"receiving failed: {error}") from error
            if asked := self._asked():
                return asked
            if self._session is not None and not self._pty.present:
                raise self._end() from None
            return None
        self._spoke = True
        self._passed += n
        return n

    def _asked(self) -> LineRequest | None:
        """What the program has asked for, if it has."""
        if self._pty.purge:
            what, self._pty.purge = self._pty.purge, Purge(0)
            self._request = PurgeRequest(what, answerer=self._answer)
        elif self._pty.changed:
            self._passed = 0
            if (wanted := self._pty.wanted()) is not None:
                unchanged, answerer = self._pty.in_force, partial(self._answer_settings, wanted)
                self._request = Configure(wanted, unchanged=unchanged, answerer=answerer)
        return self._request

    async def _wait(self) -> None:
        """Wait until there may be something."""
        with suppress(anyio.ClosedResourceError):  # then _check_open() says so
            if self._pty.present:
                deadline = None if self._pty.armed else SETTLING
                with anyio.move_on_after(deadline) as scope:
                    await anyio.wait_readable(self._descriptor)
                if scope.cancelled_caught and not self._pty.closed:
                    self._pty.arm()
            else:  # the master would be "readable" all the time
                await _wait_for_open(self._pty)

    async def _answer(self, in_force: InForce) -> None:
        self._check_open()
        if self._request is None:
            raise RuntimeError("this request was answered before")
        self._request = None
        self._answered.tell()
        await checkpoint()

    async def _answer_settings(self, wanted: LineSettings, in_force: LineSettings) -> None:
        await self._answer(in_force)
        if not self._pty.closed:
            self._pty.answer(wanted, in_force)

    @override
    def _read_into(self, view: memoryview) -> int:
        return self._pty.read_into(view)

    # Sending

    @override
    def _write(self, view: memoryview) -> int:
        self._pty.look()
        return len(view) if self._is_gone() else self._pty.write(view)

    @override
    async def notify(self, event: LineEvent) -> None:
        self._check_open()
        if isinstance(event, SettingsChanged):
            self._pty.tell(event.settings)
        await checkpoint()

    # The end

    def _is_gone(self) -> bool:
        """Whether nobody is there, or of a session, whether it is another one."""
        over = self._session is not None and (self._session.over or self._pty.client != self._client)
        return over or not self._pty.present

    def _end(self) -> anyio.EndOfStream:
        assert self._session is not None
        self._session.end()
        return anyio.EndOfStream()

    @override
    async def aclose(self) -> None:
        if not self._closed:
            self._begin_closing()
            self._answered.tell()
            await part_from(self._descriptor)
            if self._session is None:
                self._device.close()
            elif not self._session.over and not self._pty.closed:
                self._pty.look()
                if self._pty.client == self._client:
                    self._pty.discard_sent()
                self._session.end()
        await checkpoint()

    @override
    def _hung_up(self, *, half: bool = False) -> bool:
        if self._closed or self._pty.closed or self._session is None:
            return self._closed or self._pty.closed
        self._pty.look()
        # One that has left may have sent what still has to be passed on; when the next is there, it is over.
        return self._is_gone() and (half or self._pty.client != self._client)

    @override
    def _check_open(self) -> None:
        super()._check_open()
        if self._pty.closed:
            raise anyio.BrokenResourceError("the device has gone")

    @property
    @override
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return {TransportAttribute.url: lambda: self._device.url}


class _Session:
    """A client of a listener's PTY, from its first open to its last close."""

    def __init__(self, client: int, news: News) -> None:
        self.client = client
        self.over: bool = False
        self._news = news

    def end(self) -> None:
        """Make way for the next."""
        self.over = True
        self._news.tell()


class PtyListener(Listener):
    """A PTY that stays: each client, from a first open to the last close, is a transport of its own.

    What it writes before it is accepted waits. One that goes on when its transport was closed gets another
    when it writes again; what it wrote before that is lost.
    """

    def __init__(self, device: _Device) -> None:
        self._device = device
        self._pty = device.pty
        self._session: _Session | None = None
        self._last_client = 0
        self._news = News()
        self._accepting = anyio.ResourceGuard("accepting from")

    @property
    @override
    def urls(self) -> Sequence[str]:
        return [self._device.url]

    @override
    async def accept(self) -> Transport:
        with self._accepting:
            await checkpoint()
            while True:
                if self._pty.closed:
                    raise anyio.ClosedResourceError
                if self._session is not None and not self._session.over:
                    await self._news.wait()
                    continue
                readable = self._pty.is_readable()
                self._pty.look()  # after that, lest who comes in between be taken for one that was there
                if readable or self._pty.client != self._last_client:
                    self._last_client = self._pty.client
                    self._session = _Session(self._pty.client, self._news)
                    return PtyTransport(self._device, self._session)
                if self._pty.present:
                    await anyio.wait_readable(self._pty.master)
                else:
                    await _wait_for_open(self._pty)

    @override
    async def aclose(self) -> None:
        if not self._pty.closed:
            self._device.close()
            self._news.tell()
        await checkpoint()


async def _wait_for_open(pty: AskingPty) -> None:
    if pty.opens is None:
        await anyio.sleep(LOOK_AGAIN)
    else:
        await anyio.wait_readable(pty.opens)


class _Factory:
    options = PtyOptions
    layer = False
    asks = ("connect", "listen")

    async def connect(self, endpoint: Endpoint, options: PtyOptions, over: Transport | None) -> PtyTransport:
        await checkpoint()
        return PtyTransport(_open(endpoint, options))

    async def listen(self, endpoint: Endpoint, options: PtyOptions, over: Listener | None) -> PtyListener:
        await checkpoint()
        return PtyListener(_open(endpoint, options))


factory: TransportFactory = _Factory()


def _open(endpoint: Endpoint, options: PtyOptions) -> _Device:
    if endpoint.netloc or endpoint.path.endswith("/"):
        raise EndpointError(f"'{endpoint}': expected pty: or the path of a link, as pty:///tmp/ttyV0")
    try:
        pty = options.open()
    except KeyError:
        raise EndpointError(f"'{endpoint}': there is no group {options.group!r}") from None
    except OSError as error:
        raise OpenError(error.errno, f"cannot make a pseudo-terminal: {error.strerror}") from error
    try:
        return _Device(pty, endpoint.path)
    except OSError as error:
        pty.close()
        if error.errno == errno.EEXIST:
            reason = "there is something of that name; remove it, or choose another name"
        else:
            reason = error.strerror or str(error)
        raise OpenError(error.errno, f"cannot make the link {endpoint.path}: {reason}") from error


def _make_link(device: str, link: str) -> None:
    """Lead to a PTY; in the way may be a link to one that is no more, whose maker could not tidy up."""
    with suppress(OSError):
        target = os.readlink(link)
        if target.startswith("/dev/pts/") and (target == device or not os.path.exists(target)):
            os.unlink(link)
    os.symlink(device, link)
