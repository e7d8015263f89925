"""Foreign text on the terminal and in Markdown: whatever names, questions and messages contain, it is shown as text.

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

# An underscore inside of a word means nothing in Markdown, and keys are full of them.
MARKDOWN = re.compile(r"[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])")


def echo(line: str) -> None:
    """One line on standard output; spaces before it stay."""
    typer.echo(_indented(line))


def plain(text: str | Text) -> Text:
    """For rich: `text` as it is read, on one line; a Text is our own and stays."""
    return text if isinstance(text, Text) else Text(_indented(text))


class TextTable(Table):
    """A table for the terminal whose headings, cells and title are text, not markup."""

    def __init__(self, title: str | None = None) -> None:
        super().__init__(box=box.SIMPLE_HEAD, pad_edge=False)
        self._heading = title

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self._heading is not None:  # rich would wrap it at the table's width
            yield plain(self._heading)
        yield from super().__rich_console__(console, options)

    def column(
        self, heading: str, *, number: bool = False, no_wrap: bool = False, min_width: int | None = None
    ) -> None:
        """Numbers stand on the right; text is folded where it is too long unless `no_wrap` is set."""
        justify: JustifyMethod = "right" if number else "left"
        self.add_column(plain(heading), justify=justify, overflow="fold", no_wrap=no_wrap, min_width=min_width)

    def row(self, *cells: str | Text, end_section: bool = False) -> None:
        self.add_row(*(plain(cell) for cell in cells), end_section=end_section)


def _indented(text: str) -> str:
    return " " * (len(text) - len(text.lstrip(" "))) + printable(text)


def lines(*parts: str) -> Text:
    """A cell of several lines."""
    return Text("\n").join(plain(part) for part in parts)


def markdown_text(text: str) -> str:
    """`text` within a line or table cell of Markdown."""
    return MARKDOWN.sub(r"\\\g<0>", html.escape(printable(text), quote=False))


def markdown_table(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """The lines of a table with a column for each key of the first row; no lines where there are no rows."""
    if not rows:
        return []
    header = list(rows[0])
    cells = [header, *([row[name] for name in header] for row in rows)]
    shown = [[markdown_text(cell) for cell in row] for row in cells]
    shown.insert(1, ["---"] * len(header))
    return [f"| {' | '.join(row)} |" for row in shown]


def artifact_rows(rows: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
    """Rows of a table on Prefect's pages, which show a cell as Markdown where it holds a link."""
    return [
        {name: markdown_text(value) if isinstance(value, str) else value for name, value in row.items()} for row in rows
    ]
