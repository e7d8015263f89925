"""Make text from outside safe to print: file names, class names, questions, replies of servers."""

from __future__ import annotations

import json
import unicodedata

# Controls, invisible format characters (they reorder or hide text), surrogates, private use, line separators.
UNSAFE = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
# Joiners that words and emoji need.
ALLOWED = frozenset("\u200c\u200d")


def printable(text: str, limit: int | None = None) -> str:
    """Return `text` on one line: white space becomes a space, other unsafe characters become escapes like `\\x1b`.

    With `limit`, longer text ends with an ellipsis.
    """
    line = " ".join(text.split())
    safe = "".join(_escaped(character) for character in line)
    return safe if limit is None or len(safe) <= limit else f"{safe[: limit - 1]}…"


def as_yaml(value: object) -> str:
    """Return a value of a YAML or JSON file as it is written there, on one line: null, true, [0.5, 1]; text in single
    quotes."""
    if isinstance(value, str):
        return repr(value)
    try:
        return printable(json.dumps(value, default=str, ensure_ascii=False))
    except (TypeError, ValueError):  # YAML has dates as keys, and lists that hold themselves
        return printable(repr(value))


def is_unicode(text: str) -> bool:
    """Return whether the text can be encoded; half of a surrogate pair, which JSON can hold, cannot."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _escaped(character: str) -> str:
    if character in ALLOWED or unicodedata.category(character) not in UNSAFE:
        return character
    return ascii(character)[1:-1]
