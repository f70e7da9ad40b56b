"""A device of this machine, as it looks from outside: nothing is opened."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ..port_list import LINKS, PROC, find_port, holders_of
from ..transports._failures import cannot_open
from ._finding import Finding, Verdict

__all__ = ["examine_device", "is_pty", "not_opened"]

TTYS = Path("/sys/class/tty")
UDEV = Path("/run/udev/data")
IGNORED = {"E:ID_MM_DEVICE_IGNORE=1", "E:ID_MM_PORT_IGNORE=1"}


def is_pty(path: str) -> bool:
    """Whether it is a pseudo-terminal, which has no lines that opening could change."""
    return os.path.realpath(path).startswith("/dev/pts/")


def not_opened(path: str) -> Finding:
    """Say why no line was looked at."""
    text = f"{path} was not opened: that raises DTR and RTS, which may restart a board"
    return Finding("opening", Verdict.NOTE, text)


def examine_device(path: str) -> list[Finding]:
    """Look at a device; it reads files, so on an event loop it is to be called in a thread."""
    if problem := _not_there(path):
        return [problem, *_dangling_links()]
    findings = [Finding("device", Verdict.OK, _described(path)), _permission(path), _holders(path)]
    if not is_pty(path):
        running = _running()
        findings += _modem_manager(path, running)
        findings += _brltty(running)
    return [*findings, *_dangling_links()]


def _not_there(path: str) -> Finding | None:
    try:
        found = os.stat(path)
    except OSError as error:
        text = str(cannot_open(path, error.errno, error.strerror or str(error)))
        if os.path.islink(path):
            text = f"{path} leads to {os.path.realpath(path)}, which is not there"
        advice = "plug it in, or see with 'serialnet ports' what is there; a container needs to be given it"
        return Finding("device", Verdict.PROBLEM, text, advice)
    if stat.S_ISCHR(found.st_mode) and (is_pty(path) or _is_known_as_tty(path)):
        return None
    return Finding(
        "device", Verdict.PROBLEM, str(cannot_open(path, errno.ENOTTY, "")), "give the path of a serial port"
    )


def _is_known_as_tty(path: str) -> bool:
    """Whether the system lists it as one; it does not ask it, for that it would have to be open."""
    return not TTYS.is_dir() or (TTYS / os.path.basename(os.path.realpath(path))).exists()


def _described(path: str) -> str:
    port = find_port(path)
    if port is None:
        return f"{path} is there"
    usb = f" ({port.vid:04x}:{port.pid:04x})" if port.vid is not None and port.pid is not None else ""
    return f"{path} is there: {port.description}{usb}"


def _permission(path: str) -> Finding:
    if os.access(path, os.R_OK | os.W_OK):
        return Finding("permission", Verdict.OK, "this user may read and write it")
    text, _, advice = str(cannot_open(path, errno.EACCES, "")).partition("; ")
    return Finding("permission", Verdict.PROBLEM, text, advice or "let this user read and write it")


def _holders(path: str) -> Finding:
    device = os.path.realpath(path)
    holders = holders_of([device]).get(device, ())
    if not holders:
        return Finding("holders", Verdict.OK, "nobody is seen to have it open")
    text = f"{path} is in use by {', '.join(map(str, holders))}"
    return Finding(
        "holders", Verdict.PROBLEM, text, "end that program, or let 'serialnet serve' share the port"
    )


def _modem_manager(path: str, running: set[str]) -> Iterator[Finding]:
    port = find_port(path)
    if "ModemManager" not in running or port is None or port.vid is None or port.pid is None:
        return  # unasked, it takes USB devices only
    if _udev_properties(path) & IGNORED:
        yield Finding("modemmanager", Verdict.OK, "ModemManager is running, and leaves this device alone")
        return
    device = f'ATTRS{{idVendor}}=="{port.vid:04x}", ATTRS{{idProduct}}=="{port.pid:04x}"'
    yield Finding(
        "modemmanager",
        Verdict.PROBLEM,
        "ModemManager is running: it opens new ports, and sends AT commands to what may be a modem",
        f"""put the line  {device}, ENV{{ID_MM_DEVICE_IGNORE}}="1"  into """
        "/etc/udev/rules.d/99-serialnet.rules, run 'udevadm control --reload', plug the device in again",
    )


def _brltty(running: set[str]) -> Iterator[Finding]:
    if "brltty" in running:
        yield Finding(
            "brltty",
            Verdict.PROBLEM,
            "brltty is running: it takes USB adapters with the chips that braille displays use, too",
            "unless you use a braille display, remove the package brltty",
        )


def _dangling_links() -> Iterator[Finding]:
    for directory in ("by-id", "by-path"):
        links = [link for link in _entries(LINKS / directory) if not link.exists()]
        if links:
            yield Finding(
                "links",
                Verdict.NOTE,
                f"these lead nowhere: {', '.join(map(str, links))}",
                "give a container the devices as well as the links; elsewhere, plug the devices in again",
            )


def _running() -> set[str]:
    """What the processes of this machine call themselves, as far as /proc tells."""
    names = set()
    for process in PROC.glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            names.add((process / "comm").read_text(errors="replace").strip())
    return names


def _udev_properties(path: str) -> set[str]:
    try:
        number = os.stat(path).st_rdev
        return set((UDEV / f"c{os.major(number)}:{os.minor(number)}").read_text(errors="replace").split("\n"))
    except OSError:
        return set()


def _entries(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except OSError:
        return []
