"""What the code declares, as documentation: a scheme's options, a command's help.

::

    {scheme-options} tcp
    {serve-options} listener
    {command-help} serve
"""

from __future__ import annotations

import io
from contextlib import redirect_stdout, suppress
from enum import Enum

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

from serialnet.cli import main
from serialnet.core.options import describe
from serialnet.core.registry import find_factory
from serialnet.serving.sharing import DoorOptions, LogOptions


class SchemeOptions(SphinxDirective):
    """A table of a scheme's options, or of those that a scheme has beside another's.

    ``{scheme-options} sim beside loop`` leaves out what ``loop`` has, too.
    """

    required_arguments = 1
    optional_arguments = 2

    def run(self) -> list[nodes.Node]:
        """Make the table."""
        scheme, *beside = self.arguments
        rows = describe(find_factory(scheme).options)
        if beside:
            known = {row[0] for row in describe(find_factory(beside[1]).options)}
            rows = [row for row in rows if row[0] not in known]
        return [_table(("option", "value", "default", "meaning"), [_cells(*row) for row in rows])]


class ServeOptions(SphinxDirective):
    """A table of the options that ``serve`` itself knows of a ``listener``, or of the ``port``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Make the table."""
        rows = describe({"listener": DoorOptions, "port": LogOptions}[self.arguments[0]])
        return [_table(("option", "value", "default", "meaning"), [_cells(*row) for row in rows])]


class CommandHelp(SphinxDirective):
    """What ``serialnet COMMAND --help`` prints."""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Make the block of text."""
        output = io.StringIO()
        with redirect_stdout(output), suppress(SystemExit):
            main([*self.arguments, "--help"])
        return [nodes.literal_block(text=output.getvalue().rstrip(), language="text")]


def _cells(name: str, expected: str, default: object, meaning: str) -> list[nodes.Node]:
    return [
        nodes.literal(text=name),
        nodes.Text(expected),
        nodes.literal(text=_spelled(default)) if default not in (None, "") else nodes.Text("none"),
        nodes.Text(meaning),
    ]


def _spelled(default: object) -> str:
    """A default as a URL has it."""
    if isinstance(default, bool):
        return "on" if default else "off"
    if isinstance(default, Enum):
        default = default.value
    return f"{default:g}" if isinstance(default, float) else str(default)


def _table(header: tuple[str, ...], rows: list[list[nodes.Node]]) -> nodes.table:
    head = nodes.thead("", _row([nodes.Text(cell) for cell in header]))
    body = nodes.tbody("", *map(_row, rows))
    widths = [nodes.colspec(colwidth=1) for _ in header]
    return nodes.table("", nodes.tgroup("", *widths, head, body, cols=len(header)))


def _row(cells: list[nodes.Node]) -> nodes.row:
    return nodes.row("", *(nodes.entry("", nodes.paragraph("", "", cell)) for cell in cells))


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the directives."""
    app.add_directive("scheme-options", SchemeOptions)
    app.add_directive("serve-options", ServeOptions)
    app.add_directive("command-help", CommandHelp)
    return {"parallel_read_safe": True}
