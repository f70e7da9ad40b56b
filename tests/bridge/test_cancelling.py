"""A bridge that is cancelled, at each of its awaits: both ends are closed, and nothing is left behind."""

from __future__ import annotations

import anyio
import pytest

import serialnet
from serialnet import (
    Bridge,
    Configure,
    LineSettings,
    Outputs,
    Purge,
    PurgeRequest,
    SendBreak,
    SetOutputs,
    hooks,
)
from serialnet.bridge import bridge as bridge_module
from serialnet.transports.rfc2217 import RFC2217Session

from ..fake_ends import FakeAsker, FakePort, cancelled_everywhere, descriptors


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge_module, "LINGER", 0)


async def test_with_an_asker() -> None:
    async def run() -> None:
        asker = FakeAsker(
            b"x",
            SetOutputs(brk=True),
            b"y",
            Configure(LineSettings(9600)),
            SendBreak(0),
            PurgeRequest(Purge.BOTH),
            SetOutputs(brk=True),
        )
        asker.end()
        port = FakePort()
        port.feed(b"output")
        try:
            await Bridge(asker, port, hooks=[hooks.AutoReset]).run()
        finally:
            assert asker.closed
            assert port.closed
            assert not port.fake_line.outputs.brk
            assert port.fake_line.watchers == 0

    assert await cancelled_everywhere(run) > 20


async def test_between_streams() -> None:
    async def run() -> None:
        a, b = FakePort(line=False), FakePort()
        a.feed(b"x")
        b.feed(b"y")
        a.end()
        try:
            await Bridge(a, b, hooks=[hooks.OnConnect("D1|D0"), hooks.OnDisconnect("D1")]).run()
        finally:
            assert a.closed
            assert b.closed

    assert await cancelled_everywhere(run) > 5


async def test_over_the_network() -> None:
    """Everything real: TCP, RFC 2217, a simulated board."""
    message = bytes.fromhex("fffa2c010000258000fff0").replace(b"\0\xff", b"\xff")

    async def run() -> None:
        async with (
            serialnet.listen("tcp://127.0.0.1:0") as listener,
            serialnet.connect(listener.urls[0]) as client,
            serialnet.connect("sim://esp32") as port,
        ):
            await client.send(b"hello" + message + b"\xff\xfa\x2c\x05\x05\xff\xf0")
            await client.send_eof()
            session = RFC2217Session(await listener.accept())
            try:
                end = await Bridge(session, port).run()
                assert end.stats.requests == 2
            finally:
                assert port.line is not None
                assert port.line.outputs == Outputs(dtr=True, rts=True)
                with pytest.raises(anyio.ClosedResourceError):
                    await port.send(b"x")

    await run()
    before = descriptors()
    assert await cancelled_everywhere(run) > 20
    assert descriptors() == before
