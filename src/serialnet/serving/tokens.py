"""The tokens that a relay knows."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from ..core.errors import EndpointError
from ..wire.relay import is_name

__all__ = ["Tokens", "read_tokens"]

SHORTEST = 16
MAKE_ONE = 'python -c "import secrets; print(secrets.token_urlsafe())"'


class Tokens:
    """Tokens by name, or one for all names. They show in no ``repr`` and no error.

    :param tokens: the token of each board's name, or one token for any name
    :raises EndpointError: if a token is too short to be a secret, or a name is none
    """

    def __init__(self, tokens: str | Mapping[str, str]) -> None:
        self._for_all = tokens if isinstance(tokens, str) else None
        self._by_name = {} if isinstance(tokens, str) else dict(tokens)
        if not all(is_name(name) for name in self._by_name):  # it is not shown: it may be a token, misplaced
            raise EndpointError("expected names of letters, digits, '.', '_' and '-', 64 at most, for tokens")
        for token in [tokens] if isinstance(tokens, str) else tokens.values():
            if len(token) < SHORTEST or not token.isascii() or not token.isprintable():
                raise EndpointError(
                    f"expected tokens of {SHORTEST} printable ASCII characters or more; to make one: "
                    f"{MAKE_ONE}"
                )
        if not tokens:
            raise EndpointError("expected the token of one board at least")

    def find(self, name: str) -> str | None:
        """The token that opens a name."""
        return self._by_name.get(name, self._for_all)


def read_tokens(path: str) -> dict[str, str]:
    """Read ``NAME TOKEN`` from each line of a file; ``#`` starts a comment.

    :raises EndpointError: if it cannot be read, other users could read it, or a line is wrong
    """
    try:
        with Path(path).open(encoding="ascii") as file:
            if os.name == "posix" and stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise EndpointError(f"{path} is open to other users: chmod 600 {path}")
            lines = file.read(1 << 20).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not ASCII"
        raise EndpointError(f"cannot read the tokens in {path}: {reason}") from None
    tokens: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not (words := line.split()) or words[0].startswith("#"):
            continue
        if len(words) != 2 or words[0] in tokens:
            raise EndpointError(f"{path}, line {number}: expected NAME TOKEN, each name once")
        tokens[words[0]] = words[1]
    return tokens
