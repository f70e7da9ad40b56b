"""The ends that are joined in pairs: how each is named by URL, and how a test gets behind it."""

from __future__ import annotations

import os
import shlex
import sys
import tty
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

import anyio
import pytest
from typing_extensions import override

import serialnet
from serialnet import (
    Endpoint,
    EndpointError,
    FlowControl,
    LineSettings,
    Listener,
    Parity,
    PortInfo,
    StopBits,
    Transport,
)
from serialnet.core.options import NoOptions
from serialnet.port_list import use_source
from serialnet.transports import serial, stdio
from serialnet.transports._descriptor import DescriptorTransport
from serialnet.transports.stdio import StdioTransport

from ..board_system import UsbSystem
from ..fake_ends import Entry, FakePort
from ..interop.tools import until
from .test_serial_board import RecordingBoard

BY_SOCKET = [sys.executable, "-ES", str(Path(__file__).with_name("by_socket.py"))]


class End(ABC):
    """One end of a pair.

    :param asker: it asks for line changes
    :param offers: it offers a line
    """

    listens = False
    echoes = False
    #: what is behind it can say that it is done, and still receive
    half_closes = True
    #: it goes on when what is behind it has gone
    stays = False
    #: the line settings that it carries
    settings = LineSettings(57600, 7, Parity.EVEN, StopBits.TWO, FlowControl.RTSCTS)

    def __init__(self, url: str, *, asker: bool = False, offers: bool = False) -> None:
        self.url = url
        self.asker = asker
        self.offers = offers

    def __str__(self) -> str:
        return f"{type(self).__name__.lower()} {self.url.partition(':')[0]}"

    @asynccontextmanager
    async def ready(self, directory: Path, joint: str) -> AsyncIterator[None]:
        """Prepare what must be there before anything can be joined."""
        own = directory / str(id(self))  # both ends may have files of the same name
        own.mkdir()
        self.url = self.url.format(directory=own)
        yield

    def is_left_alone(self, joint: str) -> bool:
        """Whether what is behind it hears nothing of a session's end."""
        return False

    def is_joined(self) -> None:  # noqa: B027  # most need not know
        """Take note that the joint has it open."""

    @abstractmethod
    async def near(self) -> Transport:
        """The side that a bridge joins."""

    @abstractmethod
    async def far(self) -> Transport:
        """The side where we are."""


class Listening(End):
    """The joint listens, and we connect."""

    listens = True

    @override
    @asynccontextmanager
    async def ready(self, directory: Path, joint: str) -> AsyncIterator[None]:
        async with super().ready(directory, joint):
            if joint == "link":  # it listens itself, and says where
                yield
                return
            async with serialnet.listen(self.url) as self._listener:
                self.url = self._listener.urls[0]
                yield

    @override
    async def near(self) -> Transport:
        return await self._listener.accept()

    @override
    async def far(self) -> Transport:
        return await serialnet.connect(self.url)


class Dialled(End):
    """We listen, and the joint connects."""

    @override
    @asynccontextmanager
    async def ready(self, directory: Path, joint: str) -> AsyncIterator[None]:
        async with super().ready(directory, joint), serialnet.listen(self.url) as self._listener:
            self.url = self._near_url(self._listener.urls[0])
            yield

    def _near_url(self, url: str) -> str:
        return url

    @override
    async def near(self) -> Transport:
        return await serialnet.connect(self.url)

    @override
    async def far(self) -> Transport:
        return await self._listener.accept()


class Command(Dialled):
    """The joint runs a command, whose standard streams lead to where we listen.

    :param pattern: the URL of the command, which has the place ``{command}``
    """

    def __init__(self, pattern: str, url: str, *, offers: bool = False) -> None:
        super().__init__(url, offers=offers)
        self._pattern = pattern

    @override
    def __str__(self) -> str:
        return f"command {self._pattern.partition(':')[0]}"

    @override
    def _near_url(self, url: str) -> str:
        command = shlex.join([*BY_SOCKET, Endpoint.parse(url).path])
        return self._pattern.format(command=quote(command) if "ssh=" in self._pattern else command)


class Streams(End):
    """The standard streams of the joint's program: two pipes here, whose far ends we have."""

    options = NoOptions
    layer = False

    @override
    @asynccontextmanager
    async def ready(self, directory: Path, joint: str) -> AsyncIterator[None]:
        stdin, far_out = os.pipe()
        far_in, stdout = os.pipe()
        near, self._behind = StdioTransport(stdin, stdout), StdioTransport(far_in, far_out)
        for descriptor in (stdin, stdout, far_in, far_out):
            os.close(descriptor)
        forget = serialnet.register_transport("behind", self)
        try:
            async with super().ready(directory, joint):
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(stdio, "_take", lambda endpoint: near)
                    yield
        finally:
            forget()
            for transport in (near, self._behind):
                await anyio.aclose_forcefully(transport)

    async def connect(self, endpoint: Endpoint, options: NoOptions, over: Transport | None) -> Transport:
        return self._behind

    async def listen(self, endpoint: Endpoint, options: NoOptions, over: Listener | None) -> Listener:
        return stdio.StdioListener(self._behind)

    @property
    def _far_url(self) -> str:
        return self.url.replace("stdio", "behind")

    @override
    async def near(self) -> Transport:
        return await serialnet.connect(self.url)

    @override
    async def far(self) -> Transport:
        return await (await serialnet.listen(self._far_url)).accept()


class ListeningStreams(Streams):
    """The joint serves its standard streams."""

    listens = True

    @override
    async def near(self) -> Transport:
        return await (await serialnet.listen(self.url)).accept()

    @override
    async def far(self) -> Transport:
        return await serialnet.connect(self._far_url)


class Terminal(End):
    """A PTY of the joint's, which stays, and a program that has it open."""

    half_closes = False
    stays = True
    settings = LineSettings(57600, stopbits=StopBits.TWO, flow=FlowControl.RTSCTS)

    def __init__(self) -> None:
        super().__init__("pty://{directory}/tty", asker=True)

    @override
    async def near(self) -> Transport:
        return await serialnet.connect(self.url)

    @override
    async def far(self) -> Transport:
        path = Endpoint.parse(self.url).path
        await until(lambda: os.path.exists(path))
        return await serialnet.connect(path)


class ListeningTerminal(Terminal):
    """A PTY of the joint's, where each program has a session of its own."""

    listens = True
    stays = False

    @override
    def is_left_alone(self, joint: str) -> bool:
        return joint == "bridge"  # the device goes with the listener only

    @override
    @asynccontextmanager
    async def ready(self, directory: Path, joint: str) -> AsyncIterator[None]:
        async with super().ready(directory, joint):
            if joint == "link":
                yield
                return
            async with serialnet.listen(self.url) as self._listener:
                yield

    @override
    async def near(self) -> Transport:
        return await self._listener.accept()


class Port(End):
    """A port that the joint opens, with nobody behind it that is ours."""

    @override
    async def near(self) -> Transport:
        return await serialnet.connect(self.url)

    @override
    async def far(self) -> Transport:
        raise AssertionError("there is nobody")


class Echo(Port):
    """A port that sends back what it gets."""

    echoes = True


class Master(DescriptorTransport):
    """The other end of a device that is a bare PTY; closing it unplugs the device."""

    can_send_eof = False

    @override
    def _read_into(self, view: memoryview) -> int:
        return os.readv(self._descriptor, [view])

    @override
    def _write(self, view: memoryview) -> int:
        return os.write(self._descriptor, view)

    @override
    async def aclose(self) -> None:
        if not self._closed:
            self._begin_closing()
            anyio.notify_closing(self._descriptor)
            os.close(self._descriptor)
        await anyio.lowlevel.checkpoint()


class Device(End):
    """A serial device, and what hangs on it."""

    half_closes = False
    plugged_in: ClassVar[list[PortInfo]] = []

    @override
    @asynccontextmanager
    async def ready(self, directory: Path, joint: str) -> AsyncIterator[None]:
        master, slave = os.openpty()
        tty.setraw(slave)
        os.set_blocking(master, False)
        device = os.ttyname(slave)
        self._slave = os.fdopen(slave, "rb")
        location = f"1-{os.path.basename(device)}"
        self._master = Master(master)
        self.url = self.url.format(device=device, location=location)
        port = PortInfo(device, vid=0x303A, pid=0x0002, location=location)
        self.plugged_in.append(port)
        try:
            with use_source(lambda: self.plugged_in):
                yield
        finally:
            self.plugged_in.remove(port)
            self._slave.close()
            await self._master.aclose()

    @override
    def is_joined(self) -> None:
        self._slave.close()  # until now it kept the master from hanging up

    @override
    async def near(self) -> Transport:
        return await serialnet.connect(self.url)

    @override
    async def far(self) -> Transport:
        return self._master


class Fake(Port):
    """A stranger's transport: a port that writes down what is done to it."""

    options = NoOptions
    layer = False

    @override
    @asynccontextmanager
    async def ready(self, directory: Path, joint: str) -> AsyncIterator[None]:
        self.port = FakePort()
        forget = serialnet.register_transport("fake", self)
        try:
            async with super().ready(directory, joint):
                yield
        finally:
            forget()

    async def connect(self, endpoint: Endpoint, options: NoOptions, over: Transport | None) -> Transport:
        return self.port

    async def listen(self, endpoint: Endpoint, options: NoOptions, over: Listener | None) -> Listener:
        raise EndpointError("expected a port")


class BoardPort:
    """What a simulated board writes down, told as :class:`FakePort` tells it."""

    def __init__(self, board: RecordingBoard) -> None:
        self.log = board.record

    @property
    def story(self) -> list[Entry]:
        return list(self.log)

    @property
    def written(self) -> bytes:
        return b"".join(entry for entry in self.log if isinstance(entry, bytes))

    async def until(self, done: Callable[[], bool]) -> None:
        await until(done)


class Wired(Port):
    """A serial port with modem lines, and a board behind it."""

    settings = Terminal.settings

    @override
    @asynccontextmanager
    async def ready(self, directory: Path, joint: str) -> AsyncIterator[None]:
        board = RecordingBoard()
        self.port = BoardPort(board)
        system = UsbSystem()
        async with system.plugged_in(board) as socket:
            self.url = self.url.format(device=socket.ports[0].url)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(serial.factory, "_system", system)
                yield


ENDS: list[End] = [
    Listening("tcp://127.0.0.1:0"),
    Dialled("tcp://127.0.0.1:0"),
    Listening("rfc2217://127.0.0.1:0", asker=True),
    Dialled("rfc2217://127.0.0.1:0", offers=True),
    Listening("unix://{directory}/a.sock"),
    Dialled("unix://{directory}/b.sock"),
    Listening("rfc2217+unix://{directory}/c.sock", asker=True),
    Dialled("rfc2217+unix://{directory}/d.sock", offers=True),
    Streams("stdio:"),
    Streams("rfc2217+stdio:", offers=True),
    ListeningStreams("rfc2217+stdio:", asker=True),
    Command("exec:{command}", "unix://{directory}/e.sock"),
    Command("rfc2217+exec:{command}", "rfc2217+unix://{directory}/f.sock", offers=True),
    Command("ssh://far/dev/ttyUSB0?ssh={command}", "rfc2217+unix://{directory}/g.sock", offers=True),
    Terminal(),
    ListeningTerminal(),
    Device("serial://{device}", offers=True),
    Device("usb://303a?location={location}", offers=True),
    Device("pyserial:{device}", offers=True),
    Echo("exec:cat"),
    Echo("loop:", offers=True),
    Echo("pyserial:loop://", offers=True),
    Echo("sim://esp32", offers=True),
]
#: ports that tell what is done to them
PORTS = [
    *(end for end in ENDS if end.offers and isinstance(end, Dialled | Streams)),
    Fake("fake:", offers=True),
]
WIRED = [Wired("serial://{device}", offers=True), Wired("usb://303a:4001", offers=True)]


def can_be_joined(a: End, b: End) -> bool:
    """Whether two ends make a pair."""
    both_ask = a.asker and b.asker
    nobody_is_there = a.echoes and b.echoes
    same_streams = isinstance(a, Streams) and isinstance(b, Streams)  # a program has them once
    return not (both_ask or nobody_is_there or same_streams)
