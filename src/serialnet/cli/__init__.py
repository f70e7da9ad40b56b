"""The command line: ``serialnet COMMAND``, or ``python -m serialnet COMMAND``."""

from .main import main

__all__ = ["main"]
