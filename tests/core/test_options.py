"""Options: texts of a URL and typed values of a call become one frozen dataclass."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import pytest

from serialnet import EndpointError, Parity, StopBits
from serialnet.core.options import NoOptions, describe, option, parse_options


class Colour(Enum):
    RED = "red"
    GREEN = "green"


@dataclass(frozen=True, slots=True)
class Options:
    flag: bool = option(False, "a flag")
    maybe: bool | None = option(None, "a flag, or nothing")
    count: int = option(1, "how many")
    seconds: float = option(1.5, "how long")
    name: str = option("", "what it is called")
    colour: Colour = option(Colour.RED, "its colour")
    stopbits: StopBits | None = option(None, "stop bits")
    parity: Parity | None = option(None, "parity")


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("flag", "", True),
        ("flag", "on", True),
        ("flag", "YES", True),
        ("flag", "1", True),
        ("flag", "true", True),
        ("flag", "off", False),
        ("flag", "0", False),
        ("flag", "No", False),
        ("flag", "false", False),
        ("flag", True, True),
        ("maybe", "off", False),
        ("maybe", None, None),
        ("count", "12", 12),
        ("count", "-1", -1),
        ("count", 7, 7),
        ("seconds", "2", 2.0),
        ("seconds", "1e-7", 1e-7),
        ("seconds", 3, 3),
        ("name", "", ""),
        ("name", "12", "12"),
        ("colour", "GREEN", Colour.GREEN),
        ("colour", Colour.GREEN, Colour.GREEN),
        ("stopbits", "2", StopBits.TWO),
        ("stopbits", "1.5", StopBits.ONE_POINT_FIVE),
        ("stopbits", 2, StopBits.TWO),
        ("stopbits", 1.5, StopBits.ONE_POINT_FIVE),
        ("parity", "e", Parity.EVEN),
        ("parity", None, None),
    ],
)
def test_values(name: str, given: object, expected: object) -> None:
    assert getattr(parse_options(Options, {name: given}, "x:"), name) == expected


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("flag", "maybe", "option 'flag' of x: must be on or off, not 'maybe'"),
        ("flag", 2, "must be on or off, not 2"),
        ("flag", None, "must be on or off, not None"),
        ("count", "", "must be a whole number, not ''"),
        ("count", "1.5", "must be a whole number, not '1.5'"),
        ("count", 1.5, "must be a whole number, not 1.5"),
        ("count", True, "must be a whole number, not True"),
        ("count", None, "must be a whole number, not None"),
        ("seconds", "soon", "must be a number, not 'soon'"),
        ("seconds", "nan", "must be a number, not 'nan'"),
        ("seconds", True, "must be a number, not True"),
        ("name", 5, "must be a text, not 5"),
        ("colour", "blue", "must be red or green, not 'blue'"),
        ("colour", "RE", "must be red or green, not 'RE'"),
        ("stopbits", "3", "must be 1 or 1.5 or 2, not '3'"),
        ("stopbits", 3, "must be 1 or 1.5 or 2, not 3"),
        ("color", "red", "x: has no option 'color'; expected: beyond, colour, count, flag, maybe, name"),
    ],
)
def test_values_that_do_not_fit(name: str, given: object, message: str) -> None:
    with pytest.raises(EndpointError, match=message):
        parse_options(Options, {name: given}, "x:", ["beyond"])


def test_no_options() -> None:
    assert parse_options(NoOptions, {}, "x:") == NoOptions()
    with pytest.raises(EndpointError, match="x: has no option 'a'; expected: none"):
        parse_options(NoOptions, {"a": ""}, "x:")


def test_a_value_that_the_dataclass_refuses() -> None:
    @dataclass(frozen=True)
    class Picky:
        count: int = option(1, "")

        def __post_init__(self) -> None:
            raise ValueError("count is never right")

    with pytest.raises(EndpointError, match="x: count is never right"):
        parse_options(Picky, {"count": "2"}, "x:")


def test_describing() -> None:
    told = {name: (expected, default, doc) for name, expected, default, doc in describe(Options)}
    assert told["flag"] == ("on or off", False, "a flag")
    assert told["count"] == ("a whole number", 1, "how many")
    assert told["colour"] == ("red or green", Colour.RED, "its colour")
    assert told["stopbits"] == ("1 or 1.5 or 2", None, "stop bits")
