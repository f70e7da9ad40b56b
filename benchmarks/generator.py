"""The load generator: a C program, so that what measures is not what is measured."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["compiled"]

SOURCES = Path(__file__).with_name("load")
OPTIONS = ("-std=gnu11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-pthread")


@contextmanager
def compiled() -> Iterator[Path]:
    """Compile it, and keep it as long as the block lasts."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise SystemExit("the benchmarks need a C compiler (cc)")
    with tempfile.TemporaryDirectory(prefix="serialnet-benchmarks-") as directory:
        program = Path(directory) / "load"
        sources = [str(path) for path in sorted(SOURCES.glob("*.c"))]
        subprocess.run([compiler, *OPTIONS, *sources, "-o", str(program), "-lutil"], check=True, timeout=120)
        yield program
