"""Shared by all evaluations of trained students: the file, and scores of the aspects against the teacher."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from sklearn.metrics import roc_auc_score
from torch import Tensor

from storage import statistics
from storage.datasets.base import UNKNOWN, ImageDataset, ImageRecord, select
from student.core.aspects import Aspect
from student.core.examples import ExamplesInvalid
from student.core.files import parse
from student.core.runs import Description, read_if_whole

CALIBRATION_BINS = 15
EVALUATION_FILE = "evaluation-{split}.json"

Scores = TypeVar("Scores")


@dataclass(frozen=True, slots=True, kw_only=True)
class AspectScore:
    """Agreement of a student with its teacher on one question.

    `auroc`: chance that an image with a teacher's yes (p > 0.5) ranks above one with a no (p < 0.5); None where the
    teacher says the same everywhere. `ece`: mean gap between the student's p(yes) and the teacher's, over 15 bins of
    the student's, weighted by images.
    """

    key: str
    images: int
    auroc: float | None
    ece: float


def require_same_classes(dataset: ImageDataset, description: Description, run_dir: Path) -> None:
    """Raises ExamplesInvalid for a dataset with other classes than those of the run in `run_dir`."""
    if tuple(dataset.class_names) != description.class_names:
        raise ExamplesInvalid(
            f"dataset '{dataset.name}' has other classes than the run in {run_dir} was trained on; "
            f"evaluate it on '{description.dataset}'"
        )


def select_labelled(dataset: ImageDataset, split: str) -> Sequence[ImageRecord]:
    """The images of `split`. Raises DatasetInvalid, and ExamplesInvalid where one has no label to evaluate on."""
    records = select(dataset, (split,))
    if any(record.label == UNKNOWN for record in records):
        raise ExamplesInvalid(f"images of split '{split}' of dataset '{dataset.name}' have no label to evaluate on")
    return records


def calibration_bins(probabilities_N: Tensor) -> Tensor:
    """The number [N] of the bin of each probability, 0 .. CALIBRATION_BINS - 1."""
    return (probabilities_N * CALIBRATION_BINS).long().clamp(max=CALIBRATION_BINS - 1)


def why_unscored(
    learned: Sequence[Aspect], scored: Sequence[AspectScore], images: int, split: str, *, what: str = "images"
) -> list[str]:
    """A line about aspects that answers were given for but that are not scored, or not on all of so many `images`;
    none where there is nothing to say."""
    ask = f"ask about them with 'aspects extract --splits {split}'"
    if not learned:
        return [f"no aspects of {what} are scored: this student learned none"]
    if not scored:
        return [f"no aspects of {what} are scored: the store has no answers about {what} of split '{split}'; {ask}"]
    if len(scored) < len(learned):
        return [f"{len(scored)} of {len(learned)} aspects of {what} are scored: the store has no answers to the others"]
    fewest = min(score.images for score in scored)
    if what == "images" and fewest < images:  # boxes that are too small are never asked about
        return [f"aspects are scored on {fewest} of {images} images: the store has no answers about the others; {ask}"]
    return []


def read_scores(kind: type[Scores], run_dir: Path, split: str) -> Scores | None:
    """The stored evaluation of `split`, None where there is none or its file is damaged. Raises
    VersionUnsupported for one of a newer release, StorageUnavailable for one that cannot be read right now."""
    path = run_dir / EVALUATION_FILE.format(split=split)
    # The student is there, so that it can be evaluated again.
    return read_if_whole(path, partial(parse, kind), "; evaluating again")


def score_aspects(student_NQ: Tensor, teacher_NQ: Tensor, keys: Sequence[str]) -> tuple[AspectScore, ...]:
    """From p(yes) of both, one score per question that the teacher answered for at least one of the images (NaN: no
    answer)."""
    scores = []
    for key, student_N, teacher_N in zip(keys, student_NQ.T, teacher_NQ.T, strict=True):
        answered = ~teacher_N.isnan()
        if not answered.any():
            continue
        yes_prob, teacher = student_N[answered], teacher_N[answered]
        # Exactly 0.5 is neither yes nor no: bf16 teachers say it often.
        decided = teacher != 0.5
        wanted = teacher[decided] > 0.5
        auroc = float(roc_auc_score(wanted, yes_prob[decided])) if 0 < wanted.sum() < len(wanted) else None
        ece = calibration_error(yes_prob, teacher)
        scores.append(AspectScore(key=key, images=int(answered.sum()), auroc=auroc, ece=ece))
    return tuple(scores)


def score_shared_aspects(
    student_NQ: Tensor, teacher_NQ: Tensor, learned: Sequence[str], asked: Sequence[str]
) -> tuple[AspectScore, ...]:
    """As `score_aspects`, of the questions that were learned (columns of the student) and asked (of the teacher), in
    the teacher's order."""
    keys = [key for key in asked if key in learned]
    ours, theirs = ([every.index(key) for key in keys] for every in (list(learned), list(asked)))
    return score_aspects(student_NQ[:, ours], teacher_NQ[:, theirs], keys)


def calibration_error(yes_prob_N: Tensor, teacher_N: Tensor) -> float:
    """Return the expected calibration error of p(yes) [N] against the teacher's [N], over CALIBRATION_BINS bins."""
    return statistics.calibration_error(yes_prob_N.numpy(), teacher_N.numpy(), CALIBRATION_BINS)


def mean_of_known(values: Iterable[float | None]) -> float | None:
    """None where all values are None."""
    present = [value for value in values if value is not None]
    return float(np.mean(present)) if present else None
