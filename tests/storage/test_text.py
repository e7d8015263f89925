from __future__ import annotations

from storage.text import printable


def test_escape_sequences_and_hidden_characters_become_visible() -> None:
    assert printable("red \x1b[31mtext\x07\n next\u202eline") == "red \\x1b[31mtext\\x07 next\\u202eline"


def test_words_of_any_language_stay() -> None:
    assert printable("Grüße 花 👩\u200d🔬") == "Grüße 花 👩\u200d🔬"


def test_length_is_limited() -> None:
    assert printable("abcdef", 4) == "abc…"
