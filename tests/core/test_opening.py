"""``connect`` and ``listen``: once, all or nothing, and errors before anything is opened."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import anyio
import pytest
from typing_extensions import override

import serialnet
from serialnet import EndpointError, Listener, OpenError, Transport, UnknownSchemeError, option
from serialnet.core.endpoint import Endpoint
from serialnet.core.opening import check

from ..fake_ends import FakePort, descriptors


@dataclass(frozen=True)
class BaseOptions:
    size: int = option(1, "a size")


@dataclass(frozen=True)
class LayerOptions:
    colour: str = option("red", "a colour")


class Base:
    options: type[Any] = BaseOptions
    layer = False

    def __init__(self) -> None:
        self.opened: list[FakePort] = []
        self.given: list[Any] = []

    async def connect(self, endpoint: Endpoint, options: Any, over: Transport | None) -> Transport:
        assert over is None
        self.given.append(options)
        self.opened.append(FakePort())
        return self.opened[-1]

    async def listen(self, endpoint: Endpoint, options: Any, over: Listener | None) -> Listener:
        raise EndpointError("base: cannot listen")


class Over(FakePort):
    def __init__(self, over: Transport) -> None:
        super().__init__()
        self.over = over

    @override
    async def aclose(self) -> None:
        await super().aclose()
        await self.over.aclose()


class Layer(Base):
    options: type[Any] = LayerOptions
    layer = True
    error: BaseException | None = None
    waits = False

    @override
    async def connect(self, endpoint: Endpoint, options: Any, over: Transport | None) -> Transport:
        assert over is not None
        self.given.append(options)
        if self.waits:
            await anyio.sleep_forever()
        if self.error is not None:
            raise self.error
        return Over(over)


class Clash(Layer):
    options = BaseOptions


@pytest.fixture
def base() -> Iterator[Base]:
    base = Base()
    undo = serialnet.register_transport("base", base)
    yield base
    undo()


@pytest.fixture
def layer(base: Base) -> Iterator[Layer]:
    layer = Layer()
    undo = serialnet.register_transport("layer", layer)
    yield layer
    undo()


async def test_awaiting_it_owns_it(base: Base) -> None:
    opening = serialnet.connect("base:")
    assert not base.opened
    transport = await opening
    assert transport is base.opened[0]
    await transport.send(b"abc")
    assert not base.opened[0].closed
    with pytest.raises(RuntimeError, match="opened before"):
        await opening


async def test_entering_it_closes_it(base: Base) -> None:
    opening = serialnet.connect("base:")
    async with opening as transport:
        await transport.send(b"abc")
    assert base.opened[0].closed
    with pytest.raises(RuntimeError, match="opened before"):
        async with opening:
            pass
    assert len(base.opened) == 1


async def test_it_is_closed_when_the_block_fails_or_is_cancelled(base: Base) -> None:
    with pytest.raises(KeyError):
        async with serialnet.connect("base:"):
            raise KeyError
    with anyio.CancelScope() as scope:
        async with serialnet.connect("base:"):
            scope.cancel()
            await anyio.sleep_forever()
    assert [port.closed for port in base.opened] == [True, True]


async def test_layers_and_their_options(base: Base, layer: Layer) -> None:
    url = "layer+layer+base:?size=5"
    with pytest.raises(EndpointError, match="share the option colour"):
        await serialnet.connect(url)
    assert not base.given
    async with serialnet.connect("layer+base:?size=5&colour=blue", size=7) as transport:
        assert isinstance(transport, Over)
        assert transport.over is base.opened[0]
    assert base.opened[0].closed
    assert base.given == [BaseOptions(7)]
    assert layer.given == [LayerOptions("blue")]


@pytest.mark.parametrize("error", [OSError("no"), EndpointError("no"), KeyboardInterrupt("no")])
async def test_a_layer_that_fails_closes_what_is_below(
    base: Base, layer: Layer, error: BaseException
) -> None:
    layer.error = error
    with pytest.raises(type(error), match="no"):
        await serialnet.connect("layer+base:")
    assert base.opened[0].closed


async def test_cancelling_an_opening_closes_what_is_below(base: Base, layer: Layer) -> None:
    layer.waits = True
    with anyio.move_on_after(0.01) as scope:
        await serialnet.connect("layer+base:")
    assert scope.cancelled_caught
    assert base.opened[0].closed


@pytest.mark.parametrize(
    ("url", "options", "error", "message"),
    [
        ("nothing://host:1", {}, UnknownSchemeError, "no transport 'nothing'; expected one of: .*tcp"),
        ("layer+nothing://host:1", {}, UnknownSchemeError, "no transport 'nothing'"),
        ("base+base:", {}, EndpointError, "'base' is no layer"),
        ("layer:", {}, EndpointError, r"'layer' is a layer; expected 'layer\+STREAM"),
        ("base:?sise=1", {}, EndpointError, "base: has no option 'sise'; expected: size"),
        ("layer+base:?sise=1", {}, EndpointError, "has no option 'sise'; expected: colour, size"),
        ("base:", {"sise": 1}, EndpointError, "has no option 'sise'"),
        ("base:?size=big", {}, EndpointError, "option 'size' of base: must be a whole number, not 'big'"),
        ("layer+base:?size=big", {}, EndpointError, "option 'size' of base: must be a whole number"),
        ("clash+base:", {}, EndpointError, "its layers share the option size"),
        ("localhost:4000", {}, EndpointError, "did you mean"),
        ("tcp://127.0.0.1", {}, EndpointError, "expected tcp://HOST:PORT"),
        ("tcp://127.0.0.1:0", {}, EndpointError, "expected a host and a port to connect to"),
        ("tcp://:4000", {}, EndpointError, "expected"),
        ("tcp://127.0.0.1:4000/x", {}, EndpointError, "nothing after the port, not '/x'"),
        ("tcp://127.0.0.1:4000?connect_timeout=soon", {}, EndpointError, "must be a number"),
        ("loop://host", {}, EndpointError, "expected loop: and nothing behind it"),
        ("loop:?baudrate=0", {}, EndpointError, "baudrate must be from 1"),
        ("loop:?bytesize=9", {}, EndpointError, "bytesize must be 5, 6, 7 or 8"),
        ("loop:?parity=x", {}, EndpointError, "must be N or O or E or M or S"),
        ("loop:?rtscts&xonxoff", {}, EndpointError, "exclude each other"),
        ("sim://esp8266", {}, EndpointError, "chip must be one of esp32"),
        ("sim:", {}, EndpointError, "chip must be one of esp32"),
        ("sim://esp32:4000", {}, EndpointError, "expected sim://CHIP"),
        ("sim://esp32/x", {}, EndpointError, "expected sim://CHIP"),
        ("rfc2217+loop:", {}, EndpointError, "share the option baudrate"),
        ("sim://esp32?usb_jtag", {}, EndpointError, "only an esp32c3"),
        ("sim://esp32?capacitor=nan", {}, EndpointError, "must be a number"),
        ("rfc2217://host:1?timeout=x", {}, EndpointError, "must be a number"),
        ("tcp://" + "a" * 70 + ":4000", {}, (EndpointError, OpenError), "a{70}"),
        ("tcp://a..b:4000", {}, (EndpointError, OpenError), "a..b"),
        ("tcp://ä..b:4000", {}, (EndpointError, OpenError), "ä..b"),
    ],
)
async def test_errors(
    layer: Layer, base: Base, url: str, options: dict[str, object], error: Any, message: str
) -> None:
    undo = serialnet.register_transport("clash", Clash())
    before = descriptors()
    try:
        with pytest.raises(error, match=message):
            await serialnet.connect(url, **options)
    finally:
        undo()
    assert not base.opened
    assert descriptors() == before


async def test_secrets_stay_out_of_errors(base: Base) -> None:
    for url in ("base+base:?token=hunter2", "base:?size=x&token=hunter2", "nothing:?token=hunter2"):
        with pytest.raises(EndpointError) as caught:
            await serialnet.connect(url)
        assert "hunter2" not in str(caught.value)


async def test_what_cannot_listen(base: Base) -> None:
    for url in ("base:", "loop:", "sim://esp32"):
        with pytest.raises(EndpointError, match="listen"):
            await serialnet.listen(url)
    with pytest.raises(EndpointError, match="for connecting"):
        await serialnet.listen("rfc2217://127.0.0.1:0?baudrate=9600")


def test_checking_opens_nothing(base: Base) -> None:
    assert check("base:?size=2").options == {"size": "2"}
    with pytest.raises(EndpointError):
        check("base:?size=x")
    assert not base.opened


@pytest.mark.parametrize("open_", [serialnet.connect, serialnet.listen])
async def test_what_listens_is_for_links(open_: Any) -> None:
    with pytest.raises(EndpointError, match="'listen:' stands only before an end of a link"):
        await open_("listen:tcp://127.0.0.1:0")
