"""Calibrated class probabilities: a temperature fitted on held-out images, and thresholds for a wanted precision.

calibration.json lies beside a run's weights and names their digest: it is ignored beside other weights.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn import functional

from storage.datasets.base import TRAINING_SPLITS
from storage.errors import InputInvalid
from student.core.evaluation import calibration_error
from student.core.files import digest_of_file, parse, write_json
from student.core.progress import note
from student.core.runs import WEIGHTS, read_if_whole

CALIBRATION = "calibration.json"
VALIDATION = "validation"  # the split of images that a run kept from training for validation
LOG_TEMPERATURES = (-3.0, 3.0)
FEWEST_ACCEPTED = 10  # images above a threshold; the precision of fewer says nothing


class CalibrationInvalid(InputInvalid):
    """A calibration is needed and there is none; the message says how to make one."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A temperature that class logits are divided by, fitted on `images` images of a dataset's `split`.

    `weights` is the SHA-256 of the weights it belongs to. `confidences` are the calibrated probabilities of the
    predicted classes of those images, the highest first, and `correct` is 1 where the prediction is right, else 0.
    `ece_before` and `ece_after` are the expected calibration errors of the probabilities on the same images.
    """

    dataset: str
    split: str
    images: int
    weights: str
    temperature: float
    ece_before: float
    ece_after: float
    confidences: tuple[float, ...]
    correct: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], path: Path) -> Calibration:
        """Raises RunInvalid where the fields are not those of a calibration."""
        return parse(cls, values, path)

    def threshold_for(self, precision: float) -> float:
        """The lowest confidence at and above which that share (0..1) of the predictions is right.

        Raises CalibrationInvalid where no threshold has that precision on at least FEWEST_ACCEPTED images.
        """
        confidences, correct = np.array(self.confidences), np.array(self.correct)
        reached = np.cumsum(correct) / np.arange(1, len(correct) + 1)
        usable = np.append(confidences[:-1] > confidences[1:], True)  # the last of equal ones
        usable[: FEWEST_ACCEPTED - 1] = False
        found = np.flatnonzero((reached >= precision) & usable)
        if len(found) == 0:
            best = f"; the highest is {100 * reached[usable].max():.1f} %" if usable.any() else ""
            raise CalibrationInvalid(
                f"a precision of {100 * precision:g} % is not reached by {FEWEST_ACCEPTED} or more of the "
                f"{self.images} calibration images{best}; ask for less, or give --abstain-below"
            )
        return float(confidences[found[-1]])

    def accepted(self, threshold: float) -> tuple[int, float]:
        """How many calibration images reach the threshold, and the share of them (0..1) that is predicted right."""
        kept = np.array(self.confidences) >= threshold
        return int(kept.sum()), float(np.array(self.correct)[kept].mean()) if kept.any() else 0.0


HOW_TO_CALIBRATE = (
    "train with --set val_fraction=0.1, or calibrate on images that it was not trained on: 'aspects evaluate RUN "
    "-d DATASET --split SPLIT --calibrate'; then export again where this is an export"
)


def calibrate(class_logits_NC: Tensor, labels_N: Tensor, *, dataset: str, split: str, weights: str) -> Calibration:
    """Fit the temperature on the images that have these logits and labels."""
    temperature = fit_temperature(class_logits_NC, labels_N)
    confidence, correct = confidence_of(class_logits_NC / temperature, labels_N)
    order = confidence.argsort(descending=True, stable=True)
    return Calibration(
        dataset=dataset,
        split=split,
        images=len(labels_N),
        weights=weights,
        temperature=temperature,
        ece_before=calibration_error(*confidence_of(class_logits_NC, labels_N)),
        ece_after=calibration_error(confidence, correct),
        confidences=tuple(round(value, 6) for value in confidence[order].tolist()),
        correct=tuple(int(value) for value in correct[order].tolist()),
    )


def fit_temperature(class_logits_NC: Tensor, labels_N: Tensor) -> float:
    """The temperature T with the highest posterior of log T given the labels (temperature scaling, Guo et al., arXiv
    1706.04599), with a standard normal prior that keeps few images, or none with an error, from an extreme one."""
    logits, labels = class_logits_NC.double(), labels_N

    def cost(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        return functional.cross_entropy(scaled, labels, reduction="sum").item() + log_temperature**2 / 2

    return float(np.exp(minimize_scalar(cost, bounds=LOG_TEMPERATURES, method="bounded").x))


def confidence_of(class_logits_NC: Tensor, labels_N: Tensor) -> tuple[Tensor, Tensor]:
    """The probability of each image's predicted class, and 1.0 where that is its label, else 0.0, both [N]."""
    best = class_logits_NC.softmax(dim=1).max(dim=1)
    return best.values, (best.indices == labels_N).to(torch.float32)


def require_held_out(split: str) -> None:
    """Raises CalibrationInvalid for training images: students are overconfident about them."""
    if split in TRAINING_SPLITS:
        raise CalibrationInvalid(f"split '{split}' is trained on; calibrate on a held-out one, e.g. --split val")


def write_calibration(
    run_dir: Path, class_logits_NC: Tensor, labels_N: Tensor, *, dataset: str, split: str
) -> Calibration:
    """Fit on these images and store the result beside the weights in `run_dir`."""
    weights = digest_of_file(run_dir / WEIGHTS)
    calibration = calibrate(class_logits_NC, labels_N, dataset=dataset, split=split, weights=weights)
    write_json(run_dir / CALIBRATION, calibration.to_dict())
    return calibration


def read_calibration(run_dir: Path) -> Calibration | None:
    """The calibration of the weights in `run_dir`; None where there is none, and, with a note, where its file is
    damaged or belongs to other weights. Raises VersionUnsupported, and StorageUnavailable as `read_json`."""
    path = run_dir / CALIBRATION
    again = f" and ignored; {HOW_TO_CALIBRATE}"
    calibration = read_if_whole(path, Calibration.from_dict, again)
    if calibration is None:
        return None
    if calibration.weights != digest_of_file(run_dir / WEIGHTS):
        note(f"{path} belongs to other weights and is ignored; {HOW_TO_CALIBRATE}")
        return None
    return calibration
