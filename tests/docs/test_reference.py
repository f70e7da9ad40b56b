"""The reference is complete."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from pathlib import Path

import pytest

import serialnet
import serialnet.chips
import serialnet.distance
import serialnet.doctor
import serialnet.hooks
import serialnet.resets
import serialnet.sync
import serialnet.testing
import serialnet.testing.boards
import serialnet.testing.pty
from serialnet.core.options import describe
from serialnet.core.registry import BUILT_IN, find_factory

DOCS = Path(__file__).parents[2] / "docs"
MODULES = [
    serialnet.hooks,
    serialnet.resets,
    serialnet.chips,
    serialnet.testing,
    serialnet.testing.pty,
    serialnet.testing.boards,
    serialnet.sync,
    serialnet.doctor,
    serialnet.distance,
]


def page(name: str) -> str:
    return (DOCS / "reference" / f"{name}.md").read_text()


@pytest.mark.parametrize("scheme", BUILT_IN)
def test_every_scheme_has_its_section(scheme: str) -> None:
    text = page("urls")
    assert re.search(rf"^## {scheme}$", text, re.MULTILINE)
    assert re.search(rf"^\| .*`{scheme}:", text, re.MULTILINE)


@pytest.mark.parametrize("scheme", BUILT_IN)
def test_every_option_has_a_meaning(scheme: str) -> None:
    for name, _, _, meaning in describe(find_factory(scheme).options):
        assert meaning, name


def test_every_command_has_its_section() -> None:
    text = page("commands")
    for name in importlib.import_module("serialnet.cli.main").COMMANDS:
        assert f"## {name}\n" in text
        assert f"{{command-help}} {name}\n" in text


@pytest.mark.parametrize("name", sorted({*serialnet.__all__} - {"__version__"}))
def test_every_public_name_is_in_the_reference(name: str) -> None:
    thing = getattr(serialnet, name)
    if inspect.ismodule(thing):
        assert f"automodule:: serialnet.{name}\n" in page("api")
    else:
        assert re.search(rf"^\.\. \S+:: serialnet\.{name}(\(.*\))?$", page("api"), re.MULTILINE)


@pytest.mark.parametrize("name", serialnet.__all__)
def test_every_public_name_has_a_docstring(name: str) -> None:
    thing = getattr(serialnet, name)
    if inspect.ismodule(thing) or inspect.isroutine(thing) or inspect.isclass(thing):
        # A dataclass without one gets its signature for a docstring.
        assert thing.__doc__
        assert not (dataclasses.is_dataclass(thing) and thing.__doc__.startswith(f"{name}("))


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_name_of_the_documented_modules_is_in_the_reference(module: object) -> None:
    assert inspect.ismodule(module)
    text = page("api")
    names = re.search(rf"automodule:: {re.escape(module.__name__)}\n   :members: (.*)", text)
    assert names
    for name in module.__all__:
        assert name in names[1].split(", ") or f":: {module.__name__}.{name}\n" in text
