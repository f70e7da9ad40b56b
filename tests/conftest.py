"""What all tests share: both event loops, fewer surprises."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("soak", settings.get_profile("default"), max_examples=10_000)
settings.load_profile("soak" if os.environ.get("SERIALNET_SOAK") else "default")


# Programs that soon give a board up: one worker runs them, one after the other.
IMPATIENT = ("esptool", "flash", "demo", "test_run", "avrdude", "doctor")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep programs that are easily starved from starving each other."""
    for item in items:
        if any(word in item.nodeid for word in IMPATIENT):
            item.add_marker(pytest.mark.xdist_group("impatient"))


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Run every async test on asyncio and on trio."""
    backend: str = request.param
    return backend


SHIM = Path(__file__).with_name("shim") / "modem_lines.c"


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Compile the shim that gives PTYs modem lines; preload it into what shall have them."""
    return build_shim(tmp_path_factory.mktemp("shim"))


def build_shim(directory: Path) -> str:
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs Linux and a C compiler (cc)")
    library = directory / "modem_lines.so"
    options = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([compiler, *options, "-o", library, SHIM, "-ldl"], check=True)
    return str(library)
