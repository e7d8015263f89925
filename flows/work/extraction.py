"""Ask questions about a dataset, store the answers, then train students on them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from flows.parameters import (
    TASK_RUNS,
    AskingParameters,
    BudgetParameters,
    ExtractionParameters,
    TrainingParameters,
)
from flows.work.asking import TeacherWorkers, ask_missing
from flows.work.budget import BudgetedExtraction
from flows.work.budget_limits import limit_of, with_share
from flows.work.checks import TRAINED, check_training
from flows.work.extraction_summary import ExtractionSummary, describe, require_all
from flows.work.host import Host, Reporter
from flows.work.inputs import Inputs
from flows.work.probing import probing_of
from flows.work.reports import require_report_place
from flows.work.training import train_student
from storage.answers.directories import audits_of
from storage.answers.lease import lease
from storage.answers.predicted import budget_of
from storage.answers.probes import stored_blank
from storage.answers.read import join_shards
from storage.answers.reuse import KnownAnswers, known_answers
from storage.answers.store import AnswerDirectory
from storage.datasets.base import ImageDataset, select
from storage.questions import QuestionSet, load_questions
from teacher.engines.config import About, ResolvedTeacher
from teacher.engines.presets import TINY
from teacher.extraction.budget.cost import image_cost_of
from teacher.extraction.finish import failures_of, finish_plan
from teacher.extraction.forecast import last_account
from teacher.extraction.jobs import Extraction
from teacher.extraction.ledger import Ledger, sum_up
from teacher.extraction.plan import ExtractionPlan, directory_of, plan_extraction, require_askable

if TYPE_CHECKING:
    from storage.answers.read import Answers
    from student.classification.config import StudentConfig


CLASSES_IN_SHARD = 32


def extract_aspects(host: Host, asked: ExtractionParameters) -> ExtractionSummary:
    """Ask for missing answers, then train and compare students unless `train` is false.

    Can be restarted at any time: finished shards are kept, and if nothing is missing no model is loaded.
    """
    questions, store = load_questions(Path(asked.questions).expanduser()), asked.store
    if asked.train:
        require_report_place(asked)
    with host.reporter.working("reading the dataset"):
        images = host.inputs.images(asked.dataset)
        subjects, splits = asked.subjects(images, asked.splits_of(images))
        resolved = find_teacher(host.reporter, asked)
        require_askable(questions, asked.about)
        select(subjects, splits)
        probing = probing_of(asked, subjects, questions, splits)
        asked = with_share(asked, subjects, splits, resolved, questions)
        if asked.train:
            answered = [TRAINED]  # answers about classes are for images of any split
            if asked.about == "images":
                answered = splits_to_have(directory_of(images, questions, resolved, store), splits)
            probed = "blank" in (asked.probes or []) or (
                stored_blank(store, images.name, resolved.fingerprint, questions, host.inputs.answers) is not None
            )
            check_training(
                images,
                questions,
                answered,
                resolved.fingerprint,
                asked.student,
                about=asked.about,
                of_classes=read_class_answers(host.inputs, asked, asked.student.config()),
                probed=probed,
            )
    with TeacherWorkers(resolved, asked.engine, host.reporter.say) as workers:
        ask = partial(ask_about, host, verify=asked.verify, task_runs=asked.task_runs)
        summary = ask(
            subjects, questions, splits, workers, store, shard_size(asked), budget=asked, keep_answers=asked.train
        )
        probes = [
            ask(each, probe_set, some, workers, audits_of(store), asked.shard_size) for each, probe_set, some in probing
        ]
    require_all([summary, *probes])
    if not asked.train:
        return summary
    training = TrainingParameters(
        dataset=asked.dataset,
        store=store,
        teacher=[resolved.fingerprint],
        questions=asked.questions,
        class_teacher=asked.class_teacher,
        student=asked.student,
        report=asked.report,
    )
    return ExtractionSummary(**{**vars(summary), "results": train_student(host, training)})


def shard_size(asked: ExtractionParameters) -> int:
    """Return the number of rows in a shard: a class takes as long as hundreds of images' prompts."""
    return asked.shard_size if asked.about == "images" else min(asked.shard_size, CLASSES_IN_SHARD)


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
    budget: BudgetParameters | None = None,
    keep_answers: bool = False,
    task_runs: int = TASK_RUNS,
) -> ExtractionSummary:
    """Ask for missing answers about these images, within a budget if there is one, complete their directory, and report
    it.

    With `keep_answers` all answers stay in memory for training. Raises DirectoryBusy if another run is working on it,
    and StorageUnavailable.
    """
    # From the plan to the end: what another run writes or deletes meanwhile would make the plan wrong.
    with lease(directory_of(images, asked_questions, workers.teacher, store)):
        with host.reporter.working(f"comparing {len(images.records)} images with the store"):
            plan = plan_extraction(
                images,
                splits,
                asked_questions,
                workers.teacher,
                store,
                shard_size=shard_size,
                verify=verify,
                keep_answers=keep_answers or (budget is not None and budget.asks_part),
            )
        summary = _ask_planned(
            host, plan, images, workers, store, budget, keep_answers=keep_answers, task_runs=task_runs
        )
    for line in describe(summary):
        host.reporter.say(line)
    if summary.ledger is not None:
        host.reporter.page("ledger", summary.ledger.markdown(), f"cost of {plan.header.dataset}")
    return summary


def _ask_planned(
    host: Host,
    plan: ExtractionPlan,
    images: ImageDataset,
    workers: TeacherWorkers,
    store: str,
    budget: BudgetParameters | None,
    *,
    keep_answers: bool,
    task_runs: int,
) -> ExtractionSummary:
    facts = {"runs": (plan.directory.last_manifest() or {}).get("runs", [])}
    ledgers, kept = list[Ledger](), len(plan.shards) - len(plan.missing)
    known: KnownAnswers | None = None

    def ask(asked: ExtractionPlan) -> Ledger:
        nonlocal known
        if known is None:
            keys, rows = plan.header.questions.reuse_keys, asked.known_rows(copied=True)
            known = known_answers(store, [images.name], workers.teacher.fingerprint, keys, rows)
        return ask_missing(host, [Extraction(plan=asked, dataset=images)], workers, known, task_runs=task_runs)

    if budget is not None and budget.asks_part and plan.missing:
        image_cost = image_cost_of(last_account(store, workers.teacher.fingerprint))
        rounds = BudgetedExtraction(plan, images, budget, image_cost, ask, host.reporter)
        rounds.run()
        budgeted = {**rounds.facts, **limit_of(budget, rounds.table.pairs)}
        plan, ledgers, facts = rounds.plan, rounds.ledgers, {**facts, "budget": budgeted}
    elif plan.missing:
        ledgers = [ask(plan)]
    ledger = sum_up(ledgers) if ledgers else None
    if ledger is not None:
        facts["runs"] = [*facts["runs"], ledger.to_json()]
    whole = finish_plan(plan, facts, known, keep_answers=keep_answers)
    if ledgers and "budget" not in facts:
        for path in (plan.directory.choice_path, plan.directory.predicted_path):
            plan.directory.remove_file(path)
    if keep_answers:
        parts = [file.answers for file in whole.values() if file.answers is not None]
        host.inputs.keep_answers(plan.directory, join_shards(plan.header, parts, plan.images))
    return ExtractionSummary(
        directory=plan.directory.path,
        images=plan.images,
        questions=len(plan.header.questions),
        shards=len(plan.shards),
        shards_kept=kept,
        failures=failures_of(whole.values()),
        about=plan.subject,
        ledger=ledger,
        budget=budget_of(facts),
    )


def read_class_answers(inputs: Inputs, asked: ExtractionParameters, config: StudentConfig) -> Answers | None:
    """Return the stored answers about classes that training with `config` uses after the extraction, if any.

    Raises AnswersMissing, also if it is without labels and there are none.
    """
    if asked.about == "classes" or (asked.class_teacher is None and config.labels_per_class != 0):
        return None
    from student.classification.stored_answers import load_class_answers

    dataset = inputs.images(asked.dataset).name
    return load_class_answers(asked.store, dataset, asked.class_teacher, read=inputs.answers)


def find_teacher(reporter: Reporter, asked: AskingParameters) -> ResolvedTeacher:
    """Return the teacher for the dataset, and report if the bundled teacher is asked about images that it was not
    trained on.

    Raises TeacherMissing and TeacherInvalid.
    """
    chosen, engine = asked.answering(), asked.engine.chosen
    if chosen.model == TINY and not engine.served and not asked.dataset.is_rendered():
        reporter.say("note: teacher tiny knows rendered scenes only; its answers about other images say little")
    return chosen.resolve(engine.name, asked.engine.settings())


def splits_to_have(directory: AnswerDirectory, splits: Sequence[str]) -> list[str]:
    """Return the splits of the directory after `splits` are asked about.

    Shards are read only if that decides whether students can be trained. Raises VersionUnsupported and
    StorageUnavailable.
    """
    return [*splits] if TRAINED in splits else [*splits, *directory.splits()]


def check_inputs(inputs: Inputs, asked: AskingParameters, questions: str) -> None:
    """Raise the errors of `extract_aspects` about its inputs that can be found without reading images."""
    loaded = load_questions(Path(questions).expanduser())
    about: About = "images"
    images = inputs.images(asked.dataset)
    splits = asked.splits_of(images)
    if isinstance(asked, ExtractionParameters):
        (images, splits), about = asked.subjects(images, splits), asked.about
    require_askable(loaded, about)
    select(images, splits)
    check_teacher(asked)


def check_teacher(asked: AskingParameters) -> None:
    """Raise the errors of the teacher and its engine on this machine, as far as their files show them."""
    asked.engine.choose()  # before the teacher: a missing engine is what most users lack
    asked.answering().check(asked.engine)
    asked.engine.check_workers()
