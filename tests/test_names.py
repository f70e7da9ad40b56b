"""What ``import serialnet`` gives, and what it loads."""

from __future__ import annotations

import pickle
import subprocess
import sys
from importlib.util import find_spec

import pytest

import serialnet


def in_another_process(program: str) -> list[str]:
    command = [sys.executable, "-c", f"import sys, serialnet\n{program}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.split()


def test_nothing_is_loaded_before_it_is_used() -> None:
    modules = in_another_process("print(*(name for name in sys.modules if name.startswith('serialnet')))")
    assert set(modules) == {"serialnet", "serialnet._version"}


def test_a_star_imports_all_of_them() -> None:
    names = in_another_process("from serialnet import *\nprint(*globals())")
    assert set(names) >= set(serialnet.__all__)


def test_they_are_listed_before_they_are_loaded() -> None:
    assert set(in_another_process("print(*dir(serialnet))")) >= set(serialnet.__all__)


def test_no_module_can_take_the_place_of_a_name() -> None:
    for name in set(serialnet.__all__) - {"hooks", "resets"}:
        assert find_spec(f"serialnet.{name}") is None


def test_a_command_loads_no_other_one() -> None:
    program = "from serialnet.cli import main\ntry: main(['ports', '--help'])\nfinally: print(*sys.modules)"
    loaded = {name for name in in_another_process(program) if name.startswith("serialnet.cli.")}
    assert loaded == {"serialnet.cli.main", "serialnet.cli.ports"}


def test_values_can_be_pickled() -> None:
    settings = serialnet.LineSettings(9600)
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_a_wrong_name_is_told_as_one() -> None:
    with pytest.raises(AttributeError, match=r"^module 'serialnet' has no attribute 'serv'$"):
        _ = serialnet.serv  # type: ignore[attr-defined]
    with pytest.raises(ImportError, match="cannot import name 'serv'"):
        from serialnet import serv  # type: ignore[attr-defined]  # noqa: F401
