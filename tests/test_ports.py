"""Ports: what is listed, who holds them, what comes and goes."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from serial.tools.list_ports_common import ListPortInfo

import serialnet
from serialnet import PortAdded, PortHolder, PortInfo, PortRemoved, port_list, port_watch
from serialnet import watch_ports as watch
from serialnet.cli import main
from serialnet.port_list import find_port, holders_of, system_ports, use_source

CP2102 = PortInfo("/dev/ttyUSB0", "CP2102", 0x10C4, 0xEA60, "0001", "1-1.2")
ESP = PortInfo("/dev/ttyACM0", "USB JTAG", 0x303A, 0x1001, "84:F7", "1-1.3:1.0")


def described(device: str, **fields: object) -> ListPortInfo:
    port = ListPortInfo(device)
    for name, value in fields.items():
        setattr(port, name, value)
    return port


@pytest.fixture
def have(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    monkeypatch.setattr(port_list, "LINKS", tmp_path)

    def have(*found: ListPortInfo) -> None:
        monkeypatch.setattr(port_list, "comports", lambda: found)

    return have


def test_fields(have: Callable[..., None], tmp_path: Path) -> None:
    devices = {name: tmp_path / name for name in ("ttyUSB10", "ttyUSB9")}
    for device in devices.values():
        device.touch()
    for directory in ("by-id", "by-path"):
        (tmp_path / directory).mkdir()
    by_id = tmp_path / "by-id" / "usb-Silicon_Labs_CP2102-if00"
    by_path = [tmp_path / "by-path" / name for name in ("pci-1-port0", "pci-1-usbv2-port0")]
    for link in (by_id, *by_path):
        link.symlink_to(devices["ttyUSB9"])
    (tmp_path / "by-id" / "dangling").symlink_to(tmp_path / "gone")
    have(
        described(str(devices["ttyUSB10"]), description=None, serial_number="", product=None),
        described(
            str(devices["ttyUSB9"]),
            description="CP2102",
            vid=0x10C4,
            pid=0xEA60,
            serial_number="0001",
            location="1-1.2:1.0",
            interface="UART 0",
            manufacturer="Silicon Labs",
            product="CP2102 bridge",
        ),
    )
    with open(devices["ttyUSB10"]):
        first, second = serialnet.ports()
    assert first == PortInfo(
        str(devices["ttyUSB9"]),
        "CP2102",
        0x10C4,
        0xEA60,
        "0001",
        "1-1.2:1.0",
        "UART 0",
        "Silicon Labs",
        "CP2102 bridge",
        (str(by_id),),
        tuple(map(str, by_path)),
    )
    assert replace(second, holders=()) == PortInfo(str(devices["ttyUSB10"]))
    assert [holder.pid for holder in second.holders] == [os.getpid()]
    found = find_port(str(by_id))
    assert found is not None
    assert (found.vid, found.pid) == (0x10C4, 0xEA60)
    assert find_port("/dev/none") is None


@pytest.mark.parametrize("device", ["COM41", "com41", r"\\.\COM41"])
def test_the_usb_device_of_a_windows_port(have: Callable[..., None], device: str) -> None:
    have(described("COM41", vid=0x303A, pid=2))
    found = find_port(device)
    assert found is not None
    assert (found.vid, found.pid) == (0x303A, 2)


def test_a_device_that_goes_while_it_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """pyserial then stumbles over a file that is not there."""
    answers: list[TypeError | list[ListPortInfo]] = [
        TypeError("int() can't convert non-string with explicit base"),
        [described("/dev/ttyS0")],
    ]

    def comports() -> Sequence[ListPortInfo]:
        answer = answers.pop(0)
        if isinstance(answer, TypeError):
            raise answer
        return answer

    monkeypatch.setattr(port_list, "comports", comports)
    assert [port.url for port in system_ports()] == ["/dev/ttyS0"]


def test_holders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for pid, name, device in ((812, "ModemManager", "/dev/ttyACM0"), (9, "cat", "/dev/null"), (7, "x", "")):
        (tmp_path / str(pid) / "fd").mkdir(parents=True)
        (tmp_path / str(pid) / "comm").write_text(f"{name}\n")
        if device:
            (tmp_path / str(pid) / "fd" / "3").symlink_to(device)
    (tmp_path / "13").mkdir()  # ended meanwhile
    monkeypatch.setattr(port_list, "PROC", tmp_path)
    assert holders_of(["/dev/ttyACM0"]) == {"/dev/ttyACM0": (PortHolder("ModemManager", 812),)}
    assert str(PortHolder("ModemManager", 812)) == "ModemManager (pid 812)"


def test_another_source() -> None:
    assert serialnet.ports(lambda: [CP2102, ESP]) == [ESP, CP2102]
    with use_source(lambda: [CP2102]):
        assert serialnet.ports() == [CP2102]
        assert find_port("/dev/ttyUSB0") == CP2102
    assert CP2102 not in serialnet.ports()


async def expect(events: AsyncIterator[serialnet.PortEvent], *expected: serialnet.PortEvent) -> None:
    with anyio.fail_after(10):
        assert [await anext(events) for _ in expected] == list(expected)


async def test_watching_a_source() -> None:
    there = [CP2102]
    async with watch(lambda: there) as events:
        await expect(events, PortAdded(CP2102))
        there.append(ESP)
        await expect(events, PortAdded(ESP))
        with anyio.move_on_after(0.05):
            await anext(events)  # cancelled: nothing is lost by that
        there[:] = [replace(CP2102, serial_number="0002", by_id=("/dev/serial/by-id/x",))]
        await expect(events, PortRemoved(ESP), PortRemoved(CP2102), PortAdded(there[0]))


@pytest.mark.skipif(sys.platform != "linux", reason="uses inotify")
async def test_watching_devices(
    have: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    looks = 0

    def comports() -> list[ListPortInfo]:
        nonlocal looks
        looks += 1
        return [described(str(path), description="x") for path in tmp_path.glob("tty*")]

    have()
    monkeypatch.setattr(port_list, "comports", comports)
    monkeypatch.setattr(port_watch, "DEVICES", tmp_path)
    device = tmp_path / "ttyUSB0"
    port = PortInfo(str(device), "x")
    async with watch() as events:
        with anyio.move_on_after(0.3):
            await anext(events)
        assert looks == 1  # nothing happens, nobody looks
        device.touch()
        await expect(events, PortAdded(port))
        device.unlink()
        await expect(events, PortRemoved(port))
        device.touch()
        await expect(events, PortAdded(port))
        device.unlink()  # it resets, and is back at once
        device.touch()
        await expect(events, PortRemoved(port), PortAdded(port))
        (tmp_path / "serial" / "by-id").mkdir(parents=True)
        other = tmp_path / "ttyUSB1"
        other.touch()
        (tmp_path / "serial" / "by-id" / "usb-x").symlink_to(other)
        with anyio.fail_after(10):
            event = await anext(events)
        assert isinstance(event, PortAdded)
        assert event.port.url == str(other)


async def test_watching_without_inotify(have: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> None:
        raise OSError("no inotify here")

    monkeypatch.setattr(port_watch, "Inotify", none)
    monkeypatch.setattr(port_watch, "SYSTEM_INTERVAL", 0.01)
    have()
    async with watch() as events:
        with anyio.move_on_after(0.05):
            await anext(events)
        have(described("COM3"))
        await expect(events, PortAdded(PortInfo("COM3")))


# The command


def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    odd = replace(ESP, description="Blinkenlights \x1b[31m\u2603\n", by_id=("/dev/serial/by-id/usb-x",))
    held = replace(CP2102, holders=(PortHolder("brltty", 812),))
    with use_source(lambda: [odd, held, PortInfo("/dev/ttyS0")]):
        assert main(["ports"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["PORT", "USB", "SERIAL", "SOCKET", "HELD", "BY", "DESCRIPTION"]
    assert lines[1].split() == [
        "/dev/ttyACM0",
        "303a:1001",
        "84:F7",
        "1-1.3:1.0",
        "Blinkenlights",
        r"\x1b[31m☃\n",
    ]
    assert lines[2] == "  /dev/serial/by-id/usb-x"
    assert lines[3].split()[:2] == ["/dev/ttyS0", "-"]
    assert "brltty (pid 812)" in lines[4]
    assert lines[4].index("brltty") == lines[0].index("HELD")


def test_the_table_where_the_terminal_knows_only_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    output = io.TextIOWrapper(io.BytesIO(), "ascii")
    monkeypatch.setattr(sys, "stdout", output)
    with use_source(lambda: [replace(ESP, description="caf\u00e9")]):
        assert main(["ports"]) == 0
    output.seek(0)
    assert rb"caf\xe9" in output.buffer.read()


def test_no_ports(capsys: pytest.CaptureFixture[str]) -> None:
    with use_source(list):
        assert main(["ports"]) == 0
        assert capsys.readouterr().out == "no serial port is plugged in\n"
        assert main(["ports", "--json"]) == 0
        assert capsys.readouterr().out == ""


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    odd = replace(ESP, product="\x07\u2603", holders=(PortHolder("x", 1),), by_id=("/dev/serial/by-id/y",))
    with use_source(lambda: [odd]):
        assert main(["ports", "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.isascii()
    assert json.loads(line) == {
        "url": "/dev/ttyACM0",
        "description": "USB JTAG",
        "vid": 0x303A,
        "pid": 0x1001,
        "serial_number": "84:F7",
        "location": "1-1.3:1.0",
        "interface": None,
        "manufacturer": None,
        "product": "\x07\u2603",
        "by_id": ["/dev/serial/by-id/y"],
        "by_path": [],
        "holders": [{"name": "x", "pid": 1}],
    }


@pytest.mark.parametrize("arguments", [["--watch"], ["--watch", "--json"]])
def test_watching(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    steps = [[CP2102], [CP2102, ESP], [ESP]]

    def source() -> list[PortInfo]:
        if not steps:
            raise KeyboardInterrupt
        return steps.pop(0)

    with use_source(source):
        assert main(["ports", *arguments]) == 130
    lines = capsys.readouterr().out.splitlines()
    if "--json" in arguments:
        told = [(event["event"], event["url"]) for event in map(json.loads, lines)]
    else:
        told = [(line.split()[0], line.split()[1]) for line in lines]
    assert told == [("added", CP2102.url), ("added", ESP.url), ("removed", CP2102.url)]
