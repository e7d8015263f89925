"""The header of answer files: dataset, teacher and questions, as JSON with a version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from storage.errors import VersionUnsupported
from storage.questions import AspectQuestion, Choice, Option, QuestionSet
from storage.text import as_yaml, printable
from storage.versions import is_newer, is_version

# 2: rows that are classes, and multiple-choice questions. 3: rows with answers to some of the questions, and manifests
# that list compacted files. Headers without them are written as version 1.
SCHEMA_VERSION = COMPACTED_VERSION = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerHeader:
    """The metadata that all shards of a directory share; written into each one.

    `teacher` describes the teacher (model, prompt, dtype, ...), `teacher_fingerprint` identifies it. Where the answers
    are `partial`, a null in a row without an error is a pair that was skipped: it has not been asked.
    """

    dataset: str
    teacher_fingerprint: str
    teacher: Mapping[str, Any]
    questions: QuestionSet
    libraries: Mapping[str, str]
    partial: bool = False

    @property
    def rows_are_classes(self) -> bool:
        """Whether each row is a class. Imported answers about classes have a row for each image."""
        return self.teacher.get("about") == "classes" and "format" not in self.teacher

    def to_json(self) -> dict[str, Any]:
        version = 2 if self.rows_are_classes or self.questions.choices else 1
        return {
            "schema_version": SCHEMA_VERSION if self.partial else version,
            "dataset": self.dataset,
            "teacher_fingerprint": self.teacher_fingerprint,
            "teacher": dict(self.teacher),
            "questions_fingerprint": self.questions.fingerprint,
            "questions": [_question_json(question) for question in self.questions.questions],
            "libraries": dict(self.libraries),
            **({"partial": True} if self.partial else {}),
        }

    @classmethod
    def from_json(cls, document: object) -> AnswerHeader:
        """The inverse of `to_json`; fields unknown to this release are ignored.

        Raises VersionUnsupported for a newer schema version, ValueError for anything that is not a header.
        """
        check_version(document)
        try:
            read = HeaderFields.model_validate(document)
        except ValidationError as error:
            raise ValueError(first_problem(error)) from error
        questions = QuestionSet(tuple(question.to_question() for question in read.questions))
        if questions.fingerprint != read.questions_fingerprint:
            raise ValueError(f"its questions are not those of the fingerprint {read.questions_fingerprint}")
        return cls(
            dataset=read.dataset,
            teacher_fingerprint=read.teacher_fingerprint,
            teacher=read.teacher,
            questions=questions,
            libraries=read.libraries,
            partial=read.partial,
        )


def _question_json(question: AspectQuestion) -> dict[str, Any]:
    found: dict[str, Any] = {name: getattr(question, name) for name in ("key", "text", "group", "negation")}
    if (option := question.option) is not None:
        found["option"] = {
            "question": option.choice.text,
            "options": list(option.choice.options),
            "index": option.index,
        }
    return found


class StoredFields(BaseModel):
    """Fields of a stored document. Types are validated strictly; fields of a later release are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class OptionFields(StoredFields):
    """An option of a multiple-choice question as it is stored."""

    question: str
    options: list[str]
    index: int


class QuestionFields(StoredFields):
    """A question as it is stored."""

    key: str
    text: str
    group: str | None = None
    negation: str | None = None
    option: OptionFields | None = None

    def to_question(self) -> AspectQuestion:
        """Raises ValueError for an option that is not there."""
        option = None
        if self.option is not None:
            option = Option(Choice(self.option.question, tuple(self.option.options)), self.option.index)
            if not 0 <= option.index < len(option.choice.options):
                raise ValueError(f"question '{printable(self.key, 40)}' has no option {option.index}")
        return AspectQuestion(key=self.key, text=self.text, group=self.group, negation=self.negation, option=option)


class HeaderFields(StoredFields):
    """An `AnswerHeader` as it is stored."""

    dataset: str
    teacher_fingerprint: str
    teacher: dict[str, Any]
    questions_fingerprint: str
    questions: list[QuestionFields]
    libraries: dict[str, str]
    partial: bool = False


def check_version(document: object) -> None:
    """Raise VersionUnsupported for a document of a newer release, and ValueError for one without a version."""
    if not isinstance(document, Mapping):
        raise ValueError(f"it is {type(document).__name__}, not an object with fields")
    version = document.get("schema_version")
    if is_newer(version, SCHEMA_VERSION):
        raise VersionUnsupported(
            f"written by a newer release (schema version {printable(str(version), 40)}; this release reads up to "
            f"{SCHEMA_VERSION})"
        )
    if not is_version(version):
        raise ValueError(f"its schema version is {printable(as_yaml(version), 40)}")


def first_problem(error: ValidationError) -> str:
    """Return the first validation error, on one line."""
    first = error.errors(include_url=False, include_input=False)[0]
    return f"field {'.'.join(str(part) for part in first['loc'])}: {first['msg'].lower()}"
