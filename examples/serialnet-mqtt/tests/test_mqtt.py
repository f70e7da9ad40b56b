"""The transport against a real broker."""

import anyio
import pytest

import serialnet
from serialnet import EndpointError, OpenError
from serialnet.testing import check_transport


async def pair(netloc: str):
    async with serialnet.listen(f"mqtt://{netloc}/lab/port") as listener:
        ends = {}

        async def accept() -> None:
            ends["there"] = await listener.accept()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(accept)
            ends["here"] = await serialnet.connect(listener.urls[0])
        return ends["here"], ends["there"]


async def test_it_keeps_the_contract(broker) -> None:
    await check_transport(lambda: pair(broker.netloc))


async def test_the_broker_goes(broker) -> None:
    here, there = await pair(broker.netloc)
    async with here, there:
        broker.kill()
        for end in (here, there):
            with pytest.raises(anyio.BrokenResourceError, match="connection to the broker has gone"):
                await end.receive()
            with pytest.raises(anyio.BrokenResourceError):
                await end.send(b"x")


async def test_the_other_end_goes_without_a_word(broker) -> None:
    here, there = await pair(broker.netloc)
    async with here, there:
        there._client._paho.socket().shutdown(2)
        with pytest.raises(anyio.BrokenResourceError, match="its broker says so"):
            await here.receive()


async def test_rfc2217_goes_over_it(broker) -> None:
    async with (
        serialnet.serve("loop:", f"rfc2217+mqtt://{broker.netloc}/lab/port") as server,
        serialnet.connect(server.urls[0], baudrate=9600) as port,
    ):
        assert port.line.settings.baudrate == 9600
        await port.send(b"hello")
        assert await port.receive() == b"hello"


@pytest.mark.parametrize(
    "url", ["mqtt://host", "mqtt:///topic", "mqtt://host/a/+/b", "mqtt://host/a?mqtt_timeout=x"]
)
async def test_wrong_urls(url: str) -> None:
    with pytest.raises(EndpointError):
        await serialnet.connect(url)


async def test_nobody_there(broker) -> None:
    with pytest.raises(OpenError, match="nobody listens at the topic 'lab'"):
        await serialnet.connect(f"mqtt://{broker.netloc}/lab?mqtt_timeout=0.2")


async def test_no_broker(free_tcp_port: int) -> None:
    with pytest.raises(OpenError, match=r"cannot connect to the broker .*refused"):
        await serialnet.connect(f"mqtt://127.0.0.1:{free_tcp_port}/lab")


async def test_a_broker_that_refuses(start_broker) -> None:
    broker = start_broker(anonymous=False)
    with pytest.raises(OpenError, match="refused: Not authorized") as caught:
        await serialnet.connect(f"mqtt://{broker.netloc}/lab?username=me&password=hunter2")
    assert "hunter2" not in str(caught.value)
