"""Read the file of answers that the options of `aspects import-answers` describe."""

from __future__ import annotations

from pathlib import Path

from flows.option_values import OptionInvalid
from storage.questions import load_questions
from teacher.extraction.precomputed import PrecomputedAnswers, read_attributes, read_lavid, read_makd


def read_answers_file(file: Path, format: str, questions: Path | None, aliases: list[str] | None) -> PrecomputedAnswers:
    """Read the answers. Raises OptionInvalid if options contradict each other, and the errors of the readers."""
    if format == "lavid":
        if questions is None:
            raise OptionInvalid("format lavid needs --questions with its text file of multiple-choice questions")
        return read_lavid(file, questions, _pairs(aliases))
    if aliases:
        raise OptionInvalid(f"--alias works with format lavid only, not with {format}")
    asked = load_questions(questions) if questions else None
    return read_makd(file, asked) if format == "makd" else read_attributes(file, asked)


def _pairs(aliases: list[str] | None) -> dict[str, str]:
    pairs = {}
    for alias in aliases or []:
        ours, equals, theirs = alias.partition("=")
        if not (ours and equals and theirs):
            raise OptionInvalid(f"--alias {alias!r} is no pair; write --alias DATASET_CLASS=FILE_CLASS")
        pairs[ours] = theirs
    return pairs
