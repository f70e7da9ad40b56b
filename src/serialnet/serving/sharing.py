"""Who may use a shared port, and how: frozen values, and what URLs say about it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TypeVar

from ..core.endpoint import Endpoint
from ..core.options import Size, names_of, option, parse_options

__all__ = ["SHARING", "DoorOptions", "LogOptions", "NextWriter", "Role", "Sharing", "SlowWatcher", "split"]

T = TypeVar("T")


class Role(Enum):
    """What who comes in at a listener may do."""

    WRITE = "write"
    """Use the port: send and receive, and ask for changes of the line. One client at a time does."""

    WATCH = "watch"
    """See all that the port says. What it sends is thrown away."""

    BORROW = "borrow"
    """Use the port for a while, as a flasher does: a writer is suspended meanwhile, and gets it back."""


class NextWriter(Enum):
    """What becomes of a client that wants to write while another does."""

    REFUSE = "refuse"
    """It is turned away."""

    WAIT = "wait"
    """It waits for its turn."""

    TAKE_OVER = "take-over"
    """It gets the port; the other is told so, and disconnected."""

    BORROW = "borrow"
    """It gets the port until it leaves; the other is suspended meanwhile."""


class SlowWatcher(Enum):
    """What becomes of a watcher whose buffer is full."""

    LOSE = "lose"
    """It loses the oldest bytes, which are counted."""

    DROP = "drop"
    """It is disconnected."""


@dataclass(frozen=True, slots=True)
class Sharing:
    """How several clients share a port: one writes, others watch.

    :param next_writer: see :class:`NextWriter`
    :param most_waiting: how many may wait for their turn; who comes beyond that is refused
    :param wait: seconds for which one waits at most
    :param most_watchers: how many may watch; who comes beyond that is refused
    :param slow_watcher: see :class:`SlowWatcher`
    :param buffer: bytes that wait for a watcher at most, in each case
    :param patience: seconds for which a writer that takes nothing may hold the port back while others watch;
        then it is disconnected
    :raises ValueError: if one of the numbers is negative, or the buffer has no room
    """

    next_writer: NextWriter = NextWriter.REFUSE
    most_waiting: int = 8
    wait: float = 3600.0
    most_watchers: int = 63
    slow_watcher: SlowWatcher = SlowWatcher.LOSE
    buffer: int = 65536
    patience: float = 10.0

    def __post_init__(self) -> None:
        for name in ("most_waiting", "wait", "most_watchers", "patience"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more, not {getattr(self, name)}")
        if self.buffer < 1:
            raise ValueError(f"buffer must be 1 or more, not {self.buffer}")


SHARING = Sharing()


@dataclass(frozen=True, slots=True)
class DoorOptions:
    """The options that ``serve`` knows of a listener."""

    role: Role = option(Role.WRITE, "what who comes in here may do")
    replay: Size = option(Size(0), "how much of what the port said before a client gets first")


@dataclass(frozen=True, slots=True)
class LogOptions:
    """The options that ``serve`` knows of the port."""

    log: str = option("", "a file to which all goes that the port says")
    log_size: Size = option(Size("1m"), "how long the file may become until the next is begun")
    log_files: int = option(5, "how many files are kept, FILE, FILE.1 ...")

    def __post_init__(self) -> None:
        for name in ("log_size", "log_files"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, not {getattr(self, name)}")


def split(endpoint: Endpoint, options: type[T]) -> tuple[Endpoint, T]:
    """Take ``serve``'s own options out of a URL; what is left goes to the scheme.

    :raises EndpointError: for a value that does not fit
    """
    names = names_of(options)
    own = {name: value for name, value in endpoint.options.items() if name in names}
    others = {name: value for name, value in endpoint.options.items() if name not in names}
    return replace(endpoint, options=others), parse_options(options, own, "serve")
