"""Validate the questions written by a language model: accepted questions, and reasons for rejecting others."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from storage.questions import KEY_PATTERN, RESERVED_KEYS, AspectQuestion
from teacher.questions.wording import (
    STOP_WORDS,
    ClassNames,
    is_either_or,
    is_negated,
    is_yes_no_question,
    nearly_the_same,
    words,
)

FIELDS = ("key", "text", "negation")
LONGEST_KEY = 40  # characters
LONGEST_TEXT = 160


Entry = TypeVar("Entry")


class ReplyUnreadable(Exception):
    """A reply does not match its schema; the message is its beginning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One question as written, on one line and without control characters."""

    key: str
    text: str
    negation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """The text of a rejected candidate, and the reason."""

    group: str
    text: str
    reason: str


def reply_schema(count: int) -> dict[str, Any]:
    """Return the JSON schema of a reply with `count` candidates. It is bounded, so that nonsense ends too."""
    longest = {"key": LONGEST_KEY, "text": LONGEST_TEXT, "negation": LONGEST_TEXT}
    return questions_schema({name: {"type": "string", "maxLength": longest[name]} for name in FIELDS}, count)


def questions_schema(fields: Mapping[str, Any], count: int) -> dict[str, Any]:
    """Return the JSON schema of an object with `count` questions that have these fields."""
    candidate = {
        "type": "object",
        "properties": dict(fields),
        "required": list(fields),
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {"questions": {"type": "array", "items": candidate, "minItems": count, "maxItems": count}},
        "required": ["questions"],
        "additionalProperties": False,
    }


def read_reply(reply: str) -> list[Candidate]:
    """Return the candidates in a reply. Raises ReplyUnreadable."""
    return reply_entries(reply, lambda entry: Candidate(**{name: one_line(entry[name]) for name in FIELDS}))


def reply_entries(reply: str, read: Callable[[Any], Entry]) -> list[Entry]:
    """Return what `read` makes of each question in a reply. Raises ReplyUnreadable."""
    try:
        # Grammars allow control characters in strings, strict JSON does not.
        return [read(entry) for entry in json.loads(reply, strict=False)["questions"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ReplyUnreadable(one_line(reply[:LONGEST_TEXT])) from error


def judge(
    candidate: Candidate, group: str, accepted: Sequence[AspectQuestion], classes: ClassNames
) -> AspectQuestion | Rejection:
    """Return the question of `candidate`, with a unique key, or the reason to reject it given those `accepted`."""
    reason = _fault(candidate.text, classes) or _twin_fault(candidate) or _repetition(candidate.text, accepted)
    if reason is not None:
        return Rejection(group=group, text=candidate.text, reason=reason)
    return AspectQuestion(
        key=repair_key(candidate.key, candidate.text, {question.key for question in accepted}),
        text=candidate.text,
        group=group,
        negation=candidate.negation,
    )


def repair_key(key: str, text: str, taken: Collection[str]) -> str:
    """Return `key` as an unused column name, or one made of the text's words if nothing of it is usable."""
    distinctive = [word for word in words(text) if word not in STOP_WORDS]
    slugs = (_slug(part) for part in (key, " ".join(distinctive[:4]), "question"))
    repaired = next(slug for slug in slugs if KEY_PATTERN.fullmatch(slug) and slug not in RESERVED_KEYS)
    number, free = 1, repaired
    while free in taken:
        number += 1
        free = f"{repaired}_{number}"
    return free


def _slug(text: str) -> str:
    """Return lower-case ASCII letters, digits and `_`, starting with a letter; accents are removed."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "_", plain).lstrip("_0123456789")[:LONGEST_KEY].strip("_")


def _fault(text: str, classes: ClassNames) -> str | None:
    if not is_yes_no_question(text):
        return "no yes/no question"
    if is_either_or(text):
        return "either-or wording"
    if is_negated(text):
        return "negated wording"
    named = classes.named_in(text)
    return None if named is None else f"names the class {named!r}"


def _twin_fault(candidate: Candidate) -> str | None:
    if not candidate.negation:
        return "negation is missing"
    if words(candidate.negation) == words(candidate.text):
        return "negation asks the same"
    if not is_yes_no_question(candidate.negation):
        return "negation is no yes/no question"
    return None


def _repetition(text: str, accepted: Sequence[AspectQuestion]) -> str | None:
    for question in accepted:
        if nearly_the_same(text, question.text):
            return f"repeats {question.text!r}"
        if question.negation is not None and words(text) == words(question.negation):
            return f"asks the opposite of {question.text!r}"
    return None


def one_line(text: str) -> str:
    # Surrogates cannot be encoded, and control characters affect terminals.
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())
