"""Devices of this machine, with everything around them made up: nothing of it is opened."""

from __future__ import annotations

import os
import pty
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from serialnet.doctor import Verdict, _device, _examine, examine
from serialnet.port_list import PortInfo, use_source
from serialnet.transports import _failures

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs POSIX")


@dataclass
class System:
    """The files that tell about a device, which is a pseudo-terminal by another name."""

    root: Path
    device: str

    def runs(self, name: str) -> None:
        process = self.root / "proc" / "4711"
        (process / "fd").mkdir(parents=True)
        (process / "comm").write_text(f"{name}\n")

    def udev_says(self, text: str) -> None:
        number = os.stat(self.device).st_rdev
        (self.root / f"c{os.major(number)}:{os.minor(number)}").write_text(text)


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[System]:
    master, slave = pty.openpty()
    system = System(tmp_path, os.ttyname(slave))
    os.close(slave)
    for name, place in (("PROC", "proc"), ("LINKS", "serial"), ("UDEV", ""), ("TTYS", "none")):
        monkeypatch.setattr(_device, name, tmp_path / place)
    for module in (_device, _examine):
        monkeypatch.setattr(module, "is_pty", lambda path: False)
    port = PortInfo(system.device, "A board", 0x303A, 0x1001)
    with use_source(lambda: [port]):
        yield system
    os.close(master)


async def verdicts(system: System, url: str | None = None) -> dict[str, tuple[Verdict, str, str]]:
    return {
        finding.check: (finding.verdict, finding.text, finding.advice)
        for finding in await examine(url or system.device)
    }


async def test_a_device_is_not_opened(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "open", None)
    found = await verdicts(system)
    assert {check: verdict for check, (verdict, _, _) in found.items()} == {
        "device": Verdict.OK,
        "permission": Verdict.OK,
        "holders": Verdict.OK,
        "opening": Verdict.NOTE,
    }
    assert "A board (303a:1001)" in found["device"][1]
    assert "raises DTR and RTS" in found["opening"][1]
    assert await verdicts(system, "usb://303a") == found


async def test_no_permission(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    hint = "; it belongs to the group dialout: become a member"
    for given, advised in ((hint, hint[2:]), ("", "let this user read and write it")):
        monkeypatch.setattr(_failures, "_group_hint", lambda path, given=given: given)
        verdict, text, advice = (await verdicts(system))["permission"]
        assert verdict is Verdict.PROBLEM
        assert text.endswith("no permission")
        assert advice == advised


async def test_modem_manager(system: System) -> None:
    system.runs("ModemManager")
    verdict, _, advice = (await verdicts(system))["modemmanager"]
    assert verdict is Verdict.PROBLEM
    assert 'ATTRS{idVendor}=="303a", ATTRS{idProduct}=="1001", ENV{ID_MM_DEVICE_IGNORE}="1"' in advice
    system.udev_says("E:ID_MM_DEVICE_IGNORE=1\n")
    assert (await verdicts(system))["modemmanager"][0] is Verdict.OK


async def test_modem_manager_leaves_what_is_not_on_usb(system: System) -> None:
    system.runs("ModemManager")
    with use_source(lambda: [PortInfo(system.device)]):
        assert "modemmanager" not in await verdicts(system)


async def test_brltty(system: System) -> None:
    system.runs("brltty")
    verdict, _, advice = (await verdicts(system))["brltty"]
    assert verdict is Verdict.PROBLEM
    assert "remove the package brltty" in advice


async def test_dangling_links(system: System) -> None:
    links = system.root / "serial" / "by-id"
    links.mkdir(parents=True)
    (links / "usb-here").symlink_to(system.device)
    assert "links" not in await verdicts(system)
    (links / "usb-gone").symlink_to("/dev/ttyNOWHERE")
    verdict, text, _ = (await verdicts(system))["links"]
    assert verdict is Verdict.NOTE
    assert text.endswith("usb-gone")


async def test_what_the_system_does_not_list_is_no_serial_port(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_device, "TTYS", system.root)
    verdict, text, _ = (await verdicts(system, "/dev/null"))["device"]
    assert verdict is Verdict.PROBLEM
    assert "not a serial port" in text
