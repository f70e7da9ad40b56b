"""URLs, devices and short forms: what they mean, and what is said when they mean nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serialnet import Endpoint, EndpointError


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("/dev/ttyUSB0", Endpoint(("serial",), path="/dev/ttyUSB0")),
        (" /dev/ttyUSB0\n", Endpoint(("serial",), path="/dev/ttyUSB0")),
        ("/dev/a:b?parity=E", Endpoint(("serial",), path="/dev/a:b", options={"parity": "E"})),
        ("COM41", Endpoint(("serial",), path="COM41")),
        ("com3", Endpoint(("serial",), path="com3")),
        (r"\\.\COM41", Endpoint(("serial",), path=r"\\.\COM41")),
        ("serial:///dev/ttyUSB0?rtscts", Endpoint(("serial",), path="/dev/ttyUSB0", options={"rtscts": ""})),
        (":4000", Endpoint(("rfc2217", "tcp"), "127.0.0.1", 4000)),
        ("rfc2217://host:4000", Endpoint(("rfc2217", "tcp"), "host", 4000)),
        ("rfc2217+tcp://host:4000", Endpoint(("rfc2217", "tcp"), "host", 4000)),
        ("rfc2217+tls://host:4000", Endpoint(("rfc2217", "tls"), "host", 4000)),
        ("A+B+C://Host:1/Path", Endpoint(("a", "b", "c"), "Host", 1, "/Path")),
        ("tcp://[::1]:0", Endpoint(("tcp",), "::1", 0)),
        ("tcp://[fe80::1%eth0]:1", Endpoint(("tcp",), "fe80::1%eth0", 1)),
        ("tcp://[::1]", Endpoint(("tcp",), "::1")),
        ("tcp://host", Endpoint(("tcp",), "host")),
        ("tcp://host:65535", Endpoint(("tcp",), "host", 65535)),
        ("tcp://:4000", Endpoint(("tcp",), "", 4000)),
        ("ssh://pi/dev/x", Endpoint(("ssh",), "pi", None, "/dev/x")),
        ("ssh://me@[::1]:22/dev/x", Endpoint(("ssh",), "::1", 22, "/dev/x", user="me")),
        ("exec:?a=1&b cat x", Endpoint(("exec",), path="cat x", options={"a": "1", "b": ""})),
        ("loop:", Endpoint(("loop",))),
        ("loop://", Endpoint(("loop",))),
        ("sim://esp32?pace", Endpoint(("sim",), "esp32", options={"pace": ""})),
        ("exec:cat -u 'a b'?x#y", Endpoint(("exec",), path="cat -u 'a b'?x#y")),
        ("rfc2217+exec:ssh pi x", Endpoint(("rfc2217", "exec"), path="ssh pi x")),
        ("pyserial:spy:///dev/x?file=y", Endpoint(("pyserial",), path="spy:///dev/x?file=y")),
        ("listen:tcp://h:1", Endpoint(("tcp",), "h", 1, listens=True)),
        ("Listen::4000", Endpoint(("rfc2217", "tcp"), "127.0.0.1", 4000, listens=True)),
        ("x://h/a%20b?k=a%26b+c&K=", Endpoint(("x",), "h", None, "/a b", {"k": "a&b+c", "K": ""})),
    ],
)
def test_parsing(url: str, expected: Endpoint) -> None:
    parsed = Endpoint.parse(url)
    assert parsed == expected
    assert hash(parsed) == hash(expected)
    assert Endpoint.parse(parsed) is parsed


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "expected a URL or a device"),
        ("   ", "expected a URL or a device"),
        ("4000", "did you mean ':4000'"),
        ("localhost:4000", "did you mean 'rfc2217://localhost:4000' or 'tcp://localhost:4000'"),
        ("10.0.0.1:4000", "did you mean 'rfc2217://10.0.0.1:4000'"),
        ("[::1]:4000", r"did you mean 'rfc2217://\[::1\]:4000'"),
        ("ttyUSB0", "did you mean '/dev/ttyUSB0'"),
        ("./ttyUSB0", "whole path"),
        ("C:\\x", "neither a URL nor a device|has no scheme"),
        ("nonsense", "expected something like"),
        ("tcp:host:4000", "expected '//' after 'tcp:'"),
        ("tcp://host:99999", "from 0 to 65535, not 99999"),
        ("tcp://host:port", "expected HOST:PORT"),
        ("tcp://host:", "expected HOST:PORT"),
        ("tcp://::1:4000", r"expected HOST:PORT \('\[::1:4000\]:PORT'\)"),
        ("tcp://[::1", "expected HOST:PORT"),
        ("tcp://host:1#x", "no '#'"),
        ("tcp://host:1?=x", "an option needs a name"),
        ("tcp://host:1?a&a=1", "'a' stands there twice"),
        ("tcp://host\n:1", "no control characters"),
        ("+tcp://host:1", "neither"),
        ("tcp+://host:1", "neither"),
        ("listen:", "expected a URL or a device"),
    ],
)
def test_what_cannot_be_parsed(url: str, message: str) -> None:
    with pytest.raises(EndpointError, match=message):
        Endpoint.parse(url)


@pytest.mark.parametrize(
    "url",
    [
        "/dev/ttyUSB0?baudrate=9600&rtscts",
        "COM3",
        "rfc2217://host:4000",
        "rfc2217+tls://[::1]:4000/path?x=1",
        "loop:",
        "loop:?baudrate=9600",
        "sim://esp32",
        "exec:cat -u",
        "exec:?a=1&b cat x",
        "ssh://me@[::1]:22/dev/x",
        "tcp://:4000",
        "rfc2217+exec:ssh pi serialnet serve",
        "pyserial:loop://?logging=debug",
        "listen:rfc2217://host:4000",
        "listen:exec:cat",
    ],
)
def test_it_is_written_as_it_is_read(url: str) -> None:
    endpoint = Endpoint.parse(url)
    assert str(endpoint) == url
    assert repr(endpoint) == f"Endpoint({url!r})"


def test_layers() -> None:
    endpoint = Endpoint.parse("rfc2217://host:4000?x=1")
    assert endpoint.scheme == "rfc2217+tcp"
    assert str(endpoint.below) == "tcp://host:4000?x=1"


@pytest.mark.parametrize("name", ["token", "password", "secret"])
def test_secrets_are_not_shown(name: str) -> None:
    endpoint = Endpoint.parse(f"tcp://host:4000?{name}=hunter2&a=1")
    assert "hunter2" not in f"{endpoint} {endpoint!r}"
    assert f"{name}=***&a=1" in str(endpoint)
    assert endpoint.options[name] == "hunter2"


@pytest.mark.parametrize(
    "url",
    [
        "tcp://host:99999?token=hunter2",
        "tcp://host:1?token=hunter2&a&a",
        "tcp://host:1?token=hunter2&=",
        "tcp://host:1?token=hunter2\x01",
        "tcp://host:1?%74oken=hunter2&=",
        "tcp://host:1#?password=hunter2",
        "tcp:host?secret=hunter2",
        "host:4000?token=hunter2",
        "nonsense?token=hunter2",
        "tcp://user:hunter2@host:4000",
        "listen:tcp://user:hunter2@host:4000",
        "listen:host:1?token=hunter2",
    ],
)
def test_secrets_are_not_shown_in_errors(url: str) -> None:
    with pytest.raises(EndpointError) as caught:
        Endpoint.parse(url)
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(caught.value)


@given(st.text(max_size=40))
def test_nothing_but_an_endpoint_error_comes_out(text: str) -> None:
    for url in (text, f"tcp://{text}", f"tcp://host:{text}", f"/dev/x?{text}"):
        try:
            endpoint = Endpoint.parse(url)
        except EndpointError:
            continue
        assert hash(endpoint) == hash(Endpoint.parse(url))
        str(endpoint)
