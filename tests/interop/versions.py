"""Which versions of the programs are here."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version

SBIN = "/usr/sbin:/usr/bin:/bin"

# What makes a program show its version, and maybe more.
COMMANDS: Mapping[str, str] = {
    "avrdude": "avrdude -?",
    "gensiot": "gensiot --version",
    "minicom": "minicom --version",
    "picocom": "picocom --help",
    "ser2net": "ser2net -v",
    "socat": "socat -V",
    "sredird": "sredird -h",
}
PACKAGES: Mapping[str, str] = {
    "esptool": "esptool",
    "idf-monitor": "esp-idf-monitor",
    "mpremote": "mpremote",
    "pyserial": "pyserial",
}
NUMBER = re.compile(r"\bv?(\d+\.\d+[\w.+-]*)")


def where(program: str) -> str | None:
    """Where a program is."""
    return shutil.which(program) or shutil.which(program, path=SBIN)


@cache
def installed(name: str) -> str | None:
    """The version that is installed, if any is."""
    if name in PACKAGES:
        try:
            return version(PACKAGES[name])
        except PackageNotFoundError:
            return None
    program, *arguments = COMMANDS[name].split()
    if (path := where(program)) is None:
        return None
    shown = subprocess.run(
        [path, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=10
    )
    found = NUMBER.search(shown.stdout + shown.stderr)
    return found[1] if found else None
