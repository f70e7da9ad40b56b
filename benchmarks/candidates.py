"""The relays that are compared: ours and the peers."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from .processes import Process, start

__all__ = ["Candidate", "program", "running"]

ENVIRONMENT_PATHS = "/usr/sbin:/usr/local/sbin:/sbin"

HAPROXY_CONFIGURATION = """\
global
    nbthread 1
    maxconn 3000
defaults
    mode tcp
    option splice-auto
    timeout connect 10s
    timeout client 1h
    timeout server 1h
listen relay
    bind 127.0.0.1:{port}
    server far 127.0.0.1:{far}
"""

SER2NET_CONFIGURATION = """\
connection: &port
  accepter: telnet(rfc2217),tcp,127.0.0.1,{port}
  connector: serialdev,{far},115200n81,local
  options:
    chardelay: false
"""


@dataclass(frozen=True)
class Candidate:
    """One candidate.

    :param name: as the tables have it
    :param command: what to run; ``{far}`` is where it shall connect (a port, or a device), ``{port}`` where
        it shall listen, ``{file}`` its configuration. Without ``{port}`` it chooses one, and prints it.
    :param needs: the program or module that may be absent
    :param telnet: whether clients speak RFC 2217 to it
    """

    name: str
    command: tuple[str, ...]
    needs: str | None = None
    configuration: str = ""
    telnet: bool = False

    def missing(self) -> str | None:
        """Say why it cannot run here, if it cannot."""
        if self.needs is None or program(self.needs) or _module(self.needs):
            return None
        return f"{self.needs} is not installed"


def program(name: str) -> str | None:
    """Find a program, also a server that is in no user's path."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:{ENVIRONMENT_PATHS}")


def _module(name: str) -> bool:
    return name in ("trio", "uvloop", "esptool") and find_spec(name) is not None


def _python(module: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module, *arguments)


def _embedded(name: str, *arguments: str, needs: str | None = None) -> Candidate:
    return Candidate(name, _python("benchmarks.programs.relay", "{far}", *arguments), needs)


DIRECT = Candidate("no relay", ())

LINK = Candidate(
    "serialnet", _python("serialnet", "link", "listen:tcp://127.0.0.1:0", "tcp://127.0.0.1:{far}")
)
UVLOOP = _embedded("serialnet on uvloop", "--loop", "uvloop", needs="uvloop")
TRIO = _embedded("serialnet on trio", "--loop", "trio", needs="trio")
TAPPED = _embedded("serialnet, tapped", "--tap")
BUSY = _embedded("serialnet, loop 90 % busy", "--busy")
BUSY_IN_C = _embedded("serialnet, loop 90 % busy in C", "--busy-in-c")
HALF_BUSY = _embedded("serialnet, loop half busy", "--half-busy")
IDLE = _embedded("serialnet, loop idle")
APART_IDLE = _embedded("serialnet link beside an idle loop", "--apart")
APART_BUSY = _embedded("serialnet link beside a loop 90 % busy", "--apart", "--busy")

STREAMS = Candidate("asyncio streams", _python("benchmarks.programs.streams", "{far}"))
STREAMS_IDLE = Candidate("asyncio streams, loop idle", STREAMS.command)
STREAMS_BUSY = Candidate("asyncio streams, loop 90 % busy", (*STREAMS.command, "--busy"))
SOCAT = Candidate(
    "socat",
    ("socat", "TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,nodelay", "TCP:127.0.0.1:{far},nodelay"),
    "socat",
)
SOCAT_FORK = Candidate(
    "socat, fork",
    ("socat", "TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,nodelay,fork", "TCP:127.0.0.1:{far},nodelay"),
    "socat",
)
HAPROXY = Candidate("haproxy", ("haproxy", "-db", "-f", "{file}"), "haproxy", HAPROXY_CONFIGURATION)

SERVE_RAW = Candidate("serialnet", _python("serialnet", "serve", "{far}", "--listen", "tcp://127.0.0.1:0"))
SOCAT_PTY = Candidate(
    "socat",
    ("socat", "TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,nodelay", "FILE:{far},b115200,rawer"),
    "socat",
)
SERVE = Candidate(
    "serialnet", _python("serialnet", "serve", "{far}", "--listen", "rfc2217://127.0.0.1:0"), telnet=True
)
SER2NET = Candidate(
    "ser2net", ("ser2net", "-n", "-u", "-c", "{file}"), "ser2net", SER2NET_CONFIGURATION, telnet=True
)
"""``-n``: in the foreground; ``-u``: no lock files."""


def _client(name: str, face: str, url: str) -> Candidate:
    return Candidate(name, _python("benchmarks.programs.client", face, url))


RFC2217_CLIENT = _client("serialnet, rfc2217://", "serialnet", "rfc2217://127.0.0.1:{rfc2217}")
TCP_CLIENT = _client("serialnet, tcp://", "serialnet", "tcp://127.0.0.1:{tcp}")
SOCKET_CLIENT = _client("a bare socket", "socket", "tcp://127.0.0.1:{tcp}")
PYSERIAL_CLIENT = _client("pyserial, rfc2217://", "pyserial", "rfc2217://127.0.0.1:{rfc2217}")


@contextmanager
def running(relay: Candidate, far: str, cpu: int | None = None) -> Iterator[tuple[Process, int]]:
    """Run a relay, and say at which port it listens."""
    with tempfile.TemporaryDirectory(prefix="serialnet-benchmarks-") as directory:
        file = Path(directory) / "configuration.yaml"  # ser2net goes by the ending
        chooses = not any("{port}" in text for text in (*relay.command, relay.configuration))
        names = {"far": far, "port": "0" if chooses else str(_free_port()), "file": str(file)}
        file.write_text(relay.configuration.format(**names))
        command = [word.format(**names) for word in relay.command]
        command[0] = program(command[0]) or command[0]
        with start(command, cpu) as process:
            port = process.ports()[0] if chooses else int(names["port"])
            yield process, port


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
