"""Foreign text is shown as text: on the terminal, in Markdown and on Prefect's pages."""

from __future__ import annotations

import pytest
from rich.console import Console
from rich.text import Text

from flows.cli.markup import TextTable, artifact_rows, echo, lines, markdown_table, markdown_text

HOSTILE = {
    "[/b] closes nothing": "[/b] closes nothing",
    "[red]x[/red]": "[red]x[/red]",
    ":smile:": ":smile:",
    "a\nb": "a b",
    "\x1b[31mred\x07": "\\x1b[31mred\\x07",
    "evil\u202etxt": "evil\\u202etxt",
    "\udcff.jpg": "\\udcff.jpg",
    "--help": "--help",
    "cats/dogs \U0001f600": "cats/dogs \U0001f600",
}


@pytest.mark.parametrize(("text", "shown"), HOSTILE.items())
def test_a_terminal_shows_text_as_it_is(text: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    table = TextTable(text)
    table.column(text)
    table.row(text)
    table.row(lines(text, text))
    Console(width=200).print(table)
    echo(text)
    printed = capsys.readouterr().out.splitlines()
    assert sum(shown in line for line in printed) == 6
    assert not any("\x1b" in line for line in printed)


def test_indentation_and_our_own_styles_stay(capsys: pytest.CaptureFixture[str]) -> None:
    echo("  a.jpg:  damaged")
    assert capsys.readouterr().out == "  a.jpg: damaged\n"
    table = TextTable()
    table.column("verdict")
    table.row(Text("drop", style="red"))
    assert table.columns[0]._cells == [Text("drop", style="red")]


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a|b", "a\\|b"),
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("[x](javascript:1)", "\\[x\\](javascript:1)"),
        ("**bold** `code` ~~no~~ $x$", "\\*\\*bold\\*\\* \\`code\\` \\~\\~no\\~\\~ \\$x\\$"),
        ("has_red_wings", "has_red_wings"),
        ("_slanted_", "\\_slanted\\_"),
        ("a\\|b", "a\\\\\\|b"),
        ("a\nb\x1b", "a b\\\\x1b"),
        ("Does it? 35.0 ± 0.9", "Does it? 35.0 ± 0.9"),
    ],
)
def test_markdown_has_no_effect(text: str, written: str) -> None:
    assert markdown_text(text) == written


def test_a_markdown_table_keeps_its_shape() -> None:
    rows = [{"class|name": "a|b\nc", "n": "1"}, {"class|name": "<td>", "n": "2"}]
    assert markdown_table(rows) == ["| class\\|name | n |", "| --- | --- |", "| a\\|b c | 1 |", "| &lt;td&gt; | 2 |"]
    assert markdown_table([]) == []


def test_artifacts_keep_numbers_and_escape_text() -> None:
    assert artifact_rows([{"key": "<b>|", "bits": 0.5, "none": None}]) == [
        {"key": "&lt;b&gt;\\|", "bits": 0.5, "none": None}
    ]


def test_a_title_is_not_wrapped_at_the_width_of_a_narrow_table(capsys: pytest.CaptureFixture[str]) -> None:
    table = TextTable("a title that is longer than the table")
    table.column("n", number=True)
    table.row("1")
    Console(width=80).print(table)
    assert capsys.readouterr().out.splitlines()[0] == "a title that is longer than the table"
