"""Train students on stored answers: by the labels alone, by a method and by its twin without answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flows.parameters import ClassAnswersParameters, TrainingParameters
from flows.work.checks import ANSWERS_PLACE, check_writable, evaluation_split, say_split
from flows.work.corrections import apply_corrections
from flows.work.grids import compared_students, say_processor_notes, show_results
from flows.work.groups import image_groups
from flows.work.host import Host, Reporter
from flows.work.inputs import Inputs
from flows.work.reports import require_report_place, show_report
from storage.datasets.base import UNLABELLED, ImageDataset

if TYPE_CHECKING:  # torch takes seconds to import, and extractions import this file too
    import polars as pl

    from storage.answers.read import Answers
    from student.classification.config import StudentConfig
    from student.classification.examples import TeacherAnswers
    from student.classification.grid import StudentGrid
    from student.classification.runs import EpochLog
    from student.core.results import Results

LITTLE = 0.05  # share of the bits below which answers say next to nothing
WITHOUT_LABELS = (
    "no label is used: answers about the classes name the training images. There are no validation images, so class "
    "probabilities are not calibrated; 'aspects evaluate RUN --split SPLIT --calibrate' does that on labelled images"
)


def train_student(host: Host, asked: TrainingParameters) -> Results:
    """Train on the complete answers about the dataset; finished students in `student.runs` are kept."""
    from student.classification.examples import digest_of, fit_to_answers, training_records

    require_report_place(asked)
    student = asked.student
    config = student.config()
    images = host.inputs.images(asked.dataset)
    split = evaluation_split(images)
    say_split(host.reporter, split)
    teacher_answers = read_stored_answers(host.inputs, asked, config)
    config = fit_to_answers(config, teacher_answers)
    if teacher_answers.about_classes_alone:
        host.reporter.say(f"the answers in {asked.store} are about classes, not about single images")
    images, teacher_answers = apply_corrections(
        host.reporter.say, student.corrections, asked.store, images, teacher_answers
    )
    seeds = ", ".join(str(seed) for seed in student.seeds)
    grid = compared_students(config, student.seeds, images)
    methods = grid.axes["method"]
    host.reporter.say(f"training {config.backbone} for {config.epochs} epochs by {', '.join(methods)}; seeds {seeds}")
    digest = digest_of(images, training_records(images), teacher_answers)
    runs = Path(student.runs.replace(ANSWERS_PLACE, digest)).expanduser()
    if config.labels_per_class == 0:
        host.reporter.say(WITHOUT_LABELS)
    results = train_grid(host.reporter, grid, images, teacher_answers, runs, split=split)
    host.reporter.say(f"students and report: {runs}")
    show_report(host.reporter, asked, images, teacher_answers.image or teacher_answers.classes, runs)
    return results


def read_stored_answers(inputs: Inputs, asked: ClassAnswersParameters, *configs: StudentConfig) -> TeacherAnswers:
    """Load the answers for students of `configs`. Raises AnswersMissing like `load_teacher_answers`."""
    from student.classification.stored_answers import load_teacher_answers

    return load_teacher_answers(
        asked.store,
        inputs.images(asked.dataset).name,
        asked.teacher,
        asked.questions,
        asked.class_teacher,
        needed=any(config.uses_answers for config in configs),
        classes_needed=any(config.labels_per_class == 0 for config in configs),
        read=inputs.filled_answers if asked.answers == "filled" else inputs.answers,
        weighting=asked.blend,
        probes_needed=any(config.objective.uses_probes for config in configs),
    )


def train_grid(
    reporter: Reporter,
    grid: StudentGrid,
    images: ImageDataset,
    teacher_answers: TeacherAnswers,
    runs: Path,
    *,
    split: str,
    group_by: Sequence[str] | None = None,
    metric: str | None = None,
) -> Results:
    """Train the missing students of the grid; log epochs, and show results on the run's page and in runs/report.md.

    The accuracy of groups is by the questions `group_by`, by default those that students are balanced by."""
    from student.classification.experiment import is_own_validation, require_split, run_experiment

    def log_epoch(cell: str, seed: int, log: EpochLog) -> None:
        val_top1 = "" if log.val_top1 is None else f", val top-1 {100 * log.val_top1:.1f} %"
        reporter.detail(f"{cell}, seed {seed}: epoch {log.epoch}, loss {log.loss:.3f}{val_top1}")

    grid = grid.fit_to_answers(teacher_answers)
    require_split(grid, images, runs, split)
    check_writable(runs)
    grid.check(images, teacher_answers, runs)
    say_processor_notes(reporter, grid.cells(runs)[0].config)
    for note in grid.left_out_notes(runs):
        reporter.say(note)
    if teacher_answers.image is not None:
        _say_unanswered(reporter, images, teacher_answers.image)
        _say_information(reporter, grid, images, teacher_answers.image, runs)
    groups = None
    if not is_own_validation(images, split):
        balanced = dict.fromkeys(key for cell in grid.cells(runs) for key in cell.config.balance or ())
        groups = image_groups(reporter.say, images, split, teacher_answers.image, group_by, tuple(balanced))
    results = run_experiment(
        grid,
        images,
        teacher_answers,
        runs,
        split=split,
        progress=reporter.progress_bars,
        on_epoch=log_epoch,
        groups=groups,
        metric=metric,
    )
    show_results(reporter, results, _question_uses(grid, images, teacher_answers.image, runs), runs)
    return results


def _say_unanswered(reporter: Reporter, images: ImageDataset, answers: Answers) -> None:
    """Say how many images without a label are not trained on since they have no answers."""
    unlabelled = [record.image_id for record in images.records if record.split == UNLABELLED]
    if not unlabelled:
        return
    without = int((answers.rows_of(unlabelled) < 0).sum())
    if without:
        reporter.say(
            f"{without:,} of {len(unlabelled):,} images in split '{UNLABELLED}' have no answers and are not "
            f"trained on; 'aspects extract' asks about them"
        )


def _say_information(reporter: Reporter, grid: StudentGrid, images: ImageDataset, answers: Answers, runs: Path) -> None:
    """Say how much the answers about images say about the class, before students learn them."""
    from student.classification.usefulness import answers_bits

    if not any(cell.config.uses_answers for cell in grid.cells(runs)):
        return
    bits, most = answers_bits(images, answers, _fewest_labels(grid, runs)), math.log2(len(images.class_names))
    if bits is None or most == 0:
        return
    bits = max(0.0, bits)
    share = bits / most
    found = f"the answers say {bits:.2f} of the {most:.2f} bits that tell the classes apart ({100 * share:.0f} %)"
    if share < LITTLE:
        found += (
            ", next to nothing: learning them can cost accuracy. 'aspects questions audit' shows whether the teacher "
            "or the questions are the reason"
        )
    reporter.say(found)


def _question_uses(grid: StudentGrid, images: ImageDataset, answers: Answers | None, runs: Path) -> pl.DataFrame | None:
    """Write to questions.parquet how much each question helps; None without answers about images, or labels."""
    from student.classification.usefulness import answers_uses
    from student.core.experiment import write_parquet

    few = _fewest_labels(grid, runs)
    if answers is None or few.labels_per_class == 0:
        return None
    uses = answers_uses(images, answers, few)
    write_parquet(runs / "questions.parquet", uses)
    return uses


def _fewest_labels(grid: StudentGrid, runs: Path) -> StudentConfig:
    """Return the settings of a student that sees the fewest labels, which are all that a report may use."""
    from student.classification.splits import labels_shown

    return min((cell.config for cell in grid.cells(runs)), key=labels_shown).replace(seed=grid.seeds[0])
