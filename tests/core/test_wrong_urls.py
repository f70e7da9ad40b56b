"""A hundred wrong URLs: each is refused before anything is opened, and told what was expected."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NoReturn

import pytest

import serialnet
from serialnet import EndpointError

LONG = "x" * 200

TO_CONNECT = [
    # no URL at all
    ("", "expected a URL or a device, such as"),
    (" ", "expected a URL or a device, such as"),
    ("4000", "did you mean ':4000'"),
    ("localhost", "expected something like /dev/ttyUSB0"),
    ("localhost:4000", "did you mean 'rfc2217://localhost:4000'"),
    ("192.0.2.1:4000", "did you mean 'rfc2217://192.0.2.1:4000'"),
    ("[::1]:4000", "did you mean 'rfc2217://[::1]:4000'"),
    ("ttyUSB0", "did you mean '/dev/ttyUSB0'"),
    ("./ttyUSB0", "a device is written with its whole path"),
    ("../dev/ttyUSB0", "a device is written with its whole path"),
    ("C:\\COM3", "expected something like"),
    ("://host:4000", "expected something like"),
    ("+tcp://host:1", "expected something like"),
    ("tcp+://host:1", "expected something like"),
    ("1tcp://host:1", "expected something like"),
    ("t_cp://host:1", "expected something like"),
    ("tcp://host:1\x00", "no control characters"),
    ("tcp://ho\nst:1", "no control characters"),
    # schemes
    ("http://host:1", "no transport 'http'; expected one of: "),
    ("telnet://host:23", "no transport 'telnet'; expected one of: "),
    ("tpc://host:1", "no transport 'tpc'; expected one of: "),
    ("rfc2217+nonsense://host", "no transport 'nonsense'; expected one of: "),
    ("nonsense+tcp://host:1", "no transport 'nonsense'; expected one of: "),
    ("tcp+rfc2217://host:1", "'tcp' is no layer"),
    ("tcp+tcp://host:1", "'tcp' is no layer"),
    ("exec+tcp://host:1", "'exec' is no layer"),
    ("ssh+tcp://host:1", "'ssh' is no layer"),
    ("rfc2217+rfc2217://host:1", "'rfc2217' is a layer; expected 'rfc2217+STREAM://"),
    ("rfc2217+rfc2217+tcp://host:1", "its layers share the option"),
    ("rfc2217+ssh://host/dev/x", "its layers share the option"),
    ("rfc2217+serial:///dev/x", "its layers share the option"),
    ("listen:tcp://127.0.0.1:1", "'listen:' stands only before an end of a link"),
    ("listen:", "expected a URL or a device, such as"),
    ("listen:nonsense", "expected something like"),
    # the parts of all URLs
    ("tcp:host:1", "expected '//' after 'tcp:'"),
    ("tcp:/host:1", "expected '//' after 'tcp:'"),
    ("unix:/run/x", "expected '//' after 'unix:'"),
    ("tcp://host:1#x", "no '#'"),
    ("tcp://host:1?=x", "an option needs a name, as in '?baudrate=115200'"),
    ("tcp://host:1?&", "an option needs a name, as in '?baudrate=115200'"),
    ("tcp://host:1?a&a", "'a' stands there twice"),
    ("tcp://host:1?a=1&%61=2", "'a' stands there twice"),
    ("tcp://user:secret@host:1", "expected USER@HOST"),
    ("tcp://a@b@host:1", "expected USER@HOST"),
    ("tcp://@host:1", "expected USER@HOST"),
    # tcp
    ("tcp:", "expected tcp://HOST:PORT"),
    ("tcp://", "expected tcp://HOST:PORT"),
    ("tcp://host", "expected tcp://HOST:PORT"),
    ("tcp://host:", "expected HOST:PORT"),
    ("tcp://host:port", "a port is a number from 0 to 65535"),
    ("tcp://host:-1", "a port is a number from 0 to 65535"),
    ("tcp://host:65536", "a port is a number from 0 to 65535, not 65536"),
    ("tcp://host:1/path", "expected nothing after the port, not '/path'"),
    ("tcp://:1", "expected a host and a port"),
    ("tcp://host:0", "expected a host and a port to connect to"),
    ("tcp://::1:1", "expected HOST:PORT ('[::1:1]:PORT')"),
    ("tcp://[::1", "expected HOST:PORT"),
    ("tcp://user@host:1", "expected HOST:PORT without a user"),
    ("tcp://host:1?baudrate=9600", "no option 'baudrate'; expected: connect_timeout"),
    ("tcp://host:1?connect_timeout=soon", "must be a number, not 'soon'"),
    ("tcp://host:1?connect_timeout", "must be a number, not ''"),
    # rfc2217
    ("rfc2217:", "expected rfc2217://HOST:PORT"),
    ("rfc2217://host", "expected rfc2217://HOST:PORT"),
    ("rfc2217://host:4000/dev/ttyUSB0", "expected nothing after the port"),
    ("rfc2217://host:4000?baud=9600", "no option 'baud'; expected: baudrate"),
    (":4000?speed=9600", "no option 'speed'; expected: baudrate"),
    (":70000", "a port is a number from 0 to 65535"),
    ("rfc2217://host:4000?baudrate=fast", "must be a whole number, not 'fast'"),
    ("rfc2217://host:4000?timeout=nan", "must be a number, not 'nan'"),
    ("rfc2217+unix://run/x.sock", "expected unix:///PATH"),
    # the line, wherever it is
    ("/dev/ttyUSB0?baudrate=0", "baud"),
    ("/dev/ttyUSB0?baudrate=-9600", "baud"),
    ("/dev/ttyUSB0?bytesize=9", "5"),
    ("/dev/ttyUSB0?parity=X", "none or odd|N or"),
    ("/dev/ttyUSB0?stopbits=3", "must be 1 or"),
    ("/dev/ttyUSB0?rtscts=perhaps", "must be on or off, not 'perhaps'"),
    ("/dev/ttyUSB0?rtscts&xonxoff", "rtscts and xonxoff exclude each other"),
    ("loop:?dtr=2", "must be on or off, not '2'"),
    # serial
    ("serial:", "expected a device"),
    ("serial://", "expected a device"),
    ("serial://ttyUSB0", "expected a device, as /dev/ttyUSB0"),
    ("serial://dev/ttyUSB0", "expected a device, as /dev/ttyUSB0"),
    ("serial://user@/dev/ttyUSB0", "expected a device, as /dev/ttyUSB0"),
    ("/dev/ttyUSB0?baudrat=9600", "no option 'baudrat'; expected: baudrate"),
    # sim and loop
    ("sim:", "chip must be one of esp32, "),
    ("sim://z80", "esp32"),
    ("sim://esp32:1", "expected sim://CHIP and nothing behind it"),
    ("sim://esp32/x", "expected sim://CHIP and nothing behind it"),
    ("sim://user@esp32", "expected sim://CHIP and nothing behind it"),
    ("loop://x", "expected loop: and nothing behind it"),
    ("loop:///x", "expected loop: and nothing behind it"),
    ("loop:?baud=1", "no option 'baud'; expected: baudrate"),
    # unix
    ("unix:", "expected unix:///PATH"),
    ("unix://", "expected unix:///PATH"),
    ("unix://run/x.sock", "expected unix:///PATH, as unix:///run/board.sock"),
    ("unix://user@/x.sock", "expected unix:///PATH"),
    ("unix:///x%00y", "expected a path without a byte 0"),
    (f"unix:///{LONG}", "bytes at most, not of 201"),
    ("unix:///x?mode=rw", "mode must be three octal digits, as 660, not 'rw'"),
    ("unix:///x?mode=660", "'mode' is for listening"),
    # stdio
    ("stdio://x", "expected stdio: and nothing behind it"),
    ("stdio:///x", "expected stdio: and nothing behind it"),
    ("stdio:x", "expected '//' after 'stdio:'"),
    ("stdio:?baudrate=1", "no option 'baudrate'; expected: none"),
    # exec
    ("exec:", "expected exec:COMMAND"),
    ("exec: ", "expected exec:COMMAND"),
    ("exec:''", "expected exec:COMMAND"),
    ("exec:echo 'x", "expected a command, split as a shell does: no closing quotation"),
    ("exec:?baudrate=1 cat", "no option 'baudrate'; expected: none"),
    ("rfc2217+exec:?baud=1 cat", "no option 'baud'; expected: baudrate"),
    ("rfc2217+exec:?baudrate=1", "expected exec:COMMAND"),
    # ssh
    ("ssh:", "expected ssh://HOST/DEVICE, as ssh://pi@lab/dev/ttyUSB0"),
    ("ssh:pi", "expected '//' after 'ssh:'"),
    ("ssh:///dev/ttyUSB0", "expected ssh://HOST/DEVICE"),
    ("ssh://user@/dev/ttyUSB0", "expected ssh://HOST/DEVICE"),
    ("ssh://pi:dev/ttyUSB0", "a port is a number from 0 to 65535"),
    ("ssh://pi:secret@lab/dev/ttyUSB0", "expected USER@HOST"),
    ("ssh://-oProxyCommand=reboot/dev/x", "a host that does not begin with '-'"),
    ("ssh://-l@lab/dev/x", "a user that does not begin with '-'"),
    ("ssh://lab/dev/x?ssh=", "expected a command in the options 'ssh' and 'command'"),
    ("ssh://lab/dev/x?ssh='", "the option 'ssh' has no closing quotation"),
    ("ssh://lab/dev/x?baud=1", "no option 'baud'; expected: baudrate"),
]

TO_LISTEN = [
    ("/dev/ttyUSB0", "cannot listen"),
    ("loop:", "cannot listen"),
    ("sim://esp32", "cannot be listened on"),
    ("exec:cat", "cannot listen"),
    ("rfc2217+exec:cat", "cannot listen"),
    ("ssh://lab/dev/ttyUSB0", "cannot listen"),
    ("tcp://127.0.0.1", "expected tcp://HOST:PORT"),
    ("tcp://127.0.0.1:x", "a port is a number from 0 to 65535"),
    ("unix:///", "expected unix:///PATH"),
    ("rfc2217+stdio://x", "expected stdio: and nothing behind it"),
]


def test_they_are_a_hundred() -> None:
    assert len(dict(TO_CONNECT)) == len(TO_CONNECT) >= 100


@pytest.mark.parametrize(("url", "message"), TO_CONNECT, ids=[repr(url)[:40] for url, _ in TO_CONNECT])
async def test_to_connect(url: str, message: str) -> None:
    await refused(serialnet.connect, url, message)


@pytest.mark.parametrize(("url", "message"), TO_LISTEN, ids=[url for url, _ in TO_LISTEN])
async def test_to_listen(url: str, message: str) -> None:
    await refused(serialnet.listen, url, message)


async def refused(open_: Callable[[str], Awaitable[object]], url: str, message: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for opener in ("socket.socket", "subprocess.Popen", "os.dup2", "os.open"):
            patch.setattr(opener, not_yet)
        with pytest.raises(EndpointError) as caught:
            await open_(url)
    assert any(part in str(caught.value) for part in message.split("|")), str(caught.value)
    assert "secret" not in str(caught.value)


def not_yet(*_: object, **__: object) -> NoReturn:
    raise AssertionError("something is opened")
