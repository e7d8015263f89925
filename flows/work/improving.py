"""Improve a question set in rounds: find confused classes, compare candidates on a sample, train with the best."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.parameters import ImprovementParameters
from flows.work.asking import TeacherWorkers
from flows.work.auditing import complete_answers
from flows.work.candidates import Pool, Written
from flows.work.checks import TRAINED, check_writable
from flows.work.extraction import ask_about, find_teacher
from flows.work.generation import check_output
from flows.work.host import Host
from flows.work.improvement_record import ImprovementInvalid, begin_record, markdown, write_record
from flows.work.improvement_rounds import Improvement, RoundStopped
from storage.datasets.base import ImageDataset
from storage.questions import QuestionSet, load_questions, write_questions
from teacher.engines.config import ResolvedTeacher
from teacher.extraction import SHARD_SIZE
from teacher.extraction.plan import require_askable
from teacher.questions.improvement import PairBudget, stage_sizes
from teacher.questions.rounds import Record, Round, best_round

NOISE = "the gain is within one standard error"


@dataclass(frozen=True, kw_only=True)
class ImprovementSummary:
    """The improved set, its file, and the rounds."""

    questions: QuestionSet
    output: Path
    record: Record


def improve_questions(host: Host, asked: ImprovementParameters) -> ImprovementSummary:
    """Improve a question set in rounds, and ask the best set about all training images.

    Each round asks candidates about a sample, chooses the set that separates the classes best by these answers, asks it
    about all training images and trains out-of-fold students, whose confused classes the next round is about. It ends
    when a round gains less than its standard error, when the budget is spent, or after `rounds`. A stopped command
    resumes at its round: answers, candidates and students are kept. Raises ImprovementInvalid, and the errors of asking
    and training.
    """
    improvement, start, record = _prepare(host, asked)
    answers = complete_answers(asked.store, improvement.images.name, improvement.teacher, start)
    rounds = [improvement.start(start, answers if record.start_answered else None)]
    sets, present = [start], list(start.questions) if record.start_answered else []
    stopped = "all rounds are done"
    record = _keep(host, improvement, record, rounds, None)
    for _ in range(asked.rounds):
        try:
            found = improvement.next_round(rounds[-1], start, present)
        except RoundStopped as stop:
            stopped = str(stop)
            break
        rounds.append(found)
        by_key = {**{one.key: one for one in start.questions}, **improvement.known}
        sets.append(QuestionSet(tuple(by_key[key] for key in found.keys)))
        present = list(sets[-1].questions)
        record = _keep(host, improvement, record, rounds, None)
        if found.gain is not None and found.gain_error is not None and found.gain <= found.gain_error:
            stopped = NOISE
            break
    record = _keep(host, improvement, record, rounds, stopped)
    best = sets[record.best]
    _write(host, improvement, best, record)
    return ImprovementSummary(questions=best, output=asked.output_path(), record=record)


def _prepare(host: Host, asked: ImprovementParameters) -> tuple[Improvement, QuestionSet, Record]:
    """Read and check everything that rounds need. Raises ImprovementInvalid for unusable inputs."""
    asked.check_source()
    start, pool = load_questions(Path(asked.questions).expanduser()), asked.pool_questions()
    for questions in (start, pool):
        if questions is not None:
            require_askable(questions, "images")
    folder = Path(asked.student.runs).expanduser()
    check_writable(folder)
    with host.reporter.working("reading the dataset"):
        images = host.inputs.images(asked.dataset)
        teacher = find_teacher(host.reporter, asked)
    config = asked.student.config()
    if not config.objective.aspect_terms:
        raise ImprovementInvalid(f"method '{config.method}' learns no answers to questions; take another, e.g. makd")
    answered = complete_answers(asked.store, images.name, teacher, start) is not None
    inputs = _inputs(asked, images, teacher, start, pool)
    folder.mkdir(parents=True, exist_ok=True)
    record = begin_record(folder, inputs, start_answered=answered)
    improvement = Improvement(
        host=host,
        asked=asked,
        images=images,
        teacher=teacher,
        source=Pool(questions=pool) if pool is not None else _writer(host, asked, images, folder),
        config=config,
        folder=folder,
        budget=PairBudget(asked.budget_pairs, frozenset(start.texts) if record.start_answered else frozenset()),
        count=asked.count or len(start),
    )
    _require_budget(improvement, start, pool, answered=record.start_answered)
    return improvement, start, record


def _require_budget(improvement: Improvement, start: QuestionSet, pool: QuestionSet | None, *, answered: bool) -> None:
    """Raise ImprovementInvalid where the budget of pairs cannot allow a first round."""
    asked, images = improvement.asked, len(improvement.records)
    if asked.budget_pairs is None:
        return
    texts = set(pool.texts) if pool is not None else set()
    candidates = len(texts - set(start.texts) if answered else texts | set(start.texts))
    chosen = 0 if answered else min(improvement.count, candidates)  # with stored answers the start set may be the best
    first = min(stage_sizes(asked.sample)[0], images)
    least = chosen * images + (candidates - chosen) * first
    if asked.budget_pairs < least:
        raise ImprovementInvalid(
            f"budget_pairs={asked.budget_pairs:,} does not allow one round: {candidates} candidates about {first} "
            f"images, and {chosen} questions about all {images}, are {least:,} pairs at least; raise it, or lower "
            f"sample or count"
        )


def _writer(host: Host, asked: ImprovementParameters, images: ImageDataset, folder: Path) -> Written:
    check_output(folder / "round-1" / "candidates.yaml", asked.writing()[1], overwrite=True)
    return Written(host=host, asked=asked, class_names=images.class_names, folder=folder)


def _inputs(
    asked: ImprovementParameters,
    images: ImageDataset,
    teacher: ResolvedTeacher,
    start: QuestionSet,
    pool: QuestionSet | None,
) -> dict[str, Any]:
    """Return what an improvement depends on. Rounds and budget may be raised later."""
    names: Mapping[str, Any] = asked.model_dump(include={"candidates", "count", "sample", "folds", "confused_pairs"})
    return {
        "dataset": images.name,
        "teacher": teacher.fingerprint,
        "questions": start.fingerprint,
        "pool": None if pool is None else pool.fingerprint,
        "writer": None if pool is not None else asked.writing()[0].model,
        "seeds": list(asked.student.seeds),
        **names,
    }


def _keep(host: Host, improvement: Improvement, record: Record, rounds: Sequence[Round], stopped: str | None) -> Record:
    """Write the record with these rounds, and report the last one."""
    record = dataclasses.replace(
        record, rounds=tuple(rounds), stopped=stopped, best=best_round(rounds), pairs=improvement.budget.spent
    )
    write_record(improvement.folder, record)
    state = "not finished" if stopped is None else f"stopped: {stopped}"
    host.reporter.table("rounds", record.rows, f"rounds of {Path(improvement.asked.questions).name}, {state}")
    if stopped is None:
        last = rounds[-1]
        gain = "" if last.gain is None else f", {last.row()['gain (standard error)']} points over the best before"
        host.reporter.say(
            f"round {last.number}: top-1 {100 * last.top1:.1f} %{gain}, {last.pairs:,} pairs asked, "
            f"{len(last.added)} questions added"
        )
    return record


def _write(host: Host, improvement: Improvement, best: QuestionSet, record: Record) -> None:
    """Write the best set, and ask what the store lacks of it."""
    asked = improvement.asked
    heading = f"Improved from {Path(asked.questions).name} in {len(record.rounds) - 1} rounds.\n{record.stopped}"
    write_questions(asked.output_path(), best, heading=heading, replace=True)
    if record.best:
        with TeacherWorkers(improvement.teacher, asked.engine, host.reporter.say) as workers:
            ask_about(host, improvement.images, best, [TRAINED], workers, asked.store, SHARD_SIZE)
    host.reporter.page("rounds-report", markdown(record), f"written to {improvement.folder / 'rounds.md'}")
    host.reporter.say(f"{len(best)} questions of round {record.best}: {asked.output_path()}")
