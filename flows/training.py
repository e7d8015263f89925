"""The flow `train-student`: answers from the store in, base and distilled students side by side out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from prefect import flow
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.logging import get_run_logger

from flows.parameters import SMALL_STUDENT, DatasetParameters, StudentParameters
from flows.report import comparison_markdown, comparison_rows, comparison_title
from flows.terminal import attached, say
from storage.answers import Answers, find_answers, read_answers
from storage.datasets.base import select
from storage.questions import load_questions

if TYPE_CHECKING:  # torch takes seconds, and an extraction imports this file too
    from student.compare import Comparison
    from student.runs import EpochLog

ANSWERS_PLACE = "{answers}"


@flow(
    name="train-student",
    persist_result=False,
    description="Train students with and without the teacher's answers, seed by seed, and compare them.",
)
def train_student(
    dataset: DatasetParameters,
    store: str = "store",
    teacher: str | None = None,
    questions: str | None = None,
    student: StudentParameters = SMALL_STUDENT,
) -> Comparison:
    """Train on the complete answers that `store` has for the dataset; goes on from what `student.runs` already holds.

    `teacher` (a fingerprint, see `aspects show`) and `questions` (the YAML file) choose where there are several.
    """
    from student.compare import compare
    from student.examples import digest_of

    config = student.config()
    images = dataset.open()
    answers = find_teacher_answers(store, images.name, teacher, questions)
    seeds = ", ".join(str(seed) for seed in student.seeds)
    say(f"training {config.backbone} for {config.epochs} epochs, with and without aspects, seeds {seeds}")
    logger = get_run_logger()

    def log_epoch(kind: str, seed: int, log: EpochLog) -> None:
        val_top1 = "" if log.val_top1 is None else f", val top-1 {100 * log.val_top1:.1f} %"
        logger.info("seed %d %s: epoch %d/%d, loss %.3f%s", seed, kind, log.epoch, config.epochs, log.loss, val_top1)

    digest = digest_of(images, select(images, ("train",)), answers)
    runs = Path(student.runs.replace(ANSWERS_PLACE, digest)).expanduser()
    comparison = compare(config, images, answers, student.seeds, runs, progress=attached(), on_epoch=log_epoch)
    create_table_artifact(comparison_rows(comparison), key="results", description=comparison_title(comparison))
    report = comparison_markdown(comparison)
    (runs / "report.md").write_text(report, encoding="utf-8")
    create_markdown_artifact(report, key="report", description=f"written to {runs / 'report.md'}")
    say(f"students and report: {runs}")
    return comparison


def find_teacher_answers(store: str, dataset: str, teacher: str | None, questions: str | None) -> Answers:
    """The complete answers for `dataset`. Raises AnswersMissing where there are none, or several to choose from."""
    asked = load_questions(Path(questions).expanduser()) if questions else None
    return read_answers(find_answers(store, dataset, teacher=teacher, questions=asked))
