"""Dataset and questions in, answers in the store out, then students trained on them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from flows.cli.report import listed
from flows.parameters import (
    SMALL_STUDENT,
    DatasetParameters,
    EngineParameters,
    StudentParameters,
    TeacherParameters,
)
from flows.work.asking import TeacherWorkers, ask_missing
from flows.work.checks import TRAINED, check_training
from flows.work.host import Host, Reporter
from flows.work.inputs import Inputs
from flows.work.training import train_student
from storage.answers.lease import lease
from storage.answers.read import join_shards
from storage.answers.reuse import KnownAnswers, known_answers
from storage.answers.store import AnswerDirectory
from storage.datasets.base import ImageDataset, select
from storage.errors import RunFailed
from storage.questions import QuestionSet, load_questions
from teacher.engines.config import ResolvedTeacher
from teacher.engines.presets import TINY
from teacher.extraction.failures import is_for_now
from teacher.extraction.finish import failures_of, finish_plan
from teacher.extraction.forecast import Forecast, forecast
from teacher.extraction.jobs import Extraction
from teacher.extraction.ledger import Ledger
from teacher.extraction.plan import SHARD_SIZE, ExtractionPlan, directory_of, plan_extraction

if TYPE_CHECKING:
    from student.core.results import Results

# What the flow's pages show as defaults.
TRAINING_SPLIT = ["train"]
NO_TEACHER = TeacherParameters()  # which one, the dataset may say
PRESENT_ENGINE = EngineParameters()


@dataclass(frozen=True, kw_only=True)
class ExtractionSummary:
    """What an extraction found and did, and the reason of each image that has no answers.

    `ledger` is None where nothing was to be asked. `results` are the students, where any were trained.
    """

    directory: str
    images: int
    questions: int
    shards: int
    shards_kept: int
    failures: Mapping[str, str]
    about: str = "images"
    ledger: Ledger | None = None
    results: Results | None = None

    @property
    def asked(self) -> int:
        """Answers that the teacher was asked for."""
        return self.ledger.questions if self.ledger else 0

    @property
    def for_now(self) -> list[str]:
        """The images without answers that are to be asked about again."""
        return [image_id for image_id, error in self.failures.items() if is_for_now(error)]

    @property
    def reused(self) -> int:
        """Answers that other directories of the store had."""
        return self.ledger.reused if self.ledger else 0


class ImagesUnanswered(RunFailed):
    """Images have no answers for the time being; the message says how many and what to do."""


def extract_aspects(
    host: Host,
    dataset: DatasetParameters,
    questions: str,
    splits: Annotated[list[str], Field(min_length=1)] = TRAINING_SPLIT,
    teacher: TeacherParameters = NO_TEACHER,
    engine: EngineParameters = PRESENT_ENGINE,
    store: str = "store",
    shard_size: Annotated[int, Field(ge=1)] = SHARD_SIZE,
    train: bool = True,
    student: StudentParameters = SMALL_STUDENT,
    verify: bool = False,
) -> ExtractionSummary:
    """Ask what the store does not have yet, then train students with and without the answers if `train`.

    Safe to start again at any time: finished shards are kept, and where nothing is missing no model is loaded.
    `questions` is a YAML file, `store` a folder or an address such as s3://bucket/path. With `verify` every image is
    read, also where its file has the recorded size and modification time.
    """
    asked_questions = load_questions(Path(questions).expanduser())
    with host.reporter.working("reading the dataset"):
        images = host.inputs.images(dataset)
        resolved = find_teacher(host.reporter, teacher, dataset, engine)
        select(images, splits)
        if train:
            answered = splits_to_have(directory_of(images, asked_questions, resolved, store), splits)
            check_training(images, asked_questions, answered, resolved.fingerprint, student)
    with TeacherWorkers(resolved, engine) as workers:
        summary = ask_about(host, images, asked_questions, splits, workers, store, shard_size, verify=verify)
    require_all([summary])
    if not train:
        return summary
    results = train_student(
        host, dataset=dataset, store=store, teacher=resolved.fingerprint, questions=questions, student=student
    )
    return ExtractionSummary(**{**vars(summary), "results": results})


def ask_about(
    host: Host,
    images: ImageDataset,
    asked_questions: QuestionSet,
    splits: list[str],
    workers: TeacherWorkers,
    store: str,
    shard_size: int,
    *,
    verify: bool = False,
) -> ExtractionSummary:
    """Ask what the store does not have yet about these images, complete its directory, and report that.

    Raises DirectoryBusy where another run is at it, and StorageUnavailable.
    """
    # From the plan to the end: what another run writes or deletes meanwhile would make the plan wrong.
    with lease(directory_of(images, asked_questions, workers.teacher, store)):
        with host.reporter.working(f"comparing {len(images.records)} images with the store"):
            plan = plan_extraction(
                images, splits, asked_questions, workers.teacher, store, shard_size=shard_size, verify=verify
            )
        summary = _ask_planned(host, plan, images, workers, store)
    for line in describe(summary):
        host.reporter.say(line)
    if summary.ledger is not None:
        host.reporter.page("ledger", summary.ledger.markdown(), f"cost of {plan.header.dataset}")
    return summary


def _ask_planned(
    host: Host, plan: ExtractionPlan, images: ImageDataset, workers: TeacherWorkers, store: str
) -> ExtractionSummary:
    accounts = (plan.directory.last_manifest() or {}).get("runs", [])
    ledger = known = None
    if plan.missing:
        texts, read = plan.header.questions.texts, {plan.directory.path: plan.stored}
        known = known_answers(store, [images.name], workers.teacher.fingerprint, texts, read)
        ledger = ask_missing(host, [Extraction(plan=plan, dataset=images)], workers, known)
        accounts = [*accounts, ledger.to_json()]
    whole = finish_plan(plan, {"runs": accounts}, known)
    # Training, which may follow, needs them.
    host.inputs.keep_answers(plan.directory, join_shards(plan.header, [stored.answers for stored in whole.values()]))
    return ExtractionSummary(
        directory=plan.directory.path,
        images=plan.images,
        questions=len(plan.header.questions),
        shards=len(plan.shards),
        shards_kept=len(plan.shards) - len(plan.missing),
        failures=failures_of(whole.values()),
        about=plan.subject,
        ledger=ledger,
    )


def require_all(summaries: Iterable[ExtractionSummary]) -> None:
    """Raise ImagesUnanswered where some are left unanswered for the time being."""
    if waiting := [image_id for summary in summaries for image_id in summary.for_now]:
        raise ImagesUnanswered(
            f"{len(waiting)} images could not be read now and have no answers yet, e.g. {waiting[0]}; all other "
            "answers are kept: the same command asks about them again as soon as they can be read"
        )


def forecast_about(
    images: ImageDataset,
    asked_questions: QuestionSet,
    splits: list[str],
    resolved: ResolvedTeacher,
    store: str,
    shard_size: int,
    *,
    verify: bool = False,
) -> Forecast:
    """What `ask_about` would ask. Loads no model and writes nothing."""
    plan = plan_extraction(images, splits, asked_questions, resolved, store, shard_size=shard_size, verify=verify)
    known = KnownAnswers()
    if plan.missing:
        read = {plan.directory.path: plan.stored}
        known = known_answers(store, [images.name], resolved.fingerprint, asked_questions.texts, read)
    return forecast(plan, known, store)


def find_teacher(
    reporter: Reporter, teacher: TeacherParameters, dataset: DatasetParameters, engine: EngineParameters
) -> ResolvedTeacher:
    """The teacher of the dataset. Raises TeacherMissing and TeacherInvalid; says so where the bundled teacher is
    asked about images that it does not know."""
    chosen, name = teacher.answering(dataset), engine.choose()[0]
    if chosen.model == TINY and name != "openai" and not dataset.is_rendered():
        reporter.say("note: teacher tiny knows rendered scenes only; its answers about other images say little")
    return chosen.resolve(name, engine.settings())


def splits_to_have(directory: AnswerDirectory, splits: Sequence[str]) -> list[str]:
    """The splits that a directory will have once `splits` are asked about. Its shards are read only where that decides
    whether students can be trained. Raises VersionUnsupported and StorageUnavailable."""
    return [*splits] if TRAINED in splits else [*splits, *directory.splits()]


def check_inputs(
    inputs: Inputs,
    dataset: DatasetParameters,
    questions: str,
    splits: list[str],
    teacher: TeacherParameters,
    engine: EngineParameters,
) -> None:
    """Raise what `extract_aspects` would raise about its inputs, as far as that is found out without reading images."""
    load_questions(Path(questions).expanduser())
    select(inputs.images(dataset), splits)
    engine.choose()  # before the teacher: a missing engine is what most users lack
    teacher.answering(dataset).check(engine)
    engine.devices()


def describe(summary: ExtractionSummary) -> list[str]:
    """The summary in lines for people."""
    return [
        f"{summary.images} {summary.about} x {summary.questions} questions: {summary.asked} answers asked, "
        f"{summary.reused} reused, {summary.shards_kept} of {summary.shards} shards were already there",
        *(summary.ledger.lines() if summary.ledger else []),
        f"answers: {summary.directory}",
        *listed(f"{summary.about} without answers", dict(summary.failures)),
        *([f"to be asked about again: {len(summary.for_now)}"] if summary.for_now else []),
    ]
