"""The flow `extract-aspects`: dataset and questions in, answers in the store out, then students trained on them."""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from prefect import flow, task
from prefect.artifacts import create_progress_artifact, create_table_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import TaskRun
from prefect.futures import PrefectFuture, as_completed
from prefect.logging import get_run_logger
from prefect.states import State
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.tasks import Task, exponential_backoff
from pydantic import Field

from flows.holder import EnginePool, TeacherGivenUp
from flows.parameters import (
    MAX_WORKERS,
    SMALL_STUDENT,
    DatasetParameters,
    EngineParameters,
    StudentParameters,
    TeacherParameters,
)
from flows.report import listed
from flows.terminal import AnswerBar, say, working
from flows.training import train_student
from storage.datasets.base import ImageDataset, select
from storage.questions import QuestionSet, load_questions
from storage.reuse import KnownAnswers, known_answers
from teacher.config import ResolvedTeacher
from teacher.extract import (
    SHARD_SIZE,
    ExtractionPlan,
    Progress,
    ShardSummary,
    ask_shard,
    finish_directory,
    plan_extraction,
)
from teacher.ledger import Ledger, add_up
from teacher.process import EngineProcess, TeacherDied

if TYPE_CHECKING:
    from student.experiment import Results

# For each worker: one shard's photos are read, decoded and rendered while the model is busy with the other's.
SHARDS_AT_ONCE = 2
# What the flow's pages show as defaults.
TRAINING_SPLIT = ["train"]
TINY_TEACHER = TeacherParameters()
PRESENT_ENGINE = EngineParameters()
# Errors of the file system that trying again does not cure.
LASTING = (PermissionError, NotADirectoryError, FileExistsError, IsADirectoryError)


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
    def reused(self) -> int:
        """Answers that other directories of the store had."""
        return self.ledger.reused if self.ledger else 0


@dataclass(frozen=True, kw_only=True)
class RunningExtraction:
    """What the shards of one flow run share. Tasks look it up by key: Prefect would hash it as an input."""

    dataset: ImageDataset
    plan: ExtractionPlan
    teacher: ResolvedTeacher
    known: KnownAnswers
    engines: EnginePool
    progress: Progress


_running: dict[int, RunningExtraction] = {}
_keys = itertools.count()


@contextmanager
def _held(extraction: RunningExtraction) -> Iterator[int]:
    """The key of `extraction`; at the end the engine's process is gone, and its GPU memory with it."""
    key = next(_keys)
    _running[key] = extraction
    try:
        yield key
    finally:
        extraction.engines.close()
        del _running[key]


def _is_worth_retrying(task: Task[..., object], task_run: TaskRun, state: State) -> bool:
    """A dead engine or a store out of reach may be well again; a user's mistake stays one."""
    return not isinstance(state.data, (ValueError, TeacherGivenUp, *LASTING))


@task(
    name="ask-shard",
    task_run_name="shard-{shard}",
    retries=3,
    retry_delay_seconds=exponential_backoff(backoff_factor=4),
    retry_condition_fn=_is_worth_retrying,
    # The store says what is done, not Prefect: its cache would go on saying so after the file is gone.
    cache_policy=NO_CACHE,
    persist_result=False,
)
def ask_one_shard(extraction: int, shard: int) -> ShardSummary:
    """Answer shard number `shard` of a running extraction and write its file."""
    running = _running.get(extraction)
    if running is None:  # interrupted: what still waits in the queue must not begin
        raise TeacherGivenUp("the flow run is over")
    place = next(missing for missing in running.plan.missing if missing.index == shard)
    with running.engines.lease() as holder:
        try:
            return ask_shard(
                place, running.plan, running.dataset, running.teacher, holder.engine, running.known, running.progress
            )
        except TeacherDied as error:
            raise holder.refusal or error from error


@flow(
    name="extract-aspects",
    task_runner=ThreadPoolTaskRunner(max_workers=SHARDS_AT_ONCE * MAX_WORKERS),  # type: ignore[arg-type]
    persist_result=False,
    description="Ask a multimodal LLM yes/no questions about every photo; keep the answers as Parquet; train on them.",
)
def extract_aspects(
    dataset: DatasetParameters,
    questions: str,
    splits: Annotated[list[str], Field(min_length=1)] = TRAINING_SPLIT,
    teacher: TeacherParameters = TINY_TEACHER,
    engine: EngineParameters = PRESENT_ENGINE,
    store: str = "store",
    shard_size: Annotated[int, Field(ge=1)] = SHARD_SIZE,
    train: bool = True,
    student: StudentParameters = SMALL_STUDENT,
) -> ExtractionSummary:
    """Ask what nobody has asked yet, then train students with and without the answers unless told not to.

    Safe to start again at any time: finished shards are kept, and where nothing is missing no model is loaded.
    `questions` is a YAML file, `store` a folder or an address such as s3://bucket/path.
    """
    if train:
        student.config()  # a wrong setting must not show only after hours of asking
    asked_questions = load_questions(Path(questions).expanduser())
    with working("reading the dataset"):
        images = dataset.open()
        resolved = teacher.resolve(engine.choose()[0])
    summary = ask_about(images, asked_questions, splits, resolved, engine, store, shard_size)
    if not train:
        return summary
    results = train_student(
        dataset=dataset, store=store, teacher=resolved.fingerprint, questions=questions, student=student
    )
    return ExtractionSummary(**{**vars(summary), "results": results})


def ask_about(
    images: ImageDataset,
    asked_questions: QuestionSet,
    splits: list[str],
    resolved: ResolvedTeacher,
    engine: EngineParameters,
    store: str,
    shard_size: int,
) -> ExtractionSummary:
    """Within a flow: ask what nobody has asked yet about these images, complete the store's directory, and say so."""
    with working(f"comparing {len(images.records)} images with the store"):
        plan = plan_extraction(images, splits, asked_questions, resolved, store, shard_size=shard_size)
    accounts = (plan.directory.last_manifest() or {}).get("runs", [])
    ledger = _ask_missing(plan, images, resolved, engine, store) if plan.missing else None
    if ledger is not None:
        accounts = [*accounts, ledger.to_json()]
    failures = finish_directory(plan.directory, plan.header, plan.shards, {"runs": accounts})
    summary = ExtractionSummary(
        directory=plan.directory.path,
        images=plan.images,
        questions=len(asked_questions),
        shards=len(plan.shards),
        shards_kept=len(plan.shards) - len(plan.missing),
        failures=failures,
        about=_subject(plan),
        ledger=ledger,
    )
    for line in describe(summary):
        say(line)
    if ledger is not None:
        create_table_artifact([ledger.to_json()], key="ledger", description=f"cost of {plan.header.dataset}")
    return summary


def check_inputs(
    dataset: DatasetParameters,
    questions: str,
    splits: list[str],
    teacher: TeacherParameters,
    engine: EngineParameters,
) -> None:
    """Raise what the flow would raise about its inputs, as far as that is found out without reading photos."""
    load_questions(Path(questions).expanduser())
    select(dataset.open(), splits)
    teacher.config()
    engine.choose()
    engine.devices()


def _ask_missing(
    plan: ExtractionPlan, dataset: ImageDataset, teacher: ResolvedTeacher, engine: EngineParameters, store: str
) -> Ledger:
    """One task for every missing shard, and the account of it all. Raises the first error once every shard has had its
    chances."""
    name, why = engine.choose()
    devices = engine.devices()
    options = engine.options(devices.workers_per_gpu)
    images = sum(len(shard.records) for shard in plan.missing)
    say(f"teacher {teacher.config.model} ({plan.header.teacher_fingerprint}) by engine {name} ({why})")
    kept = len(plan.shards) - len(plan.missing)
    questions = len(plan.header.questions)
    say(f"{images} {_subject(plan)} x {questions} questions in {len(plan.missing)} shards, {kept} shards kept")
    plan.directory.reopen()
    artifact: Any = create_progress_artifact(0.0, key="extraction", description=f"answers for {plan.header.dataset}")
    done: list[ShardSummary] = []
    errors: list[Exception] = []
    ready: list[float] = []
    started = time.monotonic()
    with AnswerBar(images, len(plan.header.questions)) as bar:

        def start(worker: int, cancelled: threading.Event) -> EngineProcess:
            process = EngineProcess(name, teacher, options, cancelled, devices.environments[worker])
            if process.slow_because and not ready:
                say(f"slower than it could be: {process.slow_because}")
            bar.ready()
            ready.append(time.monotonic())
            return process

        extraction = RunningExtraction(
            dataset=dataset,
            plan=plan,
            teacher=teacher,
            known=known_answers(store, dataset.name, plan.header.teacher_fingerprint),
            engines=EnginePool(start, len(devices)),
            progress=bar.advance,
        )
        with _held(extraction) as key:
            waiting = deque(shard.index for shard in plan.missing)
            asking: list[PrefectFuture[ShardSummary]] = []
            while waiting or asking:
                while waiting and len(asking) < SHARDS_AT_ONCE * len(devices):
                    asking.append(ask_one_shard.submit(key, waiting.popleft()))
                asking.remove(future := next(as_completed(asking)))
                try:
                    done.append(future.result())
                except Exception as error:  # every shard's error counts; the first is raised below
                    errors.append(error)
                update_progress_artifact(artifact, 100 * len(done) / len(plan.missing))
            finished = time.monotonic()
    if errors:
        if len(errors) > 1:
            get_run_logger().error("%d of %d shards failed; the first error follows", len(errors), len(plan.missing))
        raise errors[0]
    return add_up(
        done,
        extraction.engines.usages,
        seconds=finished - started,
        start_seconds=min(ready, default=started) - started,
        workers=len(devices),
        gpus=devices.gpus,
        **engine.prices(),
    )


def describe(summary: ExtractionSummary) -> list[str]:
    """The summary in lines for people."""
    return [
        f"{summary.images} {summary.about} x {summary.questions} questions: {summary.asked} answers asked, "
        f"{summary.reused} reused, {summary.shards_kept} of {summary.shards} shards were already there",
        *(summary.ledger.lines() if summary.ledger else []),
        f"answers: {summary.directory}",
        *listed(f"{summary.about} without answers", dict(summary.failures)),
    ]


def _subject(plan: ExtractionPlan) -> str:
    """What is asked about."""
    return "boxes" if any(record.box for shard in plan.shards for record in shard.records) else "images"
