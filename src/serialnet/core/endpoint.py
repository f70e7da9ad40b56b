"""Endpoints: what URLs, device paths and short forms mean, decided in one place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from urllib.parse import unquote

from .errors import EndpointError

__all__ = ["Endpoint"]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9.-]*(?:\+[A-Za-z][A-Za-z0-9.-]*)*):(.*)", re.DOTALL)
_COM = re.compile(r"(?:\\\\\.\\)?COM\d+", re.IGNORECASE)
_USER = re.compile(r"[^:/?#\[\]@]+")
_HOST_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+(?:%[^\]]+)?\]|[^:/?#\[\]@]*):(\d+)")
# What follows these is not ours to read: another library's URL, a command.
_OPAQUE = frozenset({"pyserial", "exec"})
# Options whose values are for nobody's eyes.
_SECRETS = frozenset({"token", "password", "secret"})


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A parsed URL.

    :param schemes: the layers and the stream below them, outermost first: ``("rfc2217", "tcp")``
    :param host: the host as written, without the brackets of an IPv6 address; may be empty
    :param port: the TCP port, or ``None``
    :param path: what follows the host, percent-decoded; after ``exec:`` and ``pyserial:`` all, as it stands
    :param options: the query, in its order; an option without a value has ``""``; before a command it
        stands first, and ends with a space: ``rfc2217+exec:?baudrate=9600 ssh pi ...``
    :param listens: whether it was written ``listen:URL``: an end of a link that waits for its peer
    :param user: who to be at the host, where it was written ``user@host``
    """

    schemes: tuple[str, ...]
    host: str = ""
    port: int | None = None
    path: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    listens: bool = False
    user: str = ""

    @classmethod
    def parse(cls, url: str | Endpoint) -> Endpoint:
        """Parse a URL, a device path (``/dev/ttyUSB0``, ``COM41``) or ``:4000``, perhaps behind ``listen:``.

        Nothing is opened, and no transport is looked up.

        :raises EndpointError: saying what was expected
        """
        if isinstance(url, Endpoint):
            return url
        text = url.strip()
        if not text:
            raise EndpointError(
                "expected a URL or a device, such as /dev/ttyUSB0 or rfc2217://host:4000, not ''"
            )
        shown = _without_secrets(text)
        if any(ord(character) < 32 for character in text):
            raise EndpointError(f"a URL has no control characters: {shown!r}")
        prefix, colon, rest = text.partition(":")
        if colon and prefix.lower() == "listen":
            return replace(cls.parse(rest), listens=True)
        if re.fullmatch(r":\d+(\?.*)?", text):
            text = f"rfc2217://127.0.0.1{text}"
        device, _, query = text.partition("?")
        if device.startswith("/") or _COM.fullmatch(device):
            return cls(("serial",), path=device, options=_parse_query(query, shown))
        match = _SCHEME.fullmatch(text)
        if match is None:
            raise EndpointError(f"{shown!r} is neither a URL nor a device{_suggestion(shown)}")
        if re.fullmatch(r"\d+", match[2]) or re.fullmatch(r"[A-Za-z]:\\.*", text):
            raise EndpointError(f"{shown!r} has no scheme{_suggestion(shown)}")
        schemes = tuple(match[1].lower().split("+"))
        if schemes[-1] in _OPAQUE:
            query, _, rest = match[2][1:].partition(" ") if match[2].startswith("?") else ("", "", match[2])
            return cls(schemes, path=rest, options=_parse_query(query, shown))
        if schemes == ("rfc2217",) or schemes[-1] == "relay":
            schemes = (*schemes, "tcp")  # the layers that have a stream of their own
        return _parse_rest(schemes, match[2], shown)

    @property
    def scheme(self) -> str:
        """The schemes joined: ``rfc2217+tcp``."""
        return "+".join(self.schemes)

    @property
    def below(self) -> Endpoint:
        """The same endpoint without its outermost layer."""
        return replace(self, schemes=self.schemes[1:])

    @property
    def netloc(self) -> str:
        """User, host and port as a URL has them."""
        user = f"{self.user}@" if self.user else ""
        host = f"[{self.host}]" if ":" in self.host and self.schemes[-1] != "usb" else self.host
        return f"{user}{host}" if self.port is None else f"{user}{host}:{self.port}"

    def __str__(self) -> str:
        prefix = "listen:" if self.listens else ""
        scheme, path, options = self.scheme, self.path, dict(self.options)
        if self.schemes == ("rfc2217", "tcp"):
            scheme = "rfc2217"
        elif self.schemes[-2:] == ("relay", "tcp"):
            scheme, path = scheme.removesuffix("+tcp"), f"/{options.pop('name', '')}"
        query = "&".join(
            f"{name}={'***' if name in _SECRETS else value}" if value else name
            for name, value in options.items()
        )
        if self.schemes[-1] in _OPAQUE:
            return f"{prefix}{scheme}:{f'?{query} ' if query else ''}{_without_secrets(path)}"
        stem = path if scheme == "serial" else f"{scheme}://{self.netloc}{path}"
        if not (self.netloc or path):
            stem = f"{scheme}:"
        return f"{prefix}{stem}?{query}" if query else f"{prefix}{stem}"

    def __repr__(self) -> str:
        return f"Endpoint({str(self)!r})"

    def __hash__(self) -> int:
        return hash((self.schemes, self.user, self.host, self.port, self.path, tuple(self.options.items())))


def _parse_rest(schemes: tuple[str, ...], rest: str, shown: str) -> Endpoint:
    if "#" in rest:
        raise EndpointError(f"a URL here has no '#': {shown!r}")
    rest, _, query = rest.partition("?")
    options = _parse_query(query, shown)
    if not rest.startswith("//"):
        if rest:
            raise EndpointError(f"{shown!r}: expected '//' after '{'+'.join(schemes)}:'")
        return Endpoint(schemes, options=options)
    netloc, slash, path = rest[2:].partition("/")
    user, at, netloc = netloc.rpartition("@")
    if at and not _USER.fullmatch(user):
        raise EndpointError(f"{shown!r}: expected USER@HOST (a URL here has no password before '@')")
    host, port = netloc, None
    if schemes[-1] == "usb":  # VENDOR:PRODUCT, in hexadecimal digits
        return Endpoint(schemes, host, None, unquote(slash + path), options, user=unquote(user))
    if match := _HOST_PORT.fullmatch(netloc):
        host, port = match[1], int(match[2])
        if port > 65535:
            raise EndpointError(f"{shown!r}: a port is a number from 0 to 65535, not {port}")
    elif ":" in netloc and not re.fullmatch(r"\[[^\]]*\]", netloc):
        expected = f"'[{netloc}]:PORT'" if netloc.count(":") > 1 else "a port is a number from 0 to 65535"
        raise EndpointError(f"{shown!r}: expected HOST:PORT ({expected})")
    path = unquote(slash + path)
    if schemes[-2:] == ("relay", "tcp") and len(path) > 1:  # TCP has no use for a path: it is the relay's
        if "name" in options:
            raise EndpointError(f"{shown!r}: expected the name in the path or as an option, not both")
        path, options = "", MappingProxyType({"name": path[1:], **options})
    return Endpoint(schemes, host.strip("[]"), port, path, options, user=unquote(user))


def _parse_query(query: str, shown: str) -> Mapping[str, str]:
    # Not urllib's parse_qsl: that turns '+' into a space and loses options without a value.
    options: dict[str, str] = {}
    for part in query.split("&") if query else []:
        name, _, value = part.partition("=")
        name = unquote(name)
        if not name:
            raise EndpointError(f"{shown!r}: an option needs a name, as in '?baudrate=115200'")
        if name in options:
            raise EndpointError(f"{shown!r}: the option {name!r} stands there twice")
        options[name] = unquote(value)
    return MappingProxyType(options)


def _without_secrets(text: str) -> str:
    """What of a URL may stand in an error."""

    def hide(option: re.Match[str]) -> str:
        return f"{option[1]}{option[2]}=***" if unquote(option[2]).lower() in _SECRETS else option[0]

    text = re.sub(r"//[^/?#@]*:[^/?#@]*@", "//***@", text)
    return re.sub(r"([?&])([^=&]*)=[^&]*", hide, text)


def _suggestion(text: str) -> str:
    if re.fullmatch(r"\d+", text):
        return f"; did you mean ':{text}'?"
    if _HOST_PORT.fullmatch(text):
        return f"; did you mean 'rfc2217://{text}' or 'tcp://{text}'?"
    if text.startswith("tty"):
        return f"; did you mean '/dev/{text}'?"
    if re.match(r"\.{1,2}/", text):
        return "; a device is written with its whole path, as /dev/ttyUSB0"
    return "; expected something like /dev/ttyUSB0, rfc2217://host:4000 or tcp://host:4000"
