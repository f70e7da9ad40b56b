"""``usb://``: the device that is meant, wherever it shows up."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import serialnet
from serialnet import EndpointError, MassStorageError, OpenError, PortInfo, TransportAttribute
from serialnet.core.endpoint import Endpoint
from serialnet.core.opening import check
from serialnet.port_list import use_source
from serialnet.transports import usb

ESP = "n/a", 0x303A, 0x0002


@pytest.fixture
def device() -> Iterator[str]:
    """A PTY, which opens like a device."""
    master, slave = os.openpty()
    yield os.ttyname(slave)
    os.close(slave)
    os.close(master)


def listing(device: str) -> list[PortInfo]:
    return [
        PortInfo("/dev/ttyS0"),
        PortInfo(device, *ESP, "A", "1-1.2:1.0", "console"),
        PortInfo("/dev/other0", *ESP, "B", "1-1.3"),
        PortInfo("/dev/other1", vid=0x10C4, pid=0xEA60, location="1-1.20"),
    ]


@pytest.mark.parametrize(
    "url",
    [
        "usb://303a:0002?serial=A",
        "usb://303A:2?location=1-1.2",
        "usb://303a?location=1-1.2:1.0",
        "usb://?serial=A",
        "usb://303a?interface=console",
    ],
)
async def test_the_one_that_fits_is_opened(url: str, device: str) -> None:
    with use_source(lambda: listing(device)):
        async with serialnet.connect(url) as port:
            assert port.extra(TransportAttribute.url) == device
            assert port.extra(TransportAttribute.usb) == (0x303A, 2)
            assert port.extra(TransportAttribute.location) == "1-1.2:1.0"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("usb://303a", r"fits several: /dev/other0 .*serial=A location=1-1.2:1.0\); add serial="),
        (
            "usb://1234:5678",
            "no such device is plugged in; plugged in: .*/dev/other1 .10c4:ea60 location=1-1.20",
        ),
        ("usb://?location=1-1", "no such device"),
    ],
)
async def test_none_or_several(url: str, message: str) -> None:
    with use_source(lambda: listing("/dev/pts/none")), pytest.raises(OpenError, match=message):
        await serialnet.connect(url)


@pytest.mark.parametrize("url", ["usb://", "usb://xyz", "usb://303a:00002", "usb://303a/x", "usb://303a:1:2"])
async def test_what_names_no_device(url: str) -> None:
    with pytest.raises(EndpointError, match="usb://VENDOR:PRODUCT"):
        await serialnet.connect(url)


async def test_nothing_listens_there() -> None:
    with pytest.raises(EndpointError, match="cannot listen"):
        await serialnet.listen("usb://303a")


@pytest.mark.parametrize("url", ["usb://10c4:ea60", "usb://303a:0002?location=1-1.2", "usb:?serial=a+b"])
def test_urls(url: str) -> None:
    assert str(check(url)) == url
    assert Endpoint.parse(url).port is None


async def test_a_board_that_is_a_disk_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usb, "SYSFS", tmp_path)
    interface = tmp_path / "1-1.2:1.0"
    interface.mkdir()
    (interface / "bInterfaceClass").write_text("08\n")
    with use_source(list), pytest.raises(MassStorageError, match="as mass storage only"):
        await serialnet.connect("usb://?location=1-1.2")
    # One that is about to be a serial port, too.
    serial = tmp_path / "1-1.2:1.1"
    serial.mkdir()
    (serial / "bInterfaceClass").write_text("02\n")
    with use_source(list), pytest.raises(OpenError, match="no such device"):
        await serialnet.connect("usb://?location=1-1.2")
