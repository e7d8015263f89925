"""Answers beside those about the images: about a blank image, and to the negated questions.

Both are ordinary answers of the same teacher, kept with the audits of the store: the blank image as a dataset of its
own, `NAME~blank`, and the negated questions as a question set of its own about the images.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from storage.answers.damage import AnswersMissing
from storage.answers.directories import audits_of
from storage.answers.read import Answers, ReadAnswers, find_answers, read_answers
from storage.questions import AspectQuestion, QuestionSet

NEGATED = "__negated"  # ends the key of a negated question


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeAnswers:
    """Answers about a blank image, a single row, to the questions and their negations, and about the images to the
    negated questions; None where they were not asked."""

    blank: Answers | None = None
    negated: Answers | None = None

    @property
    def given(self) -> tuple[Answers, ...]:
        return tuple(answers for answers in (self.blank, self.negated) if answers is not None)

    def digest(self) -> bytes:
        """Return a digest of keys, image ids and log-odds."""
        digest = hashlib.sha256()
        for answers in self.given:
            digest.update(repr((answers.questions.keys, answers.image_ids)).encode())
            digest.update((answers.yes - answers.no).tobytes())
        return digest.digest()


def blank_name(dataset: str) -> str:
    """Return the name of the dataset that has the blank image alone."""
    return f"{dataset}~blank"


def negated_questions(questions: QuestionSet) -> QuestionSet | None:
    """Return the negations, each text once, their keys ending in NEGATED; None if no question has one."""
    found: dict[str, AspectQuestion] = {}
    for question in questions.questions:
        if question.negation is not None:
            negated = AspectQuestion(key=question.key + NEGATED, text=question.negation)
            found.setdefault(question.negation.strip().casefold(), negated)
    return QuestionSet(tuple(found.values())) if found else None


def blank_questions(questions: QuestionSet) -> QuestionSet:
    """Return what is asked about a blank image: the questions and their negations, each text once."""
    asked = {text.strip().casefold() for text in questions.texts}
    negated = negated_questions(questions)
    more = [] if negated is None else [one for one in negated.questions if one.text.strip().casefold() not in asked]
    return QuestionSet((*questions.questions, *more))


def read_probes(store: str, answers: Answers, read: ReadAnswers = read_answers) -> ProbeAnswers:
    """Return the stored probes of the teacher and the questions of `answers`.

    Raises AnswersMissing if there are none about a blank image; AnswersDamaged, VersionUnsupported and
    StorageUnavailable.
    """
    questions, teacher = answers.questions, answers.teacher
    blank = stored_blank(store, answers.dataset, teacher, questions, read)
    if blank is None:
        raise AnswersMissing(
            f"store {store} has no answers of teacher {teacher} about a blank image to question set "
            f"{questions.fingerprint}; ask for them by 'aspects extract --probes blank'"
        )
    negated = negated_questions(questions)
    about_images = None if negated is None else _find(audits_of(store), answers.dataset, teacher, negated, read)
    return ProbeAnswers(blank=blank, negated=about_images)


def stored_blank(
    store: str, dataset: str, teacher: str, questions: QuestionSet, read: ReadAnswers = read_answers
) -> Answers | None:
    """Return the stored answers about a blank image, a single row; None if there are none. Raises as `read_probes`."""
    found = _find(audits_of(store), blank_name(dataset), teacher, blank_questions(questions), read)
    return None if found is None or found.errors[0] is not None else found


def _find(place: str, dataset: str, teacher: str, questions: QuestionSet, read: ReadAnswers) -> Answers | None:
    try:
        return read(find_answers(place, dataset, teacher=teacher, questions=questions))
    except AnswersMissing as error:
        if type(error) is not AnswersMissing:  # damaged answers are not missing ones
            raise
        return None
