"""What goes wrong with a device, in words; no termios here, for Windows has none."""

from __future__ import annotations

import errno
import os

import anyio

from ..core.errors import OpenError, PortBusyError
from ..port_list import holders_of

__all__ = ["GONE", "UNSUPPORTED", "cannot_open", "gone"]

# What every call says once the device was unplugged.
GONE = frozenset({errno.EIO, errno.ENODEV, errno.ENXIO})

# A driver that does not know a request says one of these.
UNSUPPORTED = frozenset({errno.ENOTTY, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS})


def gone(error: OSError | None = None) -> anyio.BrokenResourceError:
    """What reading, writing and controlling raise alike when the device was unplugged."""
    return anyio.BrokenResourceError(f"the device has gone{f': {error.strerror}' if error else ''}")


def cannot_open(path: str, code: int | None, text: str) -> OpenError:
    """Why a device could not be opened.

    :param text: what the system says, for what we know no better words
    """
    if code in (errno.EBUSY, errno.EWOULDBLOCK):
        device = os.path.realpath(path)
        holders = ", ".join(map(str, holders_of([device]).get(device, ())))
        return PortBusyError(errno.EBUSY, f"{path} is in use{f' by {holders}' if holders else ''}")
    if code in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        text = "there is no such device"
    elif code in (errno.EACCES, errno.EPERM):
        text = f"no permission{_group_hint(path)}"
    elif code in (errno.ENOTTY, errno.EINVAL, errno.EISDIR):
        text = "this is not a serial port"
    elif code == errno.EIO:
        text = "there is no hardware behind this name, or it has just gone"
    return OpenError(code, f"cannot open {path}: {text}")


def _group_hint(path: str) -> str:
    try:
        from grp import getgrgid  # not on Windows

        status = os.stat(path)
        if not status.st_gid or status.st_mode & 0o060 != 0o060:  # its members may not use it, either
            return ""
        group = getgrgid(status.st_gid).gr_name
    except (ImportError, OSError, KeyError):
        return ""
    return f"; it belongs to the group {group}: become a member (usermod -aG {group} ...) and log in again"
