"""What esptool is told of the time that answers take."""

from __future__ import annotations

from pathlib import Path

import pytest

from serialnet.pyserial._esptool import port_named, settings


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where esptool looks for its settings; there are none."""
    home, here = tmp_path / "home", tmp_path / "here"
    home.mkdir()
    here.mkdir()
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(home))
    monkeypatch.delenv("ESPTOOL_CFGFILE", raising=False)
    monkeypatch.chdir(here)
    return home


def told(round_trip: float = 0.3) -> dict[str, str]:
    return dict(settings(round_trip)["esptool"])


@pytest.mark.usefixtures("home")
def test_each_limit_has_room_for_the_way() -> None:
    assert told() == {"sync_timeout": "0.70", "mem_end_rom_timeout": "0.80", "timeout": "3.60"}


def test_what_the_user_says_stays(home: Path) -> None:
    (home / "setup.cfg").write_text(
        "[flake8]\nformat = %(path)s\n[esptool]\nSync_Timeout = 9\nreset_delay = 1\n"
    )
    found = settings(0.3)
    assert found["flake8"]["format"] == "%(path)s"
    assert dict(found["esptool"]) == {
        "sync_timeout": "9",
        "reset_delay": "1",
        "mem_end_rom_timeout": "0.80",
        "timeout": "3.60",
    }


def test_it_is_looked_for_where_esptool_looks(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def save(path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    for number, path in enumerate(
        [
            home / "esptool.cfg",
            home / ".config" / "esptool" / "tox.ini",
            Path("setup.cfg"),
            Path("esptool.cfg"),
        ]
    ):
        save(path, f"[esptool]\ntimeout = {number}\n")
        assert told()["timeout"] == str(number)
    save(home / "mine.cfg", "[esptool]\ntimeout = 9\n")
    monkeypatch.setenv("ESPTOOL_CFGFILE", str(home / "mine.cfg"))
    assert told()["timeout"] == "9"


@pytest.mark.parametrize("text", ["[flake8]\n", "timeout = 1\n", "[esptool\n", "\xff"])
def test_a_file_that_is_none_is_passed_over(text: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "esptool.cfg").write_text("[esptool]\ntimeout = 9\n")
    Path("esptool.cfg").write_text(text, encoding="latin-1")
    assert told()["timeout"] == "9"
    monkeypatch.setenv("ESPTOOL_CFGFILE", str(home / "nowhere"))
    assert told()["timeout"] == "9"


@pytest.mark.parametrize(
    ("arguments", "environment", "port"),
    [
        ("--chip esp32 --port a://b flash-id", {}, "a://b"),
        ("--port=a://b flash-id", {}, "a://b"),
        ("-p a://b -b 921600 write-flash -fm dio 0 x.bin", {}, "a://b"),
        ("-pa://b flash-id", {}, "a://b"),
        ("flash-id", {"ESPTOOL_PORT": "a://b"}, "a://b"),
        ("--port c://d flash-id", {"ESPTOOL_PORT": "a://b"}, "c://d"),
        ("flash-id", {}, None),
        ("flash-id --port", {}, None),
        ("elf2image x.elf", {"ESPTOOL_PORT": "a://b"}, None),
        ("image_info x.bin", {"ESPTOOL_PORT": "a://b"}, None),
        ("--help", {"ESPTOOL_PORT": "a://b"}, None),
    ],
)
def test_the_port_is_the_one_that_esptool_will_open(
    arguments: str, environment: dict[str, str], port: str | None
) -> None:
    assert port_named(arguments.split(), environment) == port
