"""The example of a transport package: installed as strangers' packages are, it is found and works."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

pytest.importorskip("paho.mqtt.client", reason="needs paho-mqtt")

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "serialnet-mqtt"
MOSQUITTO = shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")

pytestmark = pytest.mark.skipif(MOSQUITTO is None, reason="needs mosquitto")


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Install the package beside serialnet, from a copy: building leaves files."""
    directory = tmp_path_factory.mktemp("mqtt")
    shutil.copytree(EXAMPLE, directory / "source")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--target", str(directory / "installed")]
    subprocess.run([*pip, *options, str(directory / "source")], check=True, timeout=50)
    path = [str(ROOT / "src"), str(directory / "installed")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path), "PYTHONUNBUFFERED": "1"}


@pytest.mark.timeout(180)
def test_its_own_tests_pass(environment: dict[str, str], tmp_path: Path) -> None:
    shutil.copytree(EXAMPLE / "tests", tmp_path / "tests")
    shutil.copy(EXAMPLE / "pyproject.toml", tmp_path)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    tests = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=170, check=False
    )
    assert tests.returncode == 0, tests.stdout + tests.stderr


@pytest.fixture
def broker(tmp_path: Path, free_tcp_port: int) -> Iterator[str]:
    configuration = tmp_path / "mosquitto.conf"
    configuration.write_text(f"listener {free_tcp_port} 127.0.0.1\nallow_anonymous true\n")
    assert MOSQUITTO is not None
    broker = subprocess.Popen([MOSQUITTO, "-v", "-c", configuration], stderr=subprocess.PIPE, text=True)
    assert broker.stderr is not None
    for line in broker.stderr:
        if "running" in line:
            break
    yield f"127.0.0.1:{free_tcp_port}"
    broker.terminate()
    broker.communicate()


def test_link_finds_it_by_its_url(environment: dict[str, str], broker: str) -> None:
    """A port behind MQTT, brought to a TCP port by ``serialnet link``."""
    serialnet = [sys.executable, "-m", "serialnet"]
    serve = subprocess.Popen(
        [*serialnet, "serve", "loop:", "--listen", f"rfc2217+mqtt://{broker}/lab/port", "--insecure"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert serve.stdout is not None
    assert "mqtt://" in serve.stdout.readline()
    link = subprocess.Popen(
        [*serialnet, "link", "listen:tcp://127.0.0.1:0", f"rfc2217+mqtt://{broker}/lab/port"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert link.stdout is not None
    address = link.stdout.readline().split("tcp://")[1].split()[0]

    async def talk() -> None:
        host, _, port = address.rpartition(":")
        async with await anyio.connect_tcp(host, int(port)) as client:
            await client.send(b"hello")
            received = b""
            while len(received) < 5:
                received += await client.receive()
            assert received == b"hello"

    try:
        anyio.run(talk)
    finally:
        for process in (link, serve):
            process.terminate()
            process.communicate()
