"""Check the requirements of training before the teacher is asked, so that hours of asking do not end in an error."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from flows.parameters import StudentParameters
from flows.work.grids import compared_students
from flows.work.host import Reporter
from storage.answers.probes import ProbeAnswers, blank_questions
from storage.answers.read import Answers
from storage.datasets.base import UNLABELLED, ImageDataset, select
from storage.errors import InputInvalid, StorageUnavailable
from storage.filesystem import reason
from storage.questions import QuestionSet
from teacher.engines.config import About

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
    probed: bool = False,
) -> None:
    """Raise the errors of training on answers to `asked` by `teacher` (its fingerprint) about settings, labels, splits
    and the runs folder.

    `splits` are those that will have answers, `of_classes` the stored answers about classes that are used, and `probed`
    says whether there will be answers about a blank image.
    """
    from student.classification.examples import TeacherAnswers
    from student.core.examples import random_answers

    evaluation_split(images)
    require_training_split(splits, images)
    grid = compared_students(student.config(), student.seeds, images)
    runs = None if ANSWERS_PLACE in student.runs else Path(student.runs).expanduser()
    check_writable(Path(student.runs.partition(ANSWERS_PLACE)[0]).expanduser())
    answers = replace(random_answers(images, asked, teacher), level="class" if about == "classes" else "image")
    probes = ProbeAnswers(blank=random_answers(images, blank_questions(asked), teacher)) if probed else None
    grid.check(images, TeacherAnswers(image=answers, classes=of_classes, probes=probes), runs)


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
