"""A broker of our own, and both event loops."""

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

MOSQUITTO = shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def start_broker(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start a broker; ``broker.netloc`` is where."""
    if MOSQUITTO is None:
        pytest.skip("needs mosquitto")
    brokers = []

    def start(*, anonymous: bool = True) -> subprocess.Popen[bytes]:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        configuration = tmp_path / "mosquitto.conf"
        configuration.write_text(
            f"listener {port} 127.0.0.1\nallow_anonymous {str(anonymous).lower()}\npersistence false\n"
        )
        broker = subprocess.Popen([MOSQUITTO, "-c", configuration], stderr=subprocess.DEVNULL)
        brokers.append(broker)
        broker.netloc = f"127.0.0.1:{port}"
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                return broker
            except ConnectionRefusedError:
                assert time.monotonic() < deadline, "the broker does not answer"
                time.sleep(0.02)

    yield start
    for broker in brokers:
        broker.terminate()
        broker.wait()


@pytest.fixture
def broker(start_broker: Callable[..., subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    return start_broker()
