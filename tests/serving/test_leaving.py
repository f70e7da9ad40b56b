"""How sessions end badly, and what must not come of it for the board, the next client, the server."""

from __future__ import annotations

import logging
import socket
import struct

import anyio
import pytest

import serialnet
from serialnet.bridge import asking, bridge
from serialnet.chips import Board, Mode
from serialnet.hooks import OnDisconnect
from serialnet.transports.sim import SimulatedTransport


def raw(server: serialnet.Server) -> tuple[str, int]:
    host, _, port = server.urls[0].rpartition("://")[2].rpartition(":")
    return host, int(port)


@pytest.mark.parametrize("scheme", ["tcp", "rfc2217"])
async def test_a_client_that_left_a_stuck_port_makes_room(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge, "HANG_UP_CHECK", 0.05)
    monkeypatch.setattr(bridge, "PROGRESS_CHECK", 0.05)
    monkeypatch.setattr(asking, "STALLED_AFTER", 0.05)
    board = Board()
    board.stalled = True
    async with serialnet.serve(SimulatedTransport(board), f"{scheme}://127.0.0.1:0") as server:
        async with server.events() as events:
            with socket.create_connection(raw(server)) as client:
                assert isinstance(await anext(events), serialnet.ClientConnected)
                client.sendall(bytes(100_000))
                client.shutdown(socket.SHUT_WR)
                with socket.create_connection(raw(server)), anyio.fail_after(10):
                    assert isinstance(await anext(events), serialnet.ClientLeft)
                    assert isinstance(await anext(events), serialnet.ClientConnected)
        assert server.stats.refused == 0


async def test_a_departed_clients_breaks_do_not_keep_the_next_one_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bridge, "PROGRESS_CHECK", 0.05)
    async with serialnet.serve("loop:", "rfc2217://127.0.0.1:0") as server, server.events() as events:
        with socket.create_connection(raw(server)) as client:
            assert isinstance(await anext(events), serialnet.ClientConnected)
            client.sendall(b"\xff\xf3" * 1000)
            client.shutdown(socket.SHUT_WR)
            with socket.create_connection(raw(server)), anyio.fail_after(10):
                assert isinstance(await anext(events), serialnet.ClientLeft)
                assert isinstance(await anext(events), serialnet.ClientConnected)


async def test_the_end_of_the_server_leaves_no_board_in_reset() -> None:
    board = Board()
    port = SimulatedTransport(board)
    async with serialnet.serve(port, "rfc2217://127.0.0.1:0") as server:
        client = await serialnet.connect(server.urls[0])
        assert client.line is not None
        await client.line.set_outputs(dtr=False)
        await client.line.set_outputs(rts=True)
        await client.line.set_outputs(dtr=True)  # held back, and acknowledged
    assert (board.outputs.dtr, board.outputs.rts) == (True, True)
    await client.aclose()


async def test_what_is_played_when_a_client_leaves_is_played_when_the_server_ends() -> None:
    board = Board()
    hook = OnDisconnect("esp-reset")
    async with serialnet.serve(SimulatedTransport(board), "tcp://127.0.0.1:0", hooks=[hook]) as server:
        client = await serialnet.connect(server.urls[0])
        await client.send(b"x")
        assert await client.receive() == b"x"  # the session is on
    await client.aclose()
    assert board.mode is Mode.RESET or board.boots == [Mode.APPLICATION]


async def test_a_client_after_one_that_was_reset_waits_for_the_hooks() -> None:
    hook = OnDisconnect("U0,1|W0.5|U0,0")
    async with serialnet.serve("sim://esp32", "tcp://127.0.0.1:0", hooks=[hook]) as server:
        async with server.events() as events:
            with socket.create_connection(raw(server)) as client:
                assert isinstance(await anext(events), serialnet.ClientConnected)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            await anyio.sleep(0.05)
            with socket.create_connection(raw(server)), anyio.fail_after(10):
                assert isinstance(await anext(events), serialnet.ClientLeft)
                assert isinstance(await anext(events), serialnet.ClientConnected)
        assert server.stats.refused == 0


class ForgetsAnArgument(serialnet.Hook):
    async def opened(self) -> None:  # type: ignore[override]
        pass


class IsNotAsync(serialnet.Hook):
    def opened(self, bridge: serialnet.Bridge) -> None:  # type: ignore[override]
        raise ValueError("no")


class ReturnsText(serialnet.Hook):
    def data(self, direction: serialnet.Direction, view: memoryview) -> str:  # type: ignore[override]
        return "text"


class CannotBeMade(serialnet.Hook):
    def __init__(self) -> None:
        raise ValueError("no")


@pytest.mark.parametrize("hook", [ForgetsAnArgument, IsNotAsync, ReturnsText, CannotBeMade])
async def test_a_mistake_in_a_hook_does_not_end_the_server(
    hook: type[serialnet.Hook], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    async with serialnet.serve("loop:", "tcp://127.0.0.1:0", hooks=[hook]) as server:
        for sessions in (1, 2):
            async with server.events() as events:
                async with serialnet.connect(server.urls[0]) as client:
                    await client.send(b"x")
                    with anyio.fail_after(10):
                        if hook is not CannotBeMade:
                            assert isinstance(await anext(events), serialnet.ClientConnected)
                if hook is not CannotBeMade:
                    with anyio.fail_after(10):
                        assert isinstance(await anext(events), serialnet.ClientLeft)
                    assert server.stats.sessions == sessions


async def test_both_lines_off_at_once_is_no_reset() -> None:
    board = Board()
    port = SimulatedTransport(board)
    await port.line.set_outputs(dtr=True, rts=True)
    async with serialnet.serve(port, "rfc2217://127.0.0.1:0") as server:
        client = await serialnet.connect(server.urls[0])
        assert client.line is not None
        for on in (True, False, True, False):
            await client.line.set_outputs(dtr=on, rts=on)
        assert (board.outputs.dtr, board.outputs.rts) == (False, False)
        await client.aclose()
    assert board.boots == []
    assert board.mode is Mode.APPLICATION
