"""A client that is gone while the port takes nothing must not keep the port."""

from __future__ import annotations

import logging
import socket
import struct

import anyio
import pytest

import serialnet
from serialnet.bridge import asking, bridge
from serialnet.chips import Board
from serialnet.transports.sim import SimulatedTransport


@pytest.mark.parametrize("scheme", ["tcp", "rfc2217"])
async def test_a_client_that_was_reset_loses_a_stuck_port(
    scheme: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(bridge, "HANG_UP_CHECK", 0.05)
    monkeypatch.setattr(asking, "STALLED_AFTER", 0.05)
    caplog.set_level(logging.INFO, "serialnet.server")
    board = Board()
    board.stalled = True
    serving = serialnet.serve(SimulatedTransport(board), f"{scheme}://127.0.0.1:0")
    async with serving as server, server.events() as events:
        port = int(server.urls[0].rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as client:
            assert isinstance(await anext(events), serialnet.ClientConnected)
            client.setblocking(False)
            sent = 0
            with anyio.move_on_after(1):  # until no more is taken, the read-ahead included
                while True:
                    try:
                        sent += client.send(bytes(65536))
                    except BlockingIOError:
                        await anyio.sleep(0.01)
            assert sent > asking.READ_AHEAD
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with anyio.fail_after(10):
            left = await anext(events)
        assert isinstance(left, serialnet.ClientLeft)
        assert left.end.by == "a"


async def test_a_reply_is_sent_though_a_sender_reads() -> None:
    """A client that suspends the server and then asks gets its answer, while data waits for the resume."""
    iac_sb, iac_se = b"\xff\xfa\x2c", b"\xff\xf0"
    async with serialnet.serve("loop:", "rfc2217://127.0.0.1:0") as server:
        raw = server.urls[0].replace("rfc2217", "tcp")
        async with serialnet.connect(raw) as client:
            await client.send(b"\xff\xfb\x2c" + iac_sb + b"\x08" + iac_se + b"echo")
            received = b""
            with anyio.fail_after(10):
                for _ in range(20):
                    await client.send(b"more" + iac_sb + b"\0" + iac_se)  # data, then: who are you?
                    before = received.count(b"serialnet")
                    while received.count(b"serialnet") == before:
                        received += await client.receive()
                assert b"echo" not in received
                await client.send(iac_sb + b"\x09" + iac_se)
                while b"echo" + b"more" * 20 not in received:
                    received += await client.receive()
