"""Yes/no and multiple-choice questions about the classes: read from YAML, validated, fingerprinted, written."""

from __future__ import annotations

import difflib
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
from storage.text import as_yaml, printable

# Columns of every shard, which no question key may shadow.
RESERVED_KEYS = frozenset({"image_id", "image_sha256", "split", "label", "label_name", "error", "box_id", "box"})
KEY_PATTERN = re.compile(r"[a-z][a-z0-9_]*")
FEWEST_OPTIONS, MOST_OPTIONS = 2, 9
YES_NO_FIELDS, CHOICE_FIELDS = ("key", "text", "group", "negation"), ("key", "text", "options")  # of entries


class QuestionsInvalid(InputInvalid):
    """The question set cannot be used as it is; the message says what, where and what to do."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A multiple-choice question and its options."""

    text: str
    options: tuple[str, ...]

    def __post_init__(self) -> None:
        shown = f"'{printable(self.text, 60)}'"
        if not FEWEST_OPTIONS <= len(self.options) <= MOST_OPTIONS:
            raise QuestionsInvalid(
                f"question {shown} has {len(self.options)} options; give {FEWEST_OPTIONS} to {MOST_OPTIONS}"
            )
        for option in self.options:
            if not option.strip() or not option.isprintable():
                raise QuestionsInvalid(
                    f"question {shown} has the option {as_yaml(option)}; write each as text on one line"
                )
        options = [option.strip().casefold() for option in self.options]
        if repeated := sorted(option for option in options if options.count(option) > 1):
            raise QuestionsInvalid(f"question {shown} has the option {repeated[0]!r} more than once")

    def aspects(self, key: str) -> tuple[AspectQuestion, ...]:
        """Return one aspect for each option, as LaViD's answers are imported: `key` is their group."""
        return tuple(
            AspectQuestion(
                key=f"{key}_{number}", text=f"{self.text} {option}", group=key, option=Option(self, number - 1)
            )
            for number, option in enumerate(self.options, start=1)
        )


@dataclass(frozen=True, slots=True)
class Option:
    """One of the options of a multiple-choice question, by its index."""

    choice: Choice
    index: int

    @property
    def text(self) -> str:
        return self.choice.options[self.index]


@dataclass(frozen=True, slots=True, kw_only=True)
class AspectQuestion:
    """One yes/no question, or one `option` of a multiple-choice question. `key` names its Parquet column, so it never
    changes."""

    key: str
    text: str
    group: str | None = None
    negation: str | None = None
    option: Option | None = None

    def __post_init__(self) -> None:
        if not KEY_PATTERN.fullmatch(self.key) or self.key in RESERVED_KEYS:
            raise QuestionsInvalid(f"key {self.key!r} is no free column name; use snake_case, e.g. 'has_stripes'")
        if not self.text.strip():
            raise QuestionsInvalid(f"question '{self.key}' has no text; write one, e.g. 'Does it have stripes?'")
        if self.negation is not None and self.negation.strip() in ("", self.text.strip()):
            raise QuestionsInvalid(f"negation of question '{self.key}' asks nothing new; reword it, else leave it out")

    @property
    def asked(self) -> str | Option:
        """What the teacher is asked: the text of a yes/no question, or the option of a multiple-choice question."""
        return self.option or self.text

    @property
    def reuse_key(self) -> str:
        """What an answer depends on: the text; for an option all options too, in any order."""
        if self.option is None:
            return self.text
        choice = self.option.choice
        return json.dumps([choice.text, sorted(choice.options), self.option.text], ensure_ascii=False)


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

    def named(self, name: str) -> AspectQuestion:
        """Return the question with this key or text. Raises QuestionsInvalid, with similar ones, if there is none."""
        wanted = name.strip().casefold()
        for question in self.questions:
            if wanted in (question.key, question.text.strip().casefold()):
                return question
        close = difflib.get_close_matches(wanted, [*self.keys, *self.texts], n=2)
        hint = f"did you mean {' or '.join(repr(one) for one in close)}?" if close else f"e.g. '{self.keys[0]}'"
        raise QuestionsInvalid(f"no question has the key or text '{printable(name, 100)}'; {hint}")

    @property
    def reuse_keys(self) -> tuple[str, ...]:
        return tuple(question.reuse_key for question in self.questions)

    @property
    def choices(self) -> tuple[Choice, ...]:
        """The multiple-choice questions, in order."""
        return tuple(dict.fromkeys(question.option.choice for question in self.questions if question.option))

    @property
    def fingerprint(self) -> str:
        """12 hex digits of the ordered keys, texts and options, which determine columns and answers. Groups are not
        part of it."""
        asked = [
            [question.key, question.text, *([list(question.option.choice.options)] if question.option else [])]
            for question in self.questions
        ]
        return hashlib.sha256(json.dumps(asked, ensure_ascii=False).encode()).hexdigest()[:12]


def load_questions(path: Path) -> QuestionSet:
    """Read a question set from a YAML file: a list under `questions`, each with `key`, `text`, and optional `group` and
    `negation`, or with `key`, `text` and `options`: a multiple-choice question, which becomes one aspect per option.

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
        parsed = [_parse(number, entry) for number, entry in enumerate(entries, start=1)]
        return QuestionSet(tuple(question for questions in parsed for question in questions))
    except QuestionsInvalid as error:
        raise QuestionsInvalid(f"{path}: {error}") from error


def write_questions(path: Path, questions: QuestionSet, *, heading: str = "", replace: bool = False) -> None:
    """Write a YAML file for `load_questions` atomically; the lines of `heading` become comments.

    Raises QuestionsInvalid if the file exists, unless `replace` is set.
    """
    if not replace:
        refuse_existing(path)
    entries = [
        _entry(question) for question in questions.questions if question.option is None or not question.option.index
    ]
    comments = "".join(f"# {line}".rstrip() + "\n" for line in heading.splitlines())
    # Do not wrap: a question is easier to read on one line.
    document = yaml.safe_dump({"questions": entries}, sort_keys=False, allow_unicode=True, width=float("inf"))
    write_file(path, (comments + document).encode())


def refuse_existing(path: Path) -> None:
    """Raise QuestionsInvalid if writing would replace a question set."""
    if path.exists():
        raise QuestionsInvalid(f"{path} exists already; choose another file, or replace it with --force")


def _entry(question: AspectQuestion) -> dict[str, Any]:
    """Return the YAML entry of a yes/no question, or of the multiple-choice question of a first option."""
    if question.option is not None:
        choice = question.option.choice
        return {"key": question.group, "text": choice.text, "options": list(choice.options)}
    fields = {name: getattr(question, name) for name in YES_NO_FIELDS}
    return {name: value for name, value in fields.items() if value is not None}


def _parse(number: int, entry: Any) -> tuple[AspectQuestion, ...]:
    if not isinstance(entry, dict) or not {"key", "text"} <= entry.keys():
        raise QuestionsInvalid(f"entry {number} needs 'key' and 'text', e.g. {{key: has_stripes, text: ...}}")
    is_choice = "options" in entry
    known = CHOICE_FIELDS if is_choice else YES_NO_FIELDS
    if unknown := sorted(str(name) for name in entry.keys() - set(known)):
        if is_choice and unknown[0] in YES_NO_FIELDS:
            raise QuestionsInvalid(f"entry {number} has options, and so no '{unknown[0]}'; leave one of them out")
        raise QuestionsInvalid(f"entry {number} has unknown field '{unknown[0]}'; known are {', '.join(known)}")
    options = entry.get("options", [])
    if not isinstance(options, list):
        raise QuestionsInvalid(
            f'entry {number}: \'options\' is {as_yaml(options)}, not a list; write e.g. ["Red", "Blue"]'
        )
    values = [
        *((name, value) for name, value in entry.items() if name != "options"),
        *(("options", o) for o in options),
    ]
    for name, value in values:
        if not isinstance(value, str):
            raise QuestionsInvalid(f"entry {number}: '{name}' is {as_yaml(value)}, not a string; put it in quotes")
    if not is_choice:
        return (AspectQuestion(**entry),)
    if not entry["text"].strip():
        raise QuestionsInvalid(f"question '{entry['key']}' has no text; write one, e.g. 'What colour is it?'")
    return Choice(entry["text"], tuple(options)).aspects(entry["key"])


def _refuse_repeats(what: str, values: list[str]) -> None:
    repeated = sorted(value for value, count in Counter(values).items() if count > 1)
    if repeated:
        raise QuestionsInvalid(f"{what} {repeated[0]!r} occurs more than once; each question needs its own {what}")
