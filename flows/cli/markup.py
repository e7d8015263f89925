"""Show names, questions and messages as plain text on the terminal and in Markdown.

All tables and reports are built with these functions: markup of rich, Markdown and HTML has no effect in them, and
control characters are escaped.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence

import typer
from rich import box
from rich.console import Console, ConsoleOptions, JustifyMethod, RenderResult
from rich.table import Table
from rich.text import Text

from storage.text import printable

# Underscores inside a word, common in keys, have no effect in Markdown and are not escaped.
MARKDOWN = re.compile(r"[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])")


def echo(line: str) -> None:
    """Print one line on standard output, with its leading spaces."""
    typer.echo(_indented(line))


def plain(text: str | Text) -> Text:
    """Return `text` for rich, without markup and on one line; a Text is returned as it is."""
    return text if isinstance(text, Text) else Text(_indented(text))


class TextTable(Table):
    """A table for the terminal whose headings, cells and title are text, not markup."""

    def __init__(self, title: str | None = None) -> None:
        super().__init__(box=box.SIMPLE_HEAD, pad_edge=False)
        self._heading = title

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self._heading is not None:  # as a title of the table, rich would wrap it at the table's width
            yield plain(self._heading)
        yield from super().__rich_console__(console, options)

    def column(
        self, heading: str, *, number: bool = False, no_wrap: bool = False, min_width: int | None = None
    ) -> None:
        """Add a column. Numbers are aligned to the right; long text is folded unless `no_wrap` is set."""
        justify: JustifyMethod = "right" if number else "left"
        self.add_column(plain(heading), justify=justify, overflow="fold", no_wrap=no_wrap, min_width=min_width)

    def row(self, *cells: str | Text, end_section: bool = False) -> None:
        self.add_row(*(plain(cell) for cell in cells), end_section=end_section)


def _indented(text: str) -> str:
    return " " * (len(text) - len(text.lstrip(" "))) + printable(text)


def lines(*parts: str) -> Text:
    """Return a cell of several lines."""
    return Text("\n").join(plain(part) for part in parts)


def markdown_text(text: str) -> str:
    """Return `text`, escaped for a line or table cell of Markdown."""
    return MARKDOWN.sub(r"\\\g<0>", html.escape(printable(text), quote=False))


def markdown_table(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the lines of a table with a column for each key of the first row; no lines if there are no rows."""
    if not rows:
        return []
    header = list(rows[0])
    cells = [header, *([row[name] for name in header] for row in rows)]
    shown = [[markdown_text(cell) for cell in row] for row in cells]
    shown.insert(1, ["---"] * len(header))
    return [f"| {' | '.join(row)} |" for row in shown]


def artifact_rows(rows: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
    """Return the rows for a table on Prefect's pages, which show a cell with a link as Markdown."""
    return [
        {name: markdown_text(value) if isinstance(value, str) else value for name, value in row.items()} for row in rows
    ]
