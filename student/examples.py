"""What a student is trained on: photos joined with their labels and the teacher's answers, and the validation split."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from storage.answers import Answers
from storage.datasets.base import ImageDataset, ImageRecord
from student.config import StudentConfig


class ExamplesInvalid(ValueError):
    """Images and answers do not make a training set; the message says what is missing, where and what to do."""


@dataclass(frozen=True, kw_only=True)
class Examples:
    """N training images by their index in the image cache, which of them are only validated on, and what is known.

    `yes_prob_NQ` is the teacher's p(yes), NaN where it gave none; Q is 0 for a student without aspects.
    """

    train_indices: Tensor
    val_indices: Tensor
    labels_N: Tensor
    yes_prob_NQ: Tensor


def join_examples(
    config: StudentConfig, dataset: ImageDataset, records: Sequence[ImageRecord], answers: Answers | None
) -> Examples:
    """Join the cached `records` with their answers by image_id and cut off the validation images.

    Where answers are given, images without one are left out of the student without aspects as well, so that both
    see the same images. Raises ExamplesInvalid for answers of another dataset, for images without answers unless the
    config drops them, and for classes that are too small to cut a validation image off.
    """
    used = np.arange(len(records))
    yes_prob = np.zeros((len(records), 0), dtype=np.float32)
    if answers is not None:
        answered = answers_of(dataset, records, answers)
        used = np.flatnonzero(~np.isnan(answered).all(axis=1))
        _refuse_unanswered(config, dataset, records, used)
        if config.alpha > 0:
            yes_prob = answered
    labels = np.array([record.label for record in records], dtype=np.int64)
    is_val = _choose_validation(config, dataset, labels[used])
    return Examples(
        train_indices=torch.from_numpy(used[~is_val]),
        val_indices=torch.from_numpy(used[is_val]),
        labels_N=torch.from_numpy(labels),
        yes_prob_NQ=torch.from_numpy(yes_prob),
    )


def answers_of(dataset: ImageDataset, records: Sequence[ImageRecord], answers: Answers) -> np.ndarray:
    """p(yes) [N, Q] of `records`, NaN where there is none. Raises ExamplesInvalid for another dataset's answers."""
    if answers.dataset != dataset.name:
        raise ExamplesInvalid(
            f"these answers are about dataset '{answers.dataset}', not '{dataset.name}'; "
            f"ask the teacher about '{dataset.name}' or open that dataset under the name '{answers.dataset}'"
        )
    row_of = {image_id: row for row, image_id in enumerate(answers.image_ids)}
    rows = np.array([row_of.get(record.image_id, -1) for record in records], dtype=np.int64)
    found = np.full((len(records), len(answers.questions)), np.nan, dtype=np.float32)
    found[rows >= 0] = answers.p_yes[rows[rows >= 0]]
    return found


def digest_of(dataset: ImageDataset, records: Sequence[ImageRecord], answers: Answers | None) -> str:
    """Tells two training sets apart: ids, labels, class names and answers, in order."""
    digest = hashlib.sha256(repr((dataset.name, tuple(dataset.class_names))).encode())
    digest.update(repr([(record.image_id, record.label) for record in records]).encode())
    if answers is not None:
        digest.update(repr(answers.questions.keys).encode())
        digest.update(answers_of(dataset, records, answers).tobytes())
    return digest.hexdigest()[:16]


def _refuse_unanswered(
    config: StudentConfig, dataset: ImageDataset, records: Sequence[ImageRecord], used: np.ndarray
) -> None:
    missing = sorted(set(range(len(records))) - set(used.tolist()))
    if not missing or (config.missing_answers == "drop" and len(used)):
        return
    named = ", ".join(records[index].image_id for index in missing[:3])
    more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
    raise ExamplesInvalid(
        f"{len(missing)} of {len(records)} training images of dataset '{dataset.name}' have no answer: {named}{more}; "
        f"ask the teacher about them, or set missing_answers to drop"
    )


def _choose_validation(config: StudentConfig, dataset: ImageDataset, labels: np.ndarray) -> np.ndarray:
    """bool [N]: `val_fraction` of each class, at least one image and never the last one, drawn from the seed."""
    chosen = np.zeros(len(labels), dtype=bool)
    if config.val_fraction == 0:
        return chosen
    generator = np.random.default_rng([config.seed, 1])
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        if len(members) < 2:
            raise ExamplesInvalid(
                f"class '{dataset.class_names[label]}' of dataset '{dataset.name}' has a single training image, "
                f"too few to cut a validation split; add images or set val_fraction to 0"
            )
        count = min(len(members) - 1, max(1, round(config.val_fraction * len(members))))
        chosen[generator.permutation(members)[:count]] = True
    return chosen
