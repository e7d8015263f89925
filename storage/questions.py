"""Yes/no questions about the classes: read from YAML, validated, fingerprinted, written."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from storage.bundled import find_file, say_names
from storage.documents import MEGABYTE, DocumentInvalid, decode, parse_yaml, read_bytes
from storage.errors import InputInvalid
from storage.filesystem import write_file

# Columns of every shard, which no question key may shadow.
RESERVED_KEYS = frozenset({"image_id", "image_sha256", "split", "label", "label_name", "error", "box_id", "box"})
KEY_PATTERN = re.compile(r"[a-z][a-z0-9_]*")


class QuestionsInvalid(InputInvalid):
    """The question set cannot be used as it is; the message says what, where and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AspectQuestion:
    """One yes/no question. `key` names its Parquet column, so it never changes."""

    key: str
    text: str
    group: str | None = None
    negation: str | None = None

    def __post_init__(self) -> None:
        if not KEY_PATTERN.fullmatch(self.key) or self.key in RESERVED_KEYS:
            raise QuestionsInvalid(f"key {self.key!r} is no free column name; use snake_case, e.g. 'has_stripes'")
        if not self.text.strip():
            raise QuestionsInvalid(f"question '{self.key}' has no text; write one, e.g. 'Does it have stripes?'")
        if self.negation is not None and self.negation.strip() in ("", self.text.strip()):
            raise QuestionsInvalid(f"negation of question '{self.key}' asks nothing new; reword it, else leave it out")


@dataclass(frozen=True, slots=True)
class QuestionSet:
    """Questions in a fixed order, with unique keys and texts."""

    questions: tuple[AspectQuestion, ...]

    def __post_init__(self) -> None:
        if not self.questions:
            raise QuestionsInvalid("the question set is empty; add at least one question")
        _refuse_repeats("key", [question.key for question in self.questions])
        _refuse_repeats("text", [question.text.strip().casefold() for question in self.questions])

    def __len__(self) -> int:
        return len(self.questions)

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(question.key for question in self.questions)

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(question.text for question in self.questions)

    @property
    def fingerprint(self) -> str:
        """12 hex digits of the ordered keys and texts, which determine columns and answers. Groups are not part of
        it."""
        asked = [[question.key, question.text] for question in self.questions]
        return hashlib.sha256(json.dumps(asked, ensure_ascii=False).encode()).hexdigest()[:12]


def load_questions(path: Path) -> QuestionSet:
    """Read a question set from a YAML file: a list under `questions`, each with `key`, `text`, and optional `group` and
    `negation`.

    `path` may be the name of a bundled set, e.g. `flowers102`. Raises QuestionsInvalid, naming the file.
    """
    try:
        text = decode(read_bytes(find_file(path, "questions"), limit=MEGABYTE), path, "YAML")
    except OSError as error:
        hint = say_names("questions", error)
        raise QuestionsInvalid(f"cannot read question set {path}: {error.strerror}{hint}") from error
    except DocumentInvalid as error:
        raise QuestionsInvalid(f"question set {error}") from error
    try:
        document = parse_yaml(text, path)
    except DocumentInvalid as error:
        raise QuestionsInvalid(f"question set {error}; put every question text in quotes") from error
    entries = document.get("questions") if isinstance(document, dict) else document
    if not isinstance(entries, list):
        raise QuestionsInvalid(f"{path} has no list 'questions'; each entry needs 'key' and 'text'")
    try:
        return QuestionSet(tuple(_parse(number, entry) for number, entry in enumerate(entries, start=1)))
    except QuestionsInvalid as error:
        raise QuestionsInvalid(f"{path}: {error}") from error


def write_questions(path: Path, questions: QuestionSet, *, heading: str = "", replace: bool = False) -> None:
    """Write a YAML file for `load_questions` atomically; the lines of `heading` become comments.

    Raises QuestionsInvalid if the file exists, unless `replace` is set.
    """
    if not replace:
        refuse_existing(path)
    fields = [dataclasses.asdict(question) for question in questions.questions]
    entries = [{name: value for name, value in entry.items() if value is not None} for entry in fields]
    comments = "".join(f"# {line}".rstrip() + "\n" for line in heading.splitlines())
    # Do not wrap: a question is easier to read on one line.
    document = yaml.safe_dump({"questions": entries}, sort_keys=False, allow_unicode=True, width=float("inf"))
    write_file(path, (comments + document).encode())


def refuse_existing(path: Path) -> None:
    """Raise QuestionsInvalid if writing would replace a question set."""
    if path.exists():
        raise QuestionsInvalid(f"{path} exists already; choose another file, or replace it with --force")


def _parse(number: int, entry: Any) -> AspectQuestion:
    known = ("key", "text", "group", "negation")
    if not isinstance(entry, dict) or not {"key", "text"} <= entry.keys():
        raise QuestionsInvalid(f"entry {number} needs 'key' and 'text', e.g. {{key: has_stripes, text: ...}}")
    if unknown := sorted(str(name) for name in entry.keys() - set(known)):
        raise QuestionsInvalid(f"entry {number} has unknown field '{unknown[0]}'; known are {', '.join(known)}")
    for name, value in entry.items():
        if not isinstance(value, str):
            raise QuestionsInvalid(f"entry {number}: '{name}' is {value!r}, not a string; put it in quotes")
    return AspectQuestion(**entry)


def _refuse_repeats(what: str, values: list[str]) -> None:
    repeated = sorted(value for value, count in Counter(values).items() if count > 1)
    if repeated:
        raise QuestionsInvalid(f"{what} {repeated[0]!r} occurs more than once; each question needs its own {what}")
