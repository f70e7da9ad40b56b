"""pyserial's ``serial_for_url`` with our URLs, here and in other programs."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import serial

import serialnet
from serialnet import EndpointError
from serialnet.pyserial import Serial, environment, install, pyserial_url, uninstall

from .conftest import serve

SOURCES = Path(serialnet.__file__).parents[1]


@pytest.fixture
def installed() -> Iterator[None]:
    install()
    yield
    uninstall()


def opened(url: str, **options: Any) -> Any:
    port: Any = serial.serial_for_url(url, timeout=10, **options)
    return port


# Here


def test_opens_our_urls_while_installed() -> None:
    before = list(serial.protocol_handler_packages)
    install()
    install()
    with opened("sim://esp32") as port:
        assert isinstance(port, Serial)
    uninstall()
    uninstall()
    assert serial.protocol_handler_packages == before
    with pytest.raises(ValueError, match="'sim' not known"):
        opened("sim://esp32")


@pytest.mark.usefixtures("installed")
def test_replaces_the_client_of_rfc2217_and_takes_its_options() -> None:
    with serve() as url:
        for query in ("", "?ign_set_control", "?poll_modem&timeout=5", "?logging=info"):
            with opened(url + query, baudrate=57600) as port:
                assert isinstance(port, Serial)
                assert (port.port, port.name) == (url + query, url + query)
                port.write(b"through")
                assert port.read(7) == b"through"


@pytest.mark.usefixtures("installed")
def test_layers_are_joined() -> None:
    with serve() as url, opened(url.replace("rfc2217", "RFC2217+tcp")) as port:
        assert isinstance(port, Serial)
        port.write(b"x")
        assert port.read() == b"x"


@pytest.mark.usefixtures("installed")
def test_a_command_carries_a_port() -> None:
    serve = f"{sys.executable} -m serialnet serve loop: --listen rfc2217+stdio:"
    with opened(pyserial_url(f"rfc2217+exec:{serve}")) as port:
        port.write(b"through")
        assert port.read(7) == b"through"


@pytest.mark.usefixtures("installed")
def test_a_port_is_opened_again_by_its_name() -> None:
    with opened("sim://esp32") as port:
        assert port.name == "rfc2217:sim://esp32"
    with opened(port.name) as again:
        assert again.port == "sim://esp32"


@pytest.mark.usefixtures("installed")
def test_leaves_pyserials_own_alone() -> None:
    with opened("loop://") as port:
        assert not isinstance(port, Serial)
    with pytest.raises(ValueError, match="'nix' not known"):
        opened("nix://")
    with pytest.raises(ValueError, match="not known"):
        opened("nix+tcp://x:1")


def test_a_transport_that_a_program_registers_is_known(installed: None) -> None:
    from serialnet.transports.loop import factory

    undo = serialnet.register_transport("mine", factory)
    try:
        with opened("mine://") as port:
            port.write(b"x")
            assert port.read() == b"x"
    finally:
        undo()


# In other programs


@pytest.mark.parametrize(
    ("port", "written"),
    [
        ("/dev/ttyUSB0", "/dev/ttyUSB0"),
        ("COM41", "COM41"),
        (":4000", "rfc2217://127.0.0.1:4000"),
        ("rfc2217://lab:4000?timeout=5", "rfc2217://lab:4000?timeout=5"),
        ("sim://esp32", "sim://esp32"),
        ("loop:", "loop://"),
        ("socket://lab:4000", "socket://lab:4000"),
        ("rfc2217+exec:ssh pi to rfc2217://lab", "rfc2217+exec://ssh pi to rfc2217://lab"),
    ],
)
def test_ports_as_pyserial_takes_them(port: str, written: str) -> None:
    assert pyserial_url(port) == written


@pytest.mark.parametrize("port", ["ttyUSB0", "4000", "nix://", "rfc2217://lab:4000?nix", ""])
def test_what_is_no_port(port: str) -> None:
    with pytest.raises(EndpointError):
        environment(port)


def run(program: str, *, python: str = sys.executable, **variables: str) -> subprocess.CompletedProcess[str]:
    base = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [python, "-c", textwrap.dedent(program)]
    variables = environment(base=base | variables)
    return subprocess.run(command, env=variables, check=False, capture_output=True, text=True, timeout=30)


def test_programs_have_the_handlers_and_so_have_those_that_they_start() -> None:
    program = """
    import subprocess, sys
    import serial
    with serial.serial_for_url("sim://esp32") as port:
        print(type(port).__module__)
    if len(sys.argv) == 1:
        subprocess.run([*sys.orig_argv, "child"], check=True)
    """
    result = run(program, PYTHONPATH=str(SOURCES))
    assert (result.stdout, result.stderr) == ("serialnet.pyserial._serial\n" * 2, "")


def test_nothing_is_imported_before_a_url_asks_for_it() -> None:
    program = """
    import sys
    def ours(): return [name for name in sys.modules if name in ("serial", "serialnet", "anyio", "asyncio")]
    print(ours())
    import serial
    print(ours())
    serial.serial_for_url("loop://")
    print("serialnet" in ours(), type(sys.meta_path[0]).__name__)
    """
    assert run(program).stdout.splitlines()[:2] == ["[]", "['serial']"]


def test_a_sitecustomize_that_was_there_is_imported(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.customized = __file__\n")
    result = run("import sys; print(sys.customized)", PYTHONPATH=str(tmp_path))
    assert result.stdout.strip() == str(tmp_path / "sitecustomize.py")


def test_another_serial_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "serial.py").write_text("x = 1\n")
    result = run("import serial; print(serial.x)", PYTHONPATH=str(tmp_path))
    assert (result.stdout, result.stderr) == ("1\n", "")


def test_to_look_whether_pyserial_is_there_changes_nothing() -> None:
    program = """
    import importlib.util
    assert importlib.util.find_spec("serial")
    import serial
    print("serialnet.pyserial.handlers" in serial.protocol_handler_packages)
    """
    assert run(program).stdout == "True\n"


def test_a_program_without_pyserial_is_told_as_ever(bare_python: str) -> None:
    result = run("import serial", python=bare_python)
    assert "No module named 'serial'" in result.stderr


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Python of another environment, in which nothing is installed."""
    place = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True, timeout=60)
    return str(place / ("Scripts" if sys.platform == "win32" else "bin") / "python")


def pyserial_only(directory: Path) -> str:
    """A directory to import pyserial, and nothing else, from."""
    (directory / "serial").symlink_to(Path(serial.__file__).parent)
    return str(directory)


OPEN = """
import serial, sys
with serial.serial_for_url("sim://esp32") as port:
    print(type(port).__module__)
for name in ("pytest", "hypothesis", "esptool"):
    try:
        __import__(name)
    except ImportError:
        continue
    print("leaked", name)
"""


def test_serialnet_need_not_be_installed_where_a_program_is(bare_python: str, tmp_path: Path) -> None:
    result = run(OPEN, python=bare_python, PYTHONPATH=pyserial_only(tmp_path))
    assert (result.stdout, result.stderr) == ("serialnet.pyserial._serial\n", "")


@pytest.mark.parametrize(
    ("module", "text"),
    [("anyio", "raise ImportError('no anyio')"), ("typing_extensions", "")],
    ids=["missing", "too old"],
)
def test_where_it_cannot_be_had_one_line_says_so(
    module: str, text: str, bare_python: str, tmp_path: Path
) -> None:
    (tmp_path / f"{module}.py").write_text(text)
    program = """
    import serial
    serial.serial_for_url("loop://")
    try:
        serial.serial_for_url("sim://esp32")
    except ValueError as error:
        print(error)
    """
    result = run(program, python=bare_python, PYTHONPATH=pyserial_only(tmp_path))
    assert result.stdout == "invalid URL, protocol 'sim' not known\n"
    (line,) = result.stderr.splitlines()
    assert line.startswith("serialnet: pyserial's own URL handlers are used: serialnet cannot be imported")


def test_a_python_that_is_too_old_is_told(bare_python: str, tmp_path: Path) -> None:
    program = """
    import sys
    sys.version_info = (3, 9, 2, "final", 0)
    import serial
    serial.serial_for_url("loop://")
    """
    result = run(program, python=bare_python, PYTHONPATH=pyserial_only(tmp_path))
    (line,) = result.stderr.splitlines()
    assert "serialnet needs Python 3.11" in line
