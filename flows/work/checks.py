"""What training will need, checked before the teacher is asked: hours of asking must not end in a mistake."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from flows.parameters import StudentParameters
from flows.work.host import Reporter
from storage.answers.read import Answers
from storage.datasets.base import ImageDataset, select
from storage.errors import InputInvalid, StorageUnavailable
from storage.filesystem import reason
from storage.questions import QuestionSet

if TYPE_CHECKING:  # torch takes seconds
    from storage.datasets.detection import DetectionDataset
    from student.classification.examples import TeacherAnswers
    from student.core.experiment import Grid
    from student.detection.examples import DetectionAnswers

ANSWERS_PLACE = "{answers}"  # in the name of a runs folder: a digest of images, labels and answers
TRAINED = "train"
EVALUATED = ("test", "val", "valid", "validation")  # the first of them that a dataset has


class RunsImpossible(InputInvalid):
    """Students cannot be trained as it was asked for; the message says why and what to do."""


def evaluation_split(images: ImageDataset) -> str:
    """`test`, or what the dataset has instead. Raises DatasetInvalid where it has nothing of the kind."""
    known = {record.split for record in images.records}
    split = next((name for name in EVALUATED if name in known), EVALUATED[0])
    select(images, (split,))
    return split


def say_split(reporter: Reporter, split: str) -> None:
    """Where students are evaluated on another split than one would expect."""
    if split != EVALUATED[0]:
        reporter.say(f"there is no split '{EVALUATED[0]}': students are evaluated on split '{split}'")


def require_training_split(splits: Sequence[str]) -> None:
    """Of those that there will be answers about."""
    if TRAINED not in splits:
        raise RunsImpossible(
            f"students learn from split '{TRAINED}', and only {', '.join(splits)} is asked about; add it to --splits"
        )


def check_training(
    images: ImageDataset, asked: QuestionSet, splits: Sequence[str], teacher: str, student: StudentParameters
) -> None:
    """Raise what training on answers to `asked` by `teacher` (its fingerprint) will raise about settings, labels,
    splits and the runs folder. `splits` are those that there will be answers about."""
    from student.classification.examples import TeacherAnswers
    from student.core.experiment import Grid

    config = student.config()
    evaluation_split(images)
    require_training_split(splits)
    grid = Grid(
        settings=config.to_dict(), axes={"method": list(dict.fromkeys(["base", config.method]))}, seeds=student.seeds
    )
    runs = None if ANSWERS_PLACE in student.runs else Path(student.runs).expanduser()
    check_writable(Path(student.runs.partition(ANSWERS_PLACE)[0]).expanduser())
    check_grid(grid, images, TeacherAnswers(image=imagined(images, asked, teacher)), runs)


def check_grid(grid: Grid, images: ImageDataset, teacher_answers: TeacherAnswers, runs: Path | None) -> None:
    """Raise what training any student of the grid will raise about labels, answers and folders of other runs, before
    the first one is trained."""
    from student.classification.examples import fit_to_answers, join_examples, training_records
    from student.classification.trainable import require_trainable
    from student.core.runs import DESCRIPTION, RunDescription, is_finished, open_run, read_description

    records = training_records(images)
    for cell in grid.cells(runs or Path()):
        config = fit_to_answers(cell.config, teacher_answers)
        places = [(seed, cell.directory(runs, seed)) for seed in grid.seeds] if runs else []
        for seed, place in places:
            if not (place / DESCRIPTION).exists() or config.objective.network_terms:
                continue
            held = read_description(place, RunDescription)
            # As if the images and answers were its own: whether they are is known once they are there.
            open_run(place, RunDescription.of(config.replace(seed=seed), images, teacher_answers, held.digest))
        if not places or not all(is_finished(place) for _, place in places):
            require_trainable(config)
            join_examples(config.replace(seed=grid.seeds[0]), images, records, teacher_answers)


def check_detector_grid(
    grid: Grid, images: DetectionDataset, teacher_answers: DetectionAnswers, runs: Path | None
) -> None:
    """As `check_grid`, for detectors."""
    from student.core.runs import DESCRIPTION, is_finished, open_run, read_description
    from student.detection.config import DetectorConfig
    from student.detection.examples import require_answers
    from student.detection.runs import DetectorDescription
    from student.detection.trainable import require_trainable_detector

    records = select(images, (TRAINED,))
    for cell in grid.cells_of(DetectorConfig, runs or Path()):
        config = cell.config
        if config.watch is not None:
            select(images, (config.watch,))
        places = [(seed, cell.directory(runs, seed)) for seed in grid.seeds] if runs else []
        for seed, place in places:
            if (place / DESCRIPTION).exists():
                held = read_description(place, DetectorDescription)
                # As if the images and answers were its own: whether they are is known once they are there.
                open_run(place, DetectorDescription.of(config.replace(seed=seed), images, teacher_answers, held.digest))
        if not places or not all(is_finished(place) for _, place in places):
            used = teacher_answers.used_by(config)
            require_answers(config, images, records, used)
            used.aspects(config)
            require_trainable_detector(config)


def check_writable(runs: Path) -> None:
    """Raise where no folder can be made at `runs`. Nothing is left there."""
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
    """Answers to all questions about all images, drawn at random: what is learnt from them has a solution."""
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
