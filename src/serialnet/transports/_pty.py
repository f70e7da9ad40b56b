"""A pseudo-terminal from its master's side: who has it open, and what its programs ask of the line."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import select
import sys
import termios
from contextlib import suppress
from dataclasses import replace

from typing_extensions import override

from .._inotify import Inotify
from ..values.settings import LineSettings, Parity, Purge
from ._termios import INT, Attributes, System, get_attributes, set_attributes

__all__ = ["AskingPty", "Pty"]

logger: logging.Logger = logging.getLogger("serialnet.pty")

IN_CLOSE, IN_OPEN = 0x18, 0x20
# <asm-generic/ioctls.h> and <asm-generic/termbits.h>, where Python's termios has no name for them
TIOCSPTLCK, TIOCGPTN = 0x40045431, 0x80045430
TIOCPKT_IOCTL = 0x40
EXTPROC = 0o200000 if sys.platform == "linux" else 0x800


class Pty:
    """A new PTY, raw before anybody can open it.

    It tells who is there (somebody has it open, or nobody), but not how many: a client stands for all
    programs from a first open to the last close.

    :param settings: what the first program finds in force; of its kind of device, data bits and parity are
        none
    :param mode: the permissions of the device, if not the system's
    :param group: the number of the group that it is to belong to, if not the system's
    :raises OSError: if there is no PTY to be had
    """

    #: readable when a program has written; for ever so while nobody is there
    master: int
    #: the device: ``/dev/pts/4``
    path: str
    #: readable when the device was opened or closed; ``None`` where the system does not tell
    opens: int | None = None
    _inotify: Inotify | None = None

    def __init__(self, settings: LineSettings, *, mode: int | None = None, group: int | None = None) -> None:
        self._system = System()
        self.present: bool = False
        """Whether somebody has it open."""
        self.client: int = 0
        """How many clients have come so far."""
        self.closed: bool = False
        # How many have it open, and whether the master has told of one before its event came.
        self._holders = 0
        self._unannounced = False
        self.master, self.path = _open_master()
        try:
            attributes = get_attributes(self._system, self.master)
            attributes.make_raw(hangup=True)
            attributes.settings = settings
            self._prepare(attributes)
            if mode is not None:
                os.chmod(self.path, mode)
            if group is not None:
                os.chown(self.path, -1, group)
            _unlock(self.master)
            # Only after a first close does the master tell that nobody is there.
            self._system.close(self._system.open(self.path))
            self._poll = select.poll()
            self._poll.register(self.master, 0)
            if sys.platform == "linux":
                self._inotify = Inotify()  # a master sees only the last close
                self._inotify.add(self.path, IN_OPEN | IN_CLOSE)
                self.opens = self._inotify.descriptor
                self._poll.register(self.opens, select.POLLIN)
        except BaseException:
            os.close(self.master)
            if self._inotify is not None:
                self._inotify.close()
            raise

    def _prepare(self, attributes: Attributes) -> None:
        set_attributes(self._system, self.master, attributes)

    def close(self) -> None:
        """Take the device away."""
        self.closed = True
        self.present = False
        os.close(self.master)
        if self._inotify is not None:
            self._inotify.close()

    def look(self) -> bool:
        """Take note of who came and left since the last look.

        What one that has left has not read is discarded. A client that comes at once after another is told
        from it by the order of opens and closes. inotify merges events of the same kind that nobody has
        looked at yet, so of several programs at once fewer may be counted than there are. Whether the last
        one has left, the master tells, a moment after the event.

        :return: whether somebody has opened the device since
        """
        if not self._poll.poll(0):
            return False
        opened = False
        client, was_present = self.client, self.present
        for seen in self._inotify.read() if self._inotify else ():
            if seen.mask & IN_OPEN:
                opened = True
                if self._unannounced:
                    self._unannounced = False
                    continue
                if not self._holders:
                    self._comes()
                self._holders += 1
            elif seen.mask & IN_CLOSE and self._holders:
                self._holders -= 1
        self._check_hang_up()
        if was_present and (self.client != client or not self.present):
            self._discard_unread()
            if self._inotify is not None:
                self._inotify.read()  # our own, and perhaps those of a next client, which the master tells of
            self._check_hang_up()
        return opened or self.client != client

    def write(self, view: memoryview) -> int:
        """Write to the client, as much as it has room for."""
        return os.write(self.master, view)

    def is_readable(self) -> bool:
        """Whether there is something to read, also from a client that has left."""
        poll = select.poll()
        poll.register(self.master, select.POLLIN | select.POLLPRI)
        return any(events & (select.POLLIN | select.POLLPRI) for _, events in poll.poll(0))

    def _check_hang_up(self) -> None:
        """The master knows for certain."""
        if any(descriptor == self.master for descriptor, _ in self._poll.poll(0)):
            self.present = self._unannounced = False
            self._holders = 0
        elif not self.present:
            self._comes()
            self._holders, self._unannounced = 1, True

    def _comes(self) -> None:
        self.client += 1
        self.present = True

    def _discard_unread(self) -> None:
        """What a client has not read waits on its own side of the PTY, for the next one."""
        termios.tcflush(self.master, termios.TCOFLUSH)
        try:
            device = self._system.open(self.path)
        except OSError as error:
            if error.errno == errno.EBUSY:
                logger.warning(
                    "a program has left %s in exclusive mode (TIOCEXCL): only root can open it", self.path
                )
            return
        try:
            # The mark outlives its program, for our master keeps the device alive.
            self._system.ioctl(device, termios.TIOCNXCL)
            termios.tcflush(device, termios.TCIFLUSH)
        finally:
            self._system.close(device)


class AskingPty(Pty):
    """A PTY in packet mode: it tells what its programs set (pty(7), TIOCPKT in tty_ioctl(4)).

    Data bits and parity do not exist on a PTY: they stay what is in force.
    """

    def __init__(self, *, mode: int | None = None, group: int | None = None) -> None:
        self._in_force = LineSettings()
        self._told = False
        self._header = bytearray(1)
        self.purge: Purge = Purge(0)
        """What was asked to be purged since this was last set to nothing."""
        self._touched = False
        self._armed = True
        super().__init__(self._in_force, mode=mode, group=group)
        fcntl.ioctl(self.master, termios.TIOCPKT, INT.pack(1))

    @override
    def _prepare(self, attributes: Attributes) -> None:
        attributes.lflag |= EXTPROC
        self._shown = attributes.settings
        super()._prepare(attributes)

    @property
    def in_force(self) -> LineSettings:
        """The settings in force, as far as anybody told."""
        return self._in_force

    @property
    def armed(self) -> bool:
        """Whether a change of the settings is told; else it has to be looked for."""
        return self._armed

    @property
    def changed(self) -> bool:
        """Whether the settings may have changed; :meth:`wanted` tells."""
        return self._touched or not self._armed

    @property
    def unread(self) -> int:
        """How many bytes programs have written that can be read."""
        count: int = INT.unpack(fcntl.ioctl(self.master, termios.FIONREAD, bytes(INT.size)))[0]
        return count

    def look_again(self) -> None:
        """Forget that :meth:`wanted` was called."""
        self._touched = True

    def read_into(self, view: memoryview) -> int:
        """Read what programs have written: without blocking; 0 if instead they asked for something.

        :raises OSError: EIO, if nobody is there and nothing is left
        """
        n = os.readv(self.master, [self._header, view]) - 1
        self._note(self._header[0])
        return n

    def discard_sent(self) -> None:
        """Throw away what programs have written and set until now."""
        termios.tcflush(self.master, termios.TCIFLUSH)
        self._take_status()
        self.purge = Purge(0)

    def wanted(self) -> LineSettings | None:
        """Settings that programs want in place of those in force, if they do."""
        attributes = get_attributes(self._system, self.master)
        self._shown = attributes.settings
        self._touched = False
        self._armed = bool(attributes.lflag & EXTPROC)
        seen = attributes.settings
        # A baud rate of 0 means to hang up; it is none to work with.
        baudrate = seen.baudrate if attributes.speed else self._in_force.baudrate
        wanted = replace(self._in_force, baudrate=baudrate, stopbits=seen.stopbits, flow=seen.flow)
        return wanted if wanted != self._in_force else None

    def tell(self, settings: LineSettings) -> None:
        """Show programs what is in force, unless they have set something else by now."""
        self._in_force, self._told = settings, True
        self._take_status()
        if not self._touched:
            self._show(settings)

    def answer(self, wanted: LineSettings, in_force: LineSettings) -> None:
        """Show programs what is in force after they wanted something.

        Where nobody has ever told what is in force (there is no line), a refusal says nothing of it.
        """
        if not self._told and in_force == self._in_force:
            return
        self._in_force = in_force
        if in_force != wanted:
            self._take_status()
            if not self._touched:
                self._show(in_force)

    def arm(self) -> None:
        """Be told again of changes, after a program has switched that off with ``c_lflag = 0``.

        It had better be done when the program is through with its settings: what it sets between our look at
        them and our own change is lost. It is not done in canonical mode: there would be no lines any more.
        """
        attributes = get_attributes(self._system, self.master)
        if not attributes.lflag & termios.ICANON:
            self._touched |= attributes.settings != self._shown
            self._set(attributes)

    def _show(self, settings: LineSettings) -> None:
        attributes = get_attributes(self._system, self.master)
        visible = replace(settings, bytesize=8, parity=Parity.NONE)
        if attributes.settings == self._shown != visible:
            attributes.settings = self._shown = visible
            self._set(attributes)
        else:
            self._touched |= attributes.settings != self._shown

    def _set(self, attributes: Attributes) -> None:
        if not attributes.lflag & termios.ICANON:
            attributes.lflag |= EXTPROC
            self._armed = True
        set_attributes(self._system, self.master, attributes)
        self._take_status(own=True)
        self._touched |= get_attributes(self._system, self.master).settings != self._shown

    @override
    def _discard_unread(self) -> None:
        super()._discard_unread()
        self._take_status()  # our own purge

    def _take_status(self, *, own: bool = False) -> None:
        """Take note of what programs did, without reading any data.

        :param own: settings have changed, but it was us
        """
        with suppress(OSError):  # nothing there, or nobody
            (status,) = os.read(self.master, 1)
            self._note(status & ~TIOCPKT_IOCTL if own else status)

    def _note(self, status: int) -> None:
        if status & TIOCPKT_IOCTL:
            self._touched = True
        # A purge of what was received is not passed on. When it gets there, bytes may have come that the
        # program does not mean, for it went on at once; its own side of the PTY is empty already.
        if status & termios.TIOCPKT_FLUSHWRITE:
            self.purge |= Purge.UNSENT


if sys.platform == "linux":

    def _open_master() -> tuple[int, str]:
        master = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        (number,) = INT.unpack(fcntl.ioctl(master, TIOCGPTN, bytes(INT.size)))
        return master, f"/dev/pts/{number}"

    def _unlock(master: int) -> None:
        fcntl.ioctl(master, TIOCSPTLCK, INT.pack(0))

else:

    def _open_master() -> tuple[int, str]:
        master, slave = os.openpty()
        path = os.ttyname(slave)
        os.close(slave)
        os.set_blocking(master, False)
        return master, path

    def _unlock(master: int) -> None:
        """The system has done it."""
