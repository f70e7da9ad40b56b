"""Who carries a scheme: built in, registered, or brought by an installed package."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import serialnet
from serialnet import Endpoint, EndpointError, Listener, Transport, UnknownSchemeError
from serialnet.core.options import NoOptions
from serialnet.core.registry import BUILT_IN, find_factory, schemes
from serialnet.transports.loop import LoopTransport

PLUGIN = """
from dataclasses import dataclass
from serialnet.transports.loop import LoopTransport
from serialnet.core.options import NoOptions, option

class Factory:
    options = NoOptions
    layer = False
    async def connect(self, endpoint, options, over):
        return LoopTransport()

factory = Factory()

class Broken:
    def __init__(self):
        raise RuntimeError("out of order")

class Half:
    options = NoOptions
    async def connect(self, endpoint, options, over):
        return LoopTransport()

class Optionless(Factory):
    options = {"size": 1}

class Instance(Factory):
    options = NoOptions()

class Blocking(Factory):
    def connect(self, endpoint, options, over):
        return LoopTransport()

class BlockingListener(Factory):
    def listen(self, endpoint, options, over):
        raise NotImplementedError

class Undecided(Factory):
    layer = "perhaps"

class Required(Factory):
    @dataclass
    class options:
        size: int

class Listed(Factory):
    @dataclass
    class options:
        sizes: list[int] = option((), "sizes")

class Unresolved(Factory):
    @dataclass
    class options:
        size: "NoSuchName" = option(1, "a size")

class Strange(Factory):
    async def connect(self, endpoint, options, over):
        return 7
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Install a package that names these entry points."""
    (tmp_path / "their_plugin.py").write_text(PLUGIN)
    (tmp_path / "their_exit.py").write_text("raise SystemExit('we leave')")
    monkeypatch.syspath_prepend(tmp_path)

    def install(entry_points: str, package: str = "their-package") -> None:
        info = tmp_path / f"{package.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[serialnet.transports]\n{entry_points}\n")

    yield install
    sys.modules.pop("their_plugin", None)


class Factory:
    options = NoOptions
    layer = False

    async def connect(self, endpoint: Endpoint, options: NoOptions, over: Transport | None) -> Transport:
        return LoopTransport()

    async def listen(self, endpoint: Endpoint, options: NoOptions, over: Listener | None) -> Listener:
        raise NotImplementedError


@pytest.mark.parametrize("name", ["factory", "Factory"])
async def test_an_installed_transport(install: Callable[[str], None], name: str) -> None:
    install(f"ble = their_plugin:{name}")
    assert "ble" in schemes()
    assert "their_plugin" not in sys.modules  # it is loaded when it is asked for
    async with serialnet.connect("BLE:") as transport:
        await transport.send(b"abc")
        assert await transport.receive() == b"abc"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("no_such_module:factory", "No module named 'no_such_module'$"),
        ("no_such_module:factory [radio]", r"No module named .*; it needs their-package\[radio\]"),
        ("their_plugin:missing", "missing"),
        ("their_plugin", "has no options, layer, connect"),
        ("their_exit:factory", "we leave"),
        ("their_plugin:Broken", "out of order"),
        ("their_plugin:Half", "has no layer$"),
        ("their_plugin:Optionless", "options must be a dataclass, not {'size': 1}"),
        ("their_plugin:Instance", "options must be a dataclass, not NoOptions"),
        ("their_plugin:Blocking", "its connect must be an async def"),
        ("their_plugin:BlockingListener", "its listen must be an async def"),
        ("their_plugin:Undecided", "its layer must be True or False, not 'perhaps'"),
        ("their_plugin:Required", "its option 'size' must have a default"),
        ("their_plugin:Listed", "an annotation that cannot be used"),
        ("their_plugin:Unresolved", "an annotation that cannot be used: .*NoSuchName"),
        ("their_plugin:Strange", "connect returned 7, which is no Transport"),
    ],
)
async def test_a_broken_one_is_named_and_harms_nobody_else(
    install: Callable[[str], None], entry: str, message: str
) -> None:
    install(f"bad = {entry}\nble = their_plugin:factory")
    with pytest.raises(EndpointError, match=f"transport 'bad' .*{message}") as caught:
        await serialnet.connect("bad:")
    assert entry == "their_plugin:Strange" or f"of the package their-package cannot be used ({entry})" in str(
        caught.value
    )
    async with serialnet.connect("ble:") as transport, serialnet.connect("loop:"):
        await transport.send(b"abc")
    with pytest.raises(UnknownSchemeError, match="bad, ble, exec, loop"):
        await serialnet.connect("wrong:")


async def test_one_that_cannot_listen_says_so(install: Callable[[str], None]) -> None:
    install("ble = their_plugin:factory")
    with pytest.raises(EndpointError, match="ble"):
        await serialnet.listen("ble:")


async def test_two_packages_with_one_name(install: Callable[..., None]) -> None:
    install("ble = their_plugin:factory\nother = their_plugin:factory")
    install("BLE = their_plugin:Factory", package="another-package")
    with pytest.raises(
        EndpointError, match="packages another-package and their-package both bring a transport 'ble'"
    ):
        await serialnet.connect("ble:")
    async with serialnet.connect("other:"), serialnet.connect("loop:"):
        assert {"ble", "other"} <= set(schemes())


def test_what_is_ignored_is_named(install: Callable[[str], None], caplog: pytest.LogCaptureFixture) -> None:
    install("loop = their_plugin:factory\nno_scheme = their_plugin:factory")
    assert "no_scheme" not in schemes()
    assert "ignoring 'their_plugin:factory' of the package their-package: loop is built in" in caplog.text
    assert "no_scheme is no scheme" in caplog.text


def test_what_is_registered_is_looked_at() -> None:
    for factory, message in ((object(), "has no options, layer, connect"), ("tcp", "cannot be registered")):
        with pytest.raises(EndpointError, match=message):
            serialnet.register_transport("mine", factory)  # type: ignore[arg-type]
    assert "mine" not in schemes()


async def test_built_in_ones_cannot_be_replaced(install: Callable[[str], None]) -> None:
    install("loop = no_such_module:factory")
    async with serialnet.connect("loop:") as transport:
        assert isinstance(transport, LoopTransport)


@pytest.mark.parametrize("scheme", sorted(BUILT_IN))
def test_the_built_in_ones_are_there(scheme: str) -> None:
    factory = find_factory(scheme)
    assert {"options", "layer", "connect", "listen"} <= set(dir(factory))


async def test_registering_and_undoing() -> None:
    undo = serialnet.register_transport("X-1.y", Factory())
    assert "x-1.y" in schemes()
    async with serialnet.connect("x-1.Y:"):
        pass
    with pytest.raises(EndpointError, match=r"'x-1.y' is taken"):
        serialnet.register_transport("x-1.y", Factory())
    undo()
    undo()
    with pytest.raises(UnknownSchemeError):
        await serialnet.connect("x-1.y:")
    serialnet.register_transport("x-1.y", Factory())()
    assert "x-1.y" not in schemes()


async def test_an_old_undoing_does_not_undo_a_new_registration() -> None:
    old = serialnet.register_transport("mine", Factory())
    old()
    new = serialnet.register_transport("mine", Factory())
    old()
    assert "mine" in schemes()
    new()


@pytest.mark.parametrize("scheme", ["", "1x", "a b", "a+b", "a:", "-a", "é", "a_b", "tcp", "TCP"])
def test_what_is_no_scheme_or_taken(scheme: str) -> None:
    with pytest.raises(EndpointError, match=r"is no scheme|is taken"):
        serialnet.register_transport(scheme, Factory())


def test_a_taken_one_may_be_an_installed_one(install: Callable[[str], None]) -> None:
    install("ble = their_plugin:factory")
    with pytest.raises(EndpointError, match="'ble' is taken"):
        serialnet.register_transport("BLE", Factory())
