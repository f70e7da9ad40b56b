"""Layers of strangers go over any byte stream, below RFC 2217 and above others, on both ends."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import anyio
import pytest
from typing_extensions import Buffer, override

import serialnet
from serialnet import Endpoint, EndpointError, Listener, Transport, TransportFactory, option
from serialnet.testing import check_transport


class Layer(Transport, abstract=True):
    """What is below carries what this makes of the bytes."""

    def __init__(self, over: Transport) -> None:
        self.over = over
        self.can_send_eof = over.can_send_eof

    @override
    async def send_eof(self) -> None:
        await self.over.send_eof()

    @override
    async def aclose(self) -> None:
        await self.over.aclose()

    @property
    @override
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return self.over.extra_attributes


class Rot13(Layer):
    TABLE = bytes.maketrans(
        bytes(range(256)), codecs.encode(bytes(range(256)).decode("latin-1"), "rot13").encode("latin-1")
    )

    @override
    async def receive(self, max_bytes: int = 65536) -> bytes:
        return (await self.over.receive(max_bytes)).translate(self.TABLE)

    @override
    async def send_some(self, data: Buffer) -> int:
        return await self.over.send_some(bytes(data).translate(self.TABLE))


class Framed(Layer):
    """A length before each piece: nothing can be sent in part, so send_some is derived."""

    def __init__(self, over: Transport, size: int) -> None:
        super().__init__(over)
        self.size = size
        self.buffer = bytearray()
        self.unread = bytearray()
        self.guard = anyio.ResourceGuard("receiving from")

    @override
    async def receive(self, max_bytes: int = 65536) -> bytes:
        if max_bytes < 1:
            raise ValueError("max_bytes must be 1 or more")
        with self.guard:
            await anyio.lowlevel.checkpoint()
            while not self.unread:
                if len(self.buffer) > 1 and len(self.buffer) >= (end := 2 + int.from_bytes(self.buffer[:2])):
                    self.unread += self.buffer[2:end]
                    del self.buffer[:end]
                else:
                    self.buffer += await self.over.receive()
            data = bytes(self.unread[:max_bytes])
            del self.unread[:max_bytes]
            if self.over_is_closed():
                raise anyio.ClosedResourceError
            return data

    def over_is_closed(self) -> bool:
        return getattr(self.over, "_closed", False)

    @override
    async def send(self, item: Buffer) -> None:
        view = memoryview(item).cast("B")
        for start in range(0, len(view), self.size) or [0]:
            piece = view[start : start + self.size]
            await self.over.send(len(piece).to_bytes(2) + bytes(piece))


class LayerListener(Listener):
    def __init__(self, name: str, over: Listener, wrap: Callable[[Transport], Transport]) -> None:
        self.name, self.over, self.wrap = name, over, wrap

    @property
    @override
    def urls(self) -> Sequence[str]:
        return [f"{self.name}+{url}" for url in self.over.urls]

    @override
    async def accept(self) -> Transport:
        return self.wrap(await self.over.accept())

    @override
    async def aclose(self) -> None:
        await self.over.aclose()


@dataclass(frozen=True)
class FramedOptions:
    frame_size: int = option(1000, "the most bytes of a frame")


@dataclass(frozen=True)
class NoOptions:
    pass


@dataclass(frozen=True)
class ClashingOptions:
    timeout: float = option(1.0, "RFC 2217 has an option of this name, too")


class Factory:
    layer = True

    def __init__(self, name: str, options: type[Any], wrap: Callable[[Transport, Any], Transport]) -> None:
        self.name, self.options, self.wrap = name, options, wrap

    async def connect(self, endpoint: Endpoint, options: Any, over: Transport | None) -> Transport:
        assert over is not None
        return self.wrap(over, options)

    async def listen(self, endpoint: Endpoint, options: Any, over: Listener | None) -> Listener:
        assert over is not None
        return LayerListener(self.name, over, lambda transport: self.wrap(transport, options))


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    factories: dict[str, TransportFactory] = {
        "rot13": Factory("rot13", NoOptions, lambda over, _: Rot13(over)),
        "framed": Factory("framed", FramedOptions, lambda over, options: Framed(over, options.frame_size)),
        "clash": Factory("clash", ClashingOptions, lambda over, _: Rot13(over)),
    }
    undo = [serialnet.register_transport(scheme, factory) for scheme, factory in factories.items()]
    yield
    for each in undo:
        each()


async def connected(url: str) -> tuple[Transport, Transport]:
    async with serialnet.listen(url) as listener:
        return await serialnet.connect(listener.urls[0]), await listener.accept()


@pytest.mark.parametrize("url", ["rot13+tcp://127.0.0.1:0", "framed+tcp://127.0.0.1:0"])
async def test_they_keep_the_contract(url: str) -> None:
    await check_transport(lambda: connected(url))


async def test_what_is_below_is_translated() -> None:
    async with (
        serialnet.listen("tcp://127.0.0.1:0") as listener,
        serialnet.connect(f"rot13+{listener.urls[0]}") as here,
        await listener.accept() as there,
    ):
        await here.send(b"hello")
        assert await there.receive() == b"uryyb"


@pytest.mark.parametrize("layers", ["rot13", "framed", "rot13+framed", "framed+rot13"])
async def test_rfc2217_goes_over_them(layers: str) -> None:
    async with serialnet.serve("loop:", f"rfc2217+{layers}+tcp://127.0.0.1:0") as server:
        url = server.urls[0]
        assert url.startswith(f"rfc2217+{layers}+tcp://127.0.0.1:")
        async with serialnet.connect(url, baudrate=9600) as port:
            assert port.line is not None
            assert port.line.settings.baudrate == 9600
            await port.send(b"\xff\x00hello")
            received = b""
            while len(received) < 7:
                received += await port.receive()
            assert received == b"\xff\x00hello"


async def test_their_options_join() -> None:
    async with serialnet.listen("framed+tcp://127.0.0.1:0?frame_size=7") as listener:
        url = f"{listener.urls[0]}?frame_size=5&connect_timeout=3"
        async with serialnet.connect(url) as here, await listener.accept() as there:
            assert isinstance(here, Framed)
            assert isinstance(there, Framed)
            assert (here.size, there.size) == (5, 7)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("rfc2217+clash+tcp://127.0.0.1:1", "its layers share the option timeout"),
        ("framed+rot13+framed+tcp://127.0.0.1:1", "its layers share the option frame_size"),
        (
            "framed+tcp://127.0.0.1:1?frame_sise=1",
            "no option 'frame_sise'; expected: connect_timeout, frame_",
        ),
        (
            "rot13+framed+tcp://127.0.0.1:1?frame_size=x",
            "option 'frame_size' of framed: must be a whole",
        ),
        ("rot13:", "'rot13' is a layer; expected 'rot13.STREAM"),
        ("tcp+rot13://127.0.0.1:1", "'tcp' is no layer"),
    ],
)
async def test_what_does_not_fit_is_said_before_anything_is_opened(url: str, message: str) -> None:
    for opening in (serialnet.connect, serialnet.listen):
        with pytest.raises(EndpointError, match=message):
            await opening(url)
