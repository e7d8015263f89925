"""Check the requirements of training before the teacher is asked, so that hours of asking do not end in an error."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from flows.parameters import StudentParameters
from flows.work.grids import compared_students
from flows.work.host import Reporter
from storage.answers.read import Answers
from storage.datasets.base import UNLABELLED, ImageDataset, select
from storage.errors import InputInvalid, StorageUnavailable
from storage.filesystem import reason
from storage.questions import QuestionSet
from teacher.engines.config import About

if TYPE_CHECKING:  # torch takes seconds
    from storage.datasets.detection import DetectionDataset
    from student.classification.config import StudentConfig
    from student.classification.examples import TeacherAnswers
    from student.classification.grid import StudentGrid
    from student.core.grid import AnyConfig, Cell, Grid
    from student.core.runs import AnyDescription
    from student.detection.config import DetectorConfig
    from student.detection.examples import DetectionAnswers
    from student.detection.experiment import DetectorGrid


ANSWERS_PLACE = "{answers}"  # in the name of a runs folder: a digest of images, labels and answers
TRAINED = "train"
EVALUATED = ("test", "val", "valid", "validation")  # the first of them that a dataset has


class RunsImpossible(InputInvalid):
    """Students cannot be trained as requested; the message says why and what to do."""


def evaluation_split(images: ImageDataset) -> str:
    """Return `test`, or the dataset's equivalent. Raises DatasetInvalid if there is none."""
    known = {record.split for record in images.records}
    split = next((name for name in EVALUATED if name in known), EVALUATED[0])
    select(images, (split,))
    return split


def say_split(reporter: Reporter, split: str) -> None:
    """Report an evaluation split other than the expected one."""
    if split != EVALUATED[0]:
        reporter.say(f"there is no split '{EVALUATED[0]}': students are evaluated on split '{split}'")


def require_training_split(splits: Sequence[str], images: ImageDataset | None = None) -> None:
    """Raise if the splits with answers do not include the training split. Classifiers may be trained on `images` that
    are all without a label."""
    if images is not None and UNLABELLED in splits and all(record.split != TRAINED for record in images.records):
        return
    if TRAINED not in splits:
        raise RunsImpossible(
            f"students learn from split '{TRAINED}', and only {', '.join(splits)} is asked about; add it to --splits"
        )


def check_training(
    images: ImageDataset,
    asked: QuestionSet,
    splits: Sequence[str],
    teacher: str,
    student: StudentParameters,
    *,
    about: About = "images",
    of_classes: Answers | None = None,
) -> None:
    """Raise the errors of training on answers to `asked` by `teacher` (its fingerprint) about settings, labels, splits
    and the runs folder.

    `splits` are those that will have answers, `of_classes` the stored answers about classes that are used.
    """
    from student.classification.examples import TeacherAnswers

    evaluation_split(images)
    require_training_split(splits, images)
    grid = compared_students(student.config(), student.seeds)
    runs = None if ANSWERS_PLACE in student.runs else Path(student.runs).expanduser()
    check_writable(Path(student.runs.partition(ANSWERS_PLACE)[0]).expanduser())
    answers = replace(imagined(images, asked, teacher), level="class" if about == "classes" else "image")
    check_grid(grid, images, TeacherAnswers(image=answers, classes=of_classes), runs)


def check_grid(grid: StudentGrid, images: ImageDataset, teacher_answers: TeacherAnswers, runs: Path | None) -> None:
    """Raise the errors of training any student of the grid about labels, answers and folders of other runs, before the
    first one is trained."""
    from student.classification.examples import fit_to_answers, join_examples, training_records
    from student.classification.runs import RunDescription
    from student.classification.trainable import require_trainable

    records = training_records(images)

    def describe(config: StudentConfig, digest: str) -> RunDescription | None:
        if config.objective.network_terms:  # the network is known once it is trained
            return None
        return RunDescription.of(fit_to_answers(config, teacher_answers), images, teacher_answers, digest)

    for cell in grid.cells(runs or Path()):
        if not _is_trained(grid, cell, runs, RunDescription, describe):
            config = fit_to_answers(cell.config, teacher_answers)
            require_trainable(config)
            join_examples(config.replace(seed=grid.seeds[0]), images, records, teacher_answers)


def check_detector_grid(
    grid: DetectorGrid, images: DetectionDataset, teacher_answers: DetectionAnswers, runs: Path | None
) -> None:
    """Like `check_grid`, for detectors."""
    from student.detection.examples import require_answers
    from student.detection.runs import DetectorDescription
    from student.detection.trainable import require_trainable_detector

    records = select(images, (TRAINED,))

    def describe(config: DetectorConfig, digest: str) -> DetectorDescription:
        return DetectorDescription.of(config, images, teacher_answers, digest)

    for cell in grid.cells(runs or Path()):
        config = cell.config
        if config.watch is not None:
            select(images, (config.watch,))
        if not _is_trained(grid, cell, runs, DetectorDescription, describe):
            used = teacher_answers.used_by(config)
            require_answers(config, images, records, used)
            used.aspects(config)
            require_trainable_detector(config)


def _is_trained(
    grid: Grid[AnyConfig],
    cell: Cell[AnyConfig],
    runs: Path | None,
    kind: type[AnyDescription],
    describe: Callable[[AnyConfig, str], AnyDescription | None],
) -> bool:
    """Return whether every student of the cell is finished.

    Raises RunInvalid for folders of other runs than `describe` gives for a config and a digest; None is not compared.
    """
    from student.core.runs import DESCRIPTION, is_finished, open_run, read_description

    if runs is None:
        return False
    for seed in grid.seeds:
        place = cell.directory(runs, seed)
        if not (place / DESCRIPTION).exists():
            continue
        # With the stored digest: the digest of images and answers is not known before all are read.
        wanted = describe(cell.config.replace(seed=seed), read_description(place, kind).digest)
        if wanted is not None:
            open_run(place, wanted)
    return all(is_finished(cell.directory(runs, seed)) for seed in grid.seeds)


def check_writable(runs: Path) -> None:
    """Raise if no folder can be created at `runs`. Leaves nothing behind."""
    existing = next(place for place in (runs.absolute(), *runs.absolute().parents) if os.path.lexists(place))
    if not existing.is_dir():
        raise RunsImpossible(f"students cannot be kept in {runs}: {existing} is no folder; choose another --runs")
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(b"0")
    except OSError as error:
        raise StorageUnavailable(
            f"students cannot be kept in {runs} ({reason(error)}); correct that, or choose another --runs"
        ) from error


def imagined(images: ImageDataset, asked: QuestionSet, teacher: str) -> Answers:
    """Return random answers to all questions about all images, to check that students can be trained on them."""
    records = images.records
    log_odds = np.random.default_rng(0).standard_normal((len(records), len(asked)), np.float32)
    yes = -np.logaddexp(0, -log_odds)
    return Answers(
        dataset=images.name,
        teacher=teacher,
        questions=asked,
        image_ids=tuple(record.image_id for record in records),
        image_sha256=(None,) * len(records),
        splits=tuple(record.split for record in records),
        label_names=tuple(record.label_name for record in records),
        errors=(None,) * len(records),
        yes=yes,
        no=yes - log_odds,
    )
