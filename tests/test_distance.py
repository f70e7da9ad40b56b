"""How far away a line is."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from serialnet import connect, serve
from serialnet.distance import Distance, measure

from .delay import distance


def test_round_trips_are_summed_up() -> None:
    assert Distance.of([0.2]) == Distance(0.2, 0.0)
    assert Distance.of([0.1, 0.5, 0.2]) == Distance(0.2, 0.3)
    assert Distance.of([0.1, 0.11, 0.12, 0.13, 9.0]).jitter == pytest.approx(0.02)
    assert str(Distance(0.2, 0.03)) == "200.0 ms +- 30.0 ms"


async def test_a_far_line_is_asked() -> None:
    async with serve("loop:", "rfc2217://127.0.0.1:0") as server:
        port = int(server.urls[0].rpartition(":")[2])
        async with distance(port, 0.1, jitter=0) as far, connect(f"rfc2217://127.0.0.1:{far.port}") as port_:
            found = await measure(port_)
            assert found is not None
            assert 0.1 <= found.median < 1
            await port_.send(b"undisturbed")
            assert await port_.receive() == b"undisturbed"


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
async def test_the_kernel_knows_how_far_a_tcp_connection_goes() -> None:
    async with serve("loop:", "tcp://127.0.0.1:0") as server, connect(server.urls[0]) as port:
        found = await measure(port)
        assert found is not None
        assert 0 < found.median < 0.1


async def test_nobody_knows_without_a_line(tmp_path: Path) -> None:
    async with serve("loop:", f"unix://{tmp_path}/s") as server, connect(server.urls[0]) as port:
        assert await measure(port) is None
