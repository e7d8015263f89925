"""Choose questions by the answers about a sample: which candidates are usable, and which set separates the classes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from storage.answers.read import Answers
from storage.datasets.base import UNKNOWN, ImageRecord
from storage.questions import AspectQuestion, QuestionSet
from storage.statistics import effective_rank
from teacher.questions.audit import Probes, audit
from teacher.questions.candidates import Rejection
from teacher.questions.few_images import choose_questions
from teacher.questions.probes import choose_sample
from teacher.questions.wording import ClassNames, nearly_the_same

FIRST = 1 / 3  # share of a sample after which the audit rejects candidates
# Copies of other questions are left to `best_questions`: in a small sample, any two may look alike.
USABLE = ("keep", "weak", "redundant")


@dataclass
class PairBudget:
    """Counts distinct pairs of image and question. `free` are the texts of questions whose answers cost nothing."""

    limit: int | None = None
    free: frozenset[str] = frozenset()
    asked: dict[str, set[str]] = field(default_factory=dict)

    @property
    def spent(self) -> int:
        return sum(len(ids) for ids in self.asked.values())

    def cost(self, questions: Iterable[AspectQuestion], image_ids: Collection[str]) -> int:
        """Return the number of pairs that are new."""
        costly = [question.text for question in questions if question.text not in self.free]
        return sum(len(set(image_ids) - self.asked.get(text, set())) for text in costly)

    def fits(self, questions: Iterable[AspectQuestion], image_ids: Collection[str]) -> bool:
        return self.limit is None or self.spent + self.cost(questions, image_ids) <= self.limit

    def spend(self, questions: Iterable[AspectQuestion], image_ids: Collection[str]) -> None:
        for question in questions:
            if question.text not in self.free:
                self.asked.setdefault(question.text, set()).update(image_ids)


def stage_sizes(images: int) -> list[int]:
    """Return the number of images that candidates have been asked about after each stage."""
    return sorted({max(1, round(images * share)) for share in (FIRST, 1)})


def grow_sample(
    records: Sequence[ImageRecord], sample: Sequence[ImageRecord], focus: Collection[str], count: int, seed: int
) -> list[ImageRecord]:
    """Return `count` more labelled images, of the classes in `focus` where there are enough, before those of `sample`:
    earlier images of a sample are asked about first."""
    taken = {record.image_id for record in sample}
    left = [record for record in records if record.image_id not in taken and record.label != UNKNOWN]
    focused = [record for record in left if record.label_name in focus] or left
    return [*choose_sample(focused, count, seed=seed), *sample]


def usable(
    candidates: Sequence[AspectQuestion], present: Sequence[AspectQuestion], class_names: Sequence[str]
) -> tuple[list[AspectQuestion], list[Rejection]]:
    """Return the candidates that may be asked beside the `present` questions, with keys of their own, and the others:
    those that name a class or repeat a question."""
    names, found, rejected = ClassNames(class_names), list[AspectQuestion](), list[Rejection]()
    for candidate in candidates:
        named = names.named_in(candidate.text)
        repeated = next((one for one in (*present, *found) if nearly_the_same(one.text, candidate.text)), None)
        same_key = any(one.key == candidate.key for one in (*present, *found))
        reason = f"names the class {named!r}" if named is not None else ""
        if not reason and repeated is not None:
            reason = f"repeats {repeated.text!r}"
        if not reason and same_key:
            reason = f"has the key of another question, {candidate.key!r}"
        if reason:
            rejected.append(Rejection(group=candidate.group or "", text=candidate.text, reason=reason))
        else:
            found.append(candidate)
    return found, rejected


def unfit(answers: Answers, class_names: Sequence[str]) -> dict[str, str]:
    """Return the verdict of the audit, by key, about questions that it rejects by the answers about a sample."""
    found = audit(answers, Probes.unasked(answers), class_names)
    return {one.key: f"{one.verdict}: {one.reason}" for one in found.questions if one.verdict not in USABLE}


def best_questions(answers: Answers, count: int) -> list[str]:
    """Return the keys of the `count` questions that together separate the classes of the answered images best, in the
    set's order (see `choose_questions`)."""
    rows = [row for row, error in enumerate(answers.errors) if error is None]
    chosen = choose_questions(answers.p_yes[rows], [answers.label_names[row] for row in rows], count)
    return [answers.questions.keys[column] for column in chosen]


def rank_of(answers: Answers) -> float:
    """Return the effective rank of the answers that there are."""
    rows = [row for row, error in enumerate(answers.errors) if error is None]
    return effective_rank(answers.p_yes[rows]) if rows else 0.0


def merged(sets: Sequence[Sequence[AspectQuestion]]) -> QuestionSet:
    """Return the questions of several sequences as one set, those of the first ones first, each key once."""
    by_key: dict[str, AspectQuestion] = {}
    for question in (question for questions in sets for question in questions):
        by_key.setdefault(question.key, question)
    return QuestionSet(tuple(by_key.values()))


def confusion_focus(pairs: Mapping[tuple[str, str], int], most: int) -> list[tuple[str, str]]:
    """Return the `most` confused pairs, the worst first."""
    return sorted(pairs, key=lambda pair: -pairs[pair])[:most]


def mean_difference(values: ArrayLike, before: ArrayLike) -> tuple[float, float]:
    """Return the mean of the paired differences of N images and its standard error."""
    differences = np.asarray(values) - np.asarray(before)
    if len(differences) < 2:
        return float(differences.mean()), 0.0
    return float(differences.mean()), float(differences.std(ddof=1) / np.sqrt(len(differences)))
