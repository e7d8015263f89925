from __future__ import annotations

from datetime import date

from storage.text import as_yaml, printable


def test_escape_sequences_and_hidden_characters_become_visible() -> None:
    assert printable("red \x1b[31mtext\x07\n next\u202eline") == "red \\x1b[31mtext\\x07 next\\u202eline"


def test_words_of_any_language_stay() -> None:
    assert printable("Grüße 花 👩\u200d🔬") == "Grüße 花 👩\u200d🔬"


def test_length_is_limited() -> None:
    assert printable("abcdef", 4) == "abc…"


def test_values_of_files_are_shown_as_they_are_written_there() -> None:
    values = (None, True, 0.05, 1, "no", ["größer", None], (0.5, 1.0), {"a": False}, date(2026, 1, 2))
    assert [as_yaml(value) for value in values] == [
        *("null", "true", "0.05", "1", "'no'", '["größer", null]', "[0.5, 1.0]", '{"a": false}', '"2026-01-02"'),
    ]


def test_any_value_of_a_file_is_one_safe_line() -> None:
    circle: list[object] = []
    circle.append(circle)
    assert as_yaml(circle) == "[[...]]"
    assert as_yaml({date(2026, 1, 2): None}) == "{datetime.date(2026, 1, 2): None}"
    assert as_yaml(["\ud800", "a\u202eb\n"]) == '["\\ud800", "a\\u202eb\\n"]'
