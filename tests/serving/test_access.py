"""Who may reach a port that is served."""

from __future__ import annotations

import pytest

import serialnet
from serialnet import Access, Endpoint, EndpointError


@pytest.mark.parametrize(
    ("url", "access", "fine"),
    [
        ("tcp://127.0.0.1:0", Access(), True),
        ("unix:///run/board.sock", Access(), True),
        ("rfc2217+stdio:", Access(), True),
        ("tcp://:0", Access(), False),
        ("tcp://127.8.9.10:0", Access(), True),
        ("tcp://localhost:0", Access(), True),
        ("tcp://[::1]:0", Access(), True),
        ("rfc2217://127.0.0.1:0", Access(), True),
        (":0", Access(), True),
        ("tcp://0.0.0.0:0", Access(), False),
        ("tcp://[::]:0", Access(), False),
        ("tcp://192.0.2.1:0", Access(), False),
        ("rfc2217://0.0.0.0:0", Access(), False),
        ("tcp://[::ffff:192.0.2.1]:0", Access(), False),
        ("tcp://0.0.0.0:0", Access(["172.16.0.0/12"]), True),
        ("tcp://[::]:0", Access(["fd00::/8"]), True),
        ("tcp://0.0.0.0:0", Access(insecure=True), True),
    ],
)
async def test_what_may_be_listened_on(url: str, access: Access, fine: bool) -> None:
    endpoint = Endpoint.parse(url)
    if fine:
        await access.check_listen(endpoint)
    else:
        with pytest.raises(EndpointError, match=r"--allow .*--insecure"):
            await access.check_listen(endpoint)


LAB = Access(["172.16.0.0/12", "192.0.2.7", "fd00::/8"])


@pytest.mark.parametrize(
    ("access", "peer", "fine"),
    [
        (Access(), "127.0.0.1:5", True),
        (Access(), "unix:pid=1,uid=0", True),
        (Access(), "stdio:", True),
        (Access(), "[::1]:5", True),
        (Access(), "[::ffff:127.0.0.1]:5", True),
        (Access(), "192.0.2.7:5", False),
        (Access(), "[::ffff:192.0.2.7]:5", False),
        (Access(), "[fe80::1%eth0]:5", False),
        (Access(), None, True),
        (LAB, "172.17.0.2:5", True),
        (LAB, "172.32.0.1:5", False),
        (LAB, "[::ffff:172.17.0.2]:5", True),
        (LAB, "192.0.2.7:5", True),
        (LAB, "192.0.2.8:5", False),
        (LAB, "[fd12::1]:5", True),
        (LAB, "[fd12::1%eth0]:5", True),
        (LAB, "[2001:db8::1]:5", False),
        (LAB, "127.0.0.1:5", True),
        (LAB, None, True),
        (Access(insecure=True), "203.0.113.9:5", True),
    ],
)
def test_who_may_come_in(access: Access, peer: str | None, fine: bool) -> None:
    assert access.permits(peer) is fine


@pytest.mark.parametrize("network", ["lab", "", "172.16.0.1/12", "10.0.0.0/33", "10.0.0.0-10.0.0.9"])
def test_what_is_no_network(network: str) -> None:
    with pytest.raises(EndpointError, match="is no network: expected an address or one like"):
        Access([network])


def test_an_access_is_a_value() -> None:
    assert Access(["10.0.0.0/8"]) == Access(["10.0.0.0/8"])
    assert hash(Access()) == hash(Access())
    assert Access(insecure=True) != Access()


async def test_nothing_is_opened_that_must_not_be() -> None:
    for listen_on in (["tcp://0.0.0.0:0"], ["tcp://127.0.0.1:0", "tcp://[::]:0"]):
        with pytest.raises(EndpointError, match="let anybody on the network"):
            async with serialnet.serve("/dev/does-not-exist", *listen_on):
                pass
