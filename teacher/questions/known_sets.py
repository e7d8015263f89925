"""The question sets whose answers a store keeps."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from storage.answers.probes import blank_questions, negated_questions
from storage.questions import QuestionSet, QuestionsInvalid, load_questions
from teacher.questions.probes import probing_questions


def known_sets(places: Iterable[Path]) -> list[QuestionSet]:
    """Return all question sets in files and folders, and the variants that audits and probes ask.

    Raises QuestionsInvalid for a file that cannot be read, and if there is none: too much would be deleted.
    """
    places = list(places)
    files = [file for place in places for file in (sorted(place.glob("*.yaml")) if place.is_dir() else [place])]
    if not files:
        named = ", ".join(map(str, places))
        raise QuestionsInvalid(f"no question set in {named}; name those to keep with --questions FILE_OR_FOLDER")
    sets = [load_questions(file) for file in files]
    known = [(questions, probing_questions(questions), blank_questions(questions)) for questions in sets]
    negated = [found for questions in sets if (found := negated_questions(questions)) is not None]
    return [*(each for variants in known for each in variants), *negated]
