"""Audit a question set on a sample of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flows.parameters import AuditParameters
from flows.work.asking import TeacherWorkers, ask_missing
from flows.work.extraction import find_teacher
from flows.work.host import Host
from storage.answers.directories import audits_of
from storage.answers.lease import lease
from storage.answers.read import Answers, find_answers, read_answers
from storage.answers.reuse import known_answers
from storage.answers.store import AnswersDamaged, AnswersMissing
from storage.datasets.base import ImageDataset, ImageRecord, select
from storage.questions import QuestionSet, load_questions
from teacher.engines.config import ResolvedTeacher
from teacher.extraction.finish import finish_plan
from teacher.extraction.jobs import Extraction
from teacher.extraction.plan import directory_of, plan_extraction
from teacher.questions.audit import Audit, Probes, audit
from teacher.questions.audit_files import write_audit
from teacher.questions.probes import ImageVariants, Sample, choose_sample, probing_questions
from teacher.questions.truth import match_truth, read_truth

SHARD_SIZE = 64


@dataclass(frozen=True, kw_only=True)
class AuditSummary:
    """The audit and its files. `asked` counts the new answers."""

    audit: Audit
    files: tuple[Path, Path]
    asked: int


def audit_questions(host: Host, asked: AuditParameters) -> AuditSummary:
    """Ask for missing answers about a sample of images, and score the questions.

    Every question is asked about `images` of the dataset; if the store has all answers, all images are used. `probed`
    of the sample are also asked rephrased, negated and mirrored. The audit is written next to the question file.
    """
    path = Path(asked.questions).expanduser()
    questions = load_questions(path)
    right = None if asked.truth is None else read_truth(Path(asked.truth).expanduser(), questions)
    with host.reporter.working("reading the dataset"):
        images = host.inputs.images(asked.dataset)
        resolved = find_teacher(host.reporter, asked)
        records = select(images, asked.splits_of(images))
        sample, some = choose_sample(records, asked.images), choose_sample(records, min(asked.probed, asked.images))
    complete = complete_answers(asked.store, images.name, resolved, questions)
    with TeacherWorkers(resolved, asked.engine, host.reporter.say) as workers:
        plain, probing, variants, count = ask_probes(host, images, sample, some, questions, workers, asked.store)
    answers = complete or plain
    if right is not None:
        right = match_truth(right, answers.image_ids, Path(asked.truth or ""))
    with host.reporter.working("measuring"):
        found = audit(answers, Probes.of(plain, probing, variants), images.class_names, right)
    files = write_audit(found, path)
    host.reporter.say(f"{found.images} images, {found.probed} of them asked in every way: {count} answers asked")
    host.reporter.say(f"effective rank {found.effective_rank:.1f} of {len(questions)} questions")
    rows = found.frame().select("key", "verdict", "reason", "yes", "information", "with_partner", "redundancy")
    host.reporter.table("audit", rows.to_dicts(), f"{path.name} on {images.name}")
    host.reporter.say(f"audit: {files[0]}")
    return AuditSummary(audit=found, files=files, asked=count)


def ask_probes(
    host: Host,
    dataset: ImageDataset,
    sample: Sequence[ImageRecord],
    some: Sequence[ImageRecord],
    asked: QuestionSet,
    workers: TeacherWorkers,
    store: str,
) -> tuple[Answers, Answers, Answers, int]:
    """Return the answers about the sample, to the probing questions about some of it, and about its variants, and the
    number of new answers. Raises as `ask_in_audits`."""
    (plain, probing, variants), count = ask_in_audits(
        host,
        [
            (Sample(dataset=dataset, records=sample), asked),
            (Sample(dataset=dataset, records=some), probing_questions(asked)),
            (ImageVariants(dataset=dataset, originals=some), asked),
        ],
        workers,
        store,
    )
    return plain, probing, variants, count


def ask_in_audits(
    host: Host, samples: Sequence[tuple[Sample | ImageVariants, QuestionSet]], workers: TeacherWorkers, store: str
) -> tuple[list[Answers], int]:
    """Ask for missing answers about all images of samples, each with its questions; return the answers, and the number
    of new ones. The cost is recorded with the first sample.

    They are kept in the store's audits, with those about other images of earlier samples. Raises DirectoryBusy if
    another run asks there.
    """
    teacher, audits = workers.teacher, audits_of(store)
    directories = [directory_of(sample, questions, teacher, audits) for sample, questions in samples]
    with lease(*directories):
        with host.reporter.working("comparing the sample with the store"):
            datasets = [
                sample.with_images({record.image_id for record in directory.records()})
                for (sample, _), directory in zip(samples, directories, strict=True)
            ]
            plans = [
                plan_extraction(
                    each,
                    list(dict.fromkeys(record.split for record in each.records)),
                    questions,
                    teacher,
                    audits,
                    shard_size=SHARD_SIZE,
                )
                for each, (_, questions) in zip(datasets, samples, strict=True)
            ]
        missing = [
            Extraction(plan=plan, dataset=each) for plan, each in zip(plans, datasets, strict=True) if plan.missing
        ]
        keys = {key for _, questions in samples for key in questions.reuse_keys}
        runs, count = list((plans[0].directory.last_manifest() or {}).get("runs", [])), 0
        if missing:
            read = {path: rows for plan in plans for path, rows in plan.known_rows(copied=True).items()}
            known = known_answers(store, {each.name for each in datasets}, teacher.fingerprint, keys, read)
            ledger = ask_missing(host, missing, workers, known)
            runs, count = [*runs, ledger.to_json()], ledger.questions
        for plan in plans:
            finish_plan(plan, {"runs": runs} if plan is plans[0] else {})
    found = [read_answers(plan.directory) for plan in plans]
    ids = [[record.image_id for record in sample.records] for sample, _ in samples]
    return [answers.about(wanted) for answers, wanted in zip(found, ids, strict=True)], count


def complete_answers(store: str, dataset: str, teacher: ResolvedTeacher, asked: QuestionSet) -> Answers | None:
    """Return the store's complete answers to a question set; None if there are none. Raises AnswersDamaged."""
    try:
        found = read_answers(find_answers(store, dataset, teacher=teacher.fingerprint, questions=asked))
        return None if found.has_gaps else found
    except AnswersDamaged:
        raise
    except AnswersMissing:
        return None
