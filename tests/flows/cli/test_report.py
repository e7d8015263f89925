from __future__ import annotations

from flows.cli.report import import_lines
from teacher.extraction.precomputed import ImportSummary


def test_names_of_files_are_safe_to_print() -> None:
    summary = ImportSummary(
        directory="store/x",
        images=2,
        without_answers={"train/a/bad\nname\x1b[31m.jpg": "no answer for 'bad\nname'"},
        unused_entries=[f"{letter}\x07.jpg" for letter in "abcdefg"],
    )
    assert import_lines(summary) == [
        "2 images with answers",
        "answers: store/x",
        "images without answers: 1 (each has its reason in the column 'error')",
        "  train/a/bad name\\x1b[31m.jpg: no answer for 'bad name'",
        "entries of the file that no image asks for: 7 "
        "(a\\x07.jpg, b\\x07.jpg, c\\x07.jpg, d\\x07.jpg, e\\x07.jpg and 2 more)",
    ]
