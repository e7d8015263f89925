"""Compare a question set with the sets that a store has answers to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from storage.answers.directories import answer_directories
from storage.answers.schema import AnswerHeader
from storage.questions import QuestionSet


@dataclass(frozen=True, kw_only=True)
class Change:
    """Keys that differ between a question set and the most similar answered set of one teacher on one dataset.

    A `reworded` question has the same key and another text. `complete`: every question of the set is answered.
    """

    dataset: str
    teacher: str
    new: Sequence[str]
    reworded: Sequence[str]
    gone: Sequence[str]
    complete: bool


def compare(questions: QuestionSet, store: str) -> list[Change]:
    """Return one Change per dataset and teacher with complete answers in the store.

    Raises AnswersDamaged, VersionUnsupported and StorageUnavailable.
    """
    stored: dict[tuple[str, str], list[QuestionSet]] = {}
    for directory in answer_directories(store):
        if (manifest := directory.manifest()) is not None:
            header = AnswerHeader.from_json(manifest)
            stored.setdefault((header.dataset, header.teacher_fingerprint), []).append(header.questions)
    return [_compare(questions, dataset, teacher, sets) for (dataset, teacher), sets in stored.items()]


def _compare(questions: QuestionSet, dataset: str, teacher: str, sets: Sequence[QuestionSet]) -> Change:
    nearest = max(sets, key=lambda known: len(set(known.texts) & set(questions.texts)))
    before = dict(zip(nearest.keys, nearest.texts, strict=True))
    now = dict(zip(questions.keys, questions.texts, strict=True))
    return Change(
        dataset=dataset,
        teacher=teacher,
        new=[key for key in now if key not in before],
        reworded=[key for key in now if key in before and now[key] != before[key]],
        gone=[key for key in before if key not in now],
        complete=any(known.fingerprint == questions.fingerprint for known in sets),
    )
