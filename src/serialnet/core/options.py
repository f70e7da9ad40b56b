"""A scheme's options: a dataclass says their names, types, defaults and meanings; URLs fill it."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any, Self, TypeVar

from .errors import EndpointError

__all__ = ["NoOptions", "Size", "describe", "names_of", "option", "parse_options"]

T = TypeVar("T")
O = TypeVar("O")  # noqa: E741  # the options of a scheme

BOOLEANS = {
    "1": True,
    "on": True,
    "true": True,
    "yes": True,
    "0": False,
    "off": False,
    "false": False,
    "no": False,
}


class Size(int):
    """A number of bytes; ``Size("64k")`` is 65536."""

    def __new__(cls, size: int | str) -> Self:
        """Take a number, or a text that may end with ``k`` or ``m``.

        :raises ValueError: if it is neither, or negative
        """
        factor = 1
        if isinstance(size, str):
            factor = {"k": 1 << 10, "m": 1 << 20}.get(size[-1:].lower(), 1)
            size = int(size if factor == 1 else size[:-1])
        if size < 0:
            raise ValueError(f"a size is 0 or more, not {size}")
        return super().__new__(cls, size * factor)


def option(default: T, doc: str) -> T:
    """Declare one option in a dataclass of options.

    The annotation may be ``bool``, ``int``, ``float``, ``str``, an enum (spelled by value) or one of these
    ``| None``. A ``bool`` may stand in a URL without a value.
    """
    return dataclasses.field(default=default, metadata={"doc": doc})


@dataclasses.dataclass(frozen=True, slots=True)
class NoOptions:
    """The options of a scheme that has none."""


@functools.cache
def _hints(options: Any) -> dict[str, Any]:
    return typing.get_type_hints(options)


@functools.cache
def _names(options: Any) -> frozenset[str]:
    return frozenset(field.name for field in dataclasses.fields(options))


def names_of(options: type) -> frozenset[str]:
    """The options that there are."""
    return _names(typing.cast(Any, options))


def describe(options: type) -> list[tuple[str, str, Any, str]]:
    """Name, expected value, default and meaning of each option."""
    hints = _hints(typing.cast(Any, options))
    return [
        (field.name, _expected(hints[field.name]), field.default, field.metadata.get("doc", ""))
        for field in dataclasses.fields(options)
    ]


def parse_options(options: type[O], given: Mapping[str, object], what: str, known: Iterable[str] = ()) -> O:
    """Make an instance of a dataclass of options from texts (of a URL) and typed values (of a call).

    :param what: names the scheme in errors
    :param known: names beyond this dataclass's own to mention when an option is unknown
    :raises EndpointError: for an unknown option or a value that does not fit
    """
    hints = _hints(typing.cast(Any, options))
    names = names_of(options)
    values = {}
    for name, value in given.items():
        if name not in names:
            expected = ", ".join(sorted({*names, *known})) or "none"
            raise EndpointError(f"{what} has no option {name!r}; expected: {expected}")
        values[name] = _convert(hints[name], value, f"option {name!r} of {what}")
    try:
        return options(**values)
    except ValueError as error:
        raise EndpointError(f"{what.removesuffix(':')}: {error}") from None


def _alternatives(hint: Any) -> tuple[Any, ...]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return tuple(kind for kind in typing.get_args(hint) if kind is not types.NoneType)
    return (hint,)


def _expected(hint: Any) -> str:
    (kind,) = _alternatives(hint)
    if kind is bool:
        return "on or off"
    if issubclass(kind, Enum):
        return " or ".join(_spelled(member) for member in kind)
    return {int: "a whole number", float: "a number", str: "a text", Size: "a size, such as 64k"}[kind]


def _spelled(member: Enum) -> str:
    return f"{member.value:g}" if isinstance(member.value, float) else str(member.value)


def _convert(hint: Any, value: object, what: str) -> object:
    (kind,) = _alternatives(hint)
    if not isinstance(value, str):
        if value is None and hint is not kind:
            return value
        if isinstance(value, bool) == (kind is bool) and isinstance(
            value, (kind, int) if kind is float else kind
        ):
            return value
        if issubclass(kind, Enum) and any(value == member.value for member in kind):
            return kind(value)
    elif kind is str:
        return value
    elif kind is bool:
        if (flag := BOOLEANS.get(value.lower() or "on")) is not None:
            return flag
    elif issubclass(kind, Enum):
        for member in kind:
            if value.upper() == _spelled(member).upper():
                return member
    else:
        try:
            if (number := kind(value)) == number:  # not a number is no number, either
                return number
        except ValueError:
            pass
    raise EndpointError(f"{what} must be {_expected(hint)}, not {value!r}")
