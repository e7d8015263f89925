"""The rounds of improving a question set: candidates are compared on a sample, students trained on the best set."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from flows.parameters import ImprovementParameters
from flows.work.asking import TeacherWorkers
from flows.work.auditing import ask_in_audits
from flows.work.candidates import CandidateSource
from flows.work.checks import TRAINED
from flows.work.host import Host
from storage.answers.directories import audits_of
from storage.answers.read import Answers, find_answers, read_answers
from storage.answers.store import AnswersMissing
from storage.datasets.base import UNKNOWN, ImageDataset, ImageRecord, select
from storage.questions import AspectQuestion, QuestionSet
from teacher.engines.config import ResolvedTeacher
from teacher.questions.improvement import (
    PairBudget,
    best_questions,
    grow_sample,
    mean_difference,
    merged,
    rank_of,
    stage_sizes,
    unfit,
    usable,
)
from teacher.questions.probes import Sample
from teacher.questions.rounds import Round

if TYPE_CHECKING:  # torch takes seconds
    from student.classification.config import StudentConfig
    from student.classification.fold_scores import FoldScores

NOTHING_LEFT = "no usable candidate is left"
SPENT = "the budget of pairs does not allow another round"


class RoundStopped(Exception):
    """A round ends without a result; the message says why."""


@dataclass(kw_only=True)
class Improvement:
    """What all rounds share, and what they have found so far."""

    host: Host
    asked: ImprovementParameters
    images: ImageDataset
    teacher: ResolvedTeacher
    source: CandidateSource
    config: StudentConfig
    folder: Path
    budget: PairBudget
    count: int
    scores: list[FoldScores] = field(default_factory=list)
    sample: list[ImageRecord] = field(default_factory=list)
    known: dict[str, AspectQuestion] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)

    @property
    def records(self) -> list[ImageRecord]:
        return [record for record in select(self.images, (TRAINED,)) if record.label != UNKNOWN]

    def start(self, start: QuestionSet, answers: Answers | None) -> Round:
        """Train with the answers to the start set, or by the labels alone where they are not there yet."""
        return self._measured(0, start, answers)

    def next_round(self, last: Round, start: QuestionSet, present: Sequence[AspectQuestion]) -> Round:
        """Choose another set and train with it; `present` are the questions of the set with answers about all images,
        none before the first set was asked. Raises RoundStopped."""
        number = last.number + 1
        pairs = [(first, second) for first, second, _ in last.confused]
        candidates, rejected = self._candidates(number, pairs, start, present)
        classes = {name for pair in pairs for name in pair} if number > 1 else set()
        more = self.asked.sample if number == 1 else math.ceil(self.asked.sample / 3)
        seed = 1000 * self.asked.student.seeds[0] + number
        self.sample = grow_sample(self.records, self.sample, classes, more, seed=seed)
        asked_candidates = len(candidates)
        with TeacherWorkers(self.teacher, self.asked.engine, self.host.reporter.say) as workers:
            sampled, left, unusable = self._compare(workers, present, candidates)
            sampled = sampled.only([one.key for one in (*present, *left)])
            keys = best_questions(sampled, self.count)
            by_key = {one.key: one for one in (*present, *candidates)}
            chosen = QuestionSet(tuple(by_key[key] for key in keys))
            answers = self._ask(workers, chosen, self.records)
        gone = [one.key for one in (*present, *left) if one.key not in keys]
        self.dropped = [*self._best_first(sampled, gone), *(key for key in self.dropped if key not in (*keys, *gone))]
        measured = self._measured(number, chosen, answers)
        before = last.keys if present else ()
        return dataclasses.replace(
            measured,
            added=tuple(key for key in keys if key not in before),
            dropped=tuple(key for key in before if key not in keys),
            candidates=asked_candidates,
            rejected=rejected + unusable,
            sample=len(self.sample),
        )

    def _candidates(
        self, number: int, pairs: list[tuple[str, str]], start: QuestionSet, present: Sequence[AspectQuestion]
    ) -> tuple[list[AspectQuestion], int]:
        """Return the candidates and the number of rejected ones. A start set without answers competes with them."""
        unasked = [] if present or number > 1 else list(start.questions)
        known = list({**{one.key: one for one in start.questions}, **self.known}.values())
        found = self.source.candidates(number, pairs, known, self.dropped)
        keys = {one.key for one in (*present, *unasked)}
        fresh, rejections = usable(
            [one for one in found if one.key not in keys], [*present, *unasked], self.images.class_names
        )
        candidates = [*unasked, *fresh]
        if not candidates:
            raise RoundStopped(NOTHING_LEFT)
        self.known.update({one.key: one for one in candidates})
        return candidates, len(rejections)

    def _compare(
        self, workers: TeacherWorkers, present: Sequence[AspectQuestion], candidates: Sequence[AspectQuestion]
    ) -> tuple[Answers, list[AspectQuestion], int]:
        """Ask candidates about a part of the sample, and those that the audit does not reject about all of it. Return
        the answers about the sample, the candidates that are left, and the number of the others."""
        left = list(candidates)
        for size in stage_sizes(len(self.sample)):
            answers = self._ask(workers, merged([present, left]), self.sample[:size])
            faults = unfit(answers, self.images.class_names)
            for one in left:
                if one.key in faults:
                    self.host.reporter.detail(f"candidate {one.key!r} dropped: {faults[one.key]}")
            left = [one for one in left if one.key not in faults]
            if not left and not present:
                raise RoundStopped(NOTHING_LEFT)
        return answers, left, len(candidates) - len(left)

    def _best_first(self, sampled: Answers, keys: Sequence[str]) -> list[str]:
        """Return the keys of questions that were not chosen, those of a set half as large as all before the others."""
        larger = best_questions(sampled, self.count + math.ceil(len(keys) / 2))
        return sorted(keys, key=lambda key: key not in larger)

    def _ask(self, workers: TeacherWorkers, questions: QuestionSet, records: Sequence[ImageRecord]) -> Answers:
        """Return the answers about `records`. Raises RoundStopped where the budget does not allow them."""
        wanted = {record.image_id for record in records}
        if not self.budget.fits(questions.questions, wanted):
            raise RoundStopped(SPENT)
        self.budget.spend(questions.questions, wanted)
        stored = self._stored(questions)
        if stored is None or not wanted <= set(stored.image_ids):
            ordered = [record for record in self.records if record.image_id in wanted]
            sample = Sample(dataset=self.images, records=ordered)
            (stored,), _ = ask_in_audits(self.host, [(sample, questions)], workers, self.asked.store)
        return stored.about(wanted)

    def _stored(self, questions: QuestionSet) -> Answers | None:
        place, teacher = audits_of(self.asked.store), self.teacher.fingerprint
        try:
            return read_answers(find_answers(place, self.images.name, teacher=teacher, questions=questions))
        except AnswersMissing:  # or damaged: they are asked again
            return None

    def _measured(self, number: int, questions: QuestionSet, answers: Answers | None) -> Round:
        """Train out-of-fold students and score them, against the best round before."""
        from student.classification.confused_classes import most_confused

        found = self._train(answers)
        gain = error = None
        if self.scores:
            gain, error = mean_difference(found.correct, max(self.scores, key=lambda one: one.top1).correct)
        self.scores.append(found)
        confused = most_confused(found.matrix, self.images.class_names, None)[: self.asked.confused_pairs]
        return Round(
            number=number,
            keys=questions.keys,
            pairs=self.budget.spent,
            effective_rank=None if answers is None else rank_of(answers),
            top1=found.top1,
            top1_error=found.top1_error,
            gain=gain,
            gain_error=error,
            confused=tuple((pair.first, pair.second, pair.images) for pair in confused),
        )

    def _train(self, answers: Answers | None) -> FoldScores:
        from student.classification.examples import TeacherAnswers
        from student.classification.fold_scores import score_folds
        from student.classification.fold_students import train_out_of_fold

        config = self.config
        if answers is None:
            config = config.replace(method=config.twin or config.method)
        students = [
            train_out_of_fold(
                config.replace(seed=seed),
                self.images,
                self.folder / "students" / f"seed-{seed}",
                folds=self.asked.folds,
                splits=(TRAINED,),
                teacher_answers=None if answers is None else TeacherAnswers(image=answers),
                progress=self.host.reporter.progress_bars,
            )
            for seed in self.asked.student.seeds
        ]
        return score_folds(students, {record.image_id: record.label for record in self.records})
