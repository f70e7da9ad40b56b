"""``ssh://``: what is run for it; tests/interop runs it against a real sshd."""

from __future__ import annotations

import pytest

import serialnet
from serialnet import Endpoint, EndpointError, OpenError
from serialnet.transports.ssh import PRECAUTIONS, SSHOptions, ssh_command


def command(url: str, **options: str) -> list[str]:
    words = ssh_command(Endpoint.parse(url), SSHOptions(**options))  # type: ignore[arg-type]
    start = words.index("-T")
    assert tuple(words[start + 1 : start + 1 + len(PRECAUTIONS)]) == PRECAUTIONS
    return words[:start] + words[start + 1 + len(PRECAUTIONS) :]


def test_what_is_run() -> None:
    assert command("ssh://pi/dev/ttyUSB0") == [
        *("ssh", "--", "pi"),
        "serialnet serve /dev/ttyUSB0 --listen rfc2217+stdio:",
    ]
    assert command("ssh://me@[::1]:2222/dev/ttyUSB0")[:-1] == ["ssh", "-p", "2222", "-l", "me", "--", "::1"]
    assert command("ssh://pi", ssh="ssh -F 'a b'", command="sudo serialnet") == [
        *("ssh", "-F", "a b", "--", "pi"),
        "sudo serialnet serve --listen rfc2217+stdio:",
    ]


def test_a_device_is_one_word_to_the_far_shell() -> None:
    (*_, far) = command("ssh://pi/dev/x%20'%24(reboot)%3b")
    assert far == """serialnet serve '/dev/x '"'"'$(reboot);' --listen rfc2217+stdio:"""


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ssh:", "expected ssh://HOST/DEVICE"),
        ("ssh:///dev/ttyUSB0", "expected ssh://HOST/DEVICE"),
        ("ssh://-oProxyCommand=reboot/dev/x", "a host that does not begin with '-'"),
        ("ssh://[-oProxyCommand=reboot]/dev/x", "a host that does not begin with '-'"),
        ("ssh://-x@pi/dev/x", "a user that does not begin with '-'"),
        ("ssh://%2dx@pi/dev/x", "a user that does not begin with '-'"),
        ("ssh://pi/dev/x?ssh='", "the option 'ssh' has no closing quotation"),
        ("ssh://pi/dev/x?ssh=", "expected a command in the options"),
        ("ssh://pi/dev/x?command=", "expected a command in the options"),
    ],
)
async def test_what_cannot_be_run(url: str, message: str) -> None:
    with pytest.raises(EndpointError, match=message):
        await serialnet.connect(url)


async def test_without_ssh() -> None:
    with pytest.raises(OpenError, match="cannot run /no/ssh"):
        await serialnet.connect("ssh://pi/dev/x", ssh="/no/ssh")


async def test_it_cannot_listen() -> None:
    with pytest.raises(EndpointError, match="cannot listen"):
        await serialnet.listen("ssh://pi/dev/x")


async def test_what_ssh_says_is_told() -> None:
    text = r"ssh://pi/dev/x: the server closed the connection: sh ended with status 255: no way there$"
    with pytest.raises(OpenError, match=text):
        await serialnet.connect("ssh://pi/dev/x", ssh="sh -c 'echo no way there >&2; exit 255'")
