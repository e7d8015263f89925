"""A trained classifier that is ready to predict, from a run folder or an export."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import torch
from pydantic import TypeAdapter

from student.classification.calibration import HOW_TO_CALIBRATE, Calibration, CalibrationInvalid, read_calibration
from student.classification.class_profile import ClassProfile, read_class_profile
from student.classification.config import StudentConfig
from student.classification.model import Student, create_network
from student.classification.predict import (
    ImageInput,
    Predictor,
    as_source,
)
from student.classification.runs import RunDescription, load_run
from student.core.aspects import Aspect
from student.core.backbones import to_channels_last
from student.core.export_folder import USE, ExportInvalid
from student.core.files import RunInvalid, exists, read_json
from student.core.prediction_columns import PredictionColumns
from student.core.runs import DESCRIPTION, load_weights, no_run, read_description
from student.core.settings import Accelerator

WEIGHTS = "model.safetensors"  # of an export


@dataclass(frozen=True, kw_only=True)
class Classifier:
    """A trained student with its preprocessing and the meaning of its outputs.

    Without a `calibration` the class probabilities are those of the logits as they are; without a `profile` or without
    aspects predictions have no reasons.
    """

    student: Student
    class_names: tuple[str, ...]
    aspects: tuple[Aspect, ...]
    resize_size: int  # of the short side, before the middle square of image_size is cut out
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    calibration: Calibration | None = None
    profile: ClassProfile | None = None

    @property
    def temperature(self) -> float:
        return 1.0 if self.calibration is None else self.calibration.temperature

    def predict(self, images: Iterable[ImageInput], *, batch_size: int = 64, **columns: Any) -> pl.DataFrame:
        """One row for each of `images` - paths, Pillow images, or tensors [3, H, W] of uint8 or of 0..1 - in their
        order, with the columns of `student.classification.predict`; `columns` are the fields of `PredictionColumns`.

        An image that cannot be read has its reason in the column `error`.
        """
        frames = list(self.stream(images, batch_size=batch_size, **columns))
        return pl.concat(frames) if frames else self.predictor(**columns).empty()

    def stream(self, images: Iterable[ImageInput], *, batch_size: int = 64, **columns: Any) -> Iterator[pl.DataFrame]:
        """The same, one table for each batch: memory does not grow with the number of images."""
        return self.predictor(**columns).frames(map(as_source, images), batch_size=batch_size)

    def predictor(self, *, name_column: str = "path", **columns: Any) -> Predictor:
        """The `Predictor` of the table; `name_column` is the name of its first column."""
        return Predictor(classifier=self, columns=PredictionColumns(**columns), name_column=name_column)

    def threshold_for(self, precision: float) -> float:
        """The `abstain_below` with which that share (0..1) of the predictions that are left is right, chosen on the
        calibration images. Raises CalibrationInvalid where there are none, or none has that precision."""
        if self.calibration is None:
            raise CalibrationInvalid(
                "there are no calibration images to choose a threshold for this precision; give --abstain-below, or "
                f"{HOW_TO_CALIBRATE}"
            )
        return self.calibration.threshold_for(precision)

    def to(self, accelerator: Accelerator) -> Classifier:
        """The same on a device of that kind."""
        return dataclasses.replace(self, student=to_channels_last(self.student.to(torch.device(accelerator))).eval())


def load_classifier(folder: Path | str, *, accelerator: Accelerator = "cpu") -> Classifier:
    """The classifier of a finished run or of a safetensors export in `folder`.

    Raises RunInvalid and ExportInvalid, of one line, for a folder with neither, a run that is not finished and files
    that are damaged.
    """
    place = Path(folder).expanduser()
    loaded = _of_run(place) if exists(place / DESCRIPTION) else _of_export(place)
    return loaded.to(accelerator)


def _of_run(folder: Path) -> Classifier:
    read_description(folder, RunDescription)  # says what else the folder holds
    run = load_run(folder)
    description, student = run.description, run.load()
    return Classifier(
        student=student,
        class_names=description.class_names,
        aspects=description.aspects,
        resize_size=description.config.shown_size,
        image_size=description.config.image_size,
        mean=student.mean,
        std=student.std,
        calibration=read_calibration(folder),
        profile=_fitting(read_class_profile(folder), description.class_names, description.aspects),
    )


def _of_export(folder: Path) -> Classifier:
    path = folder / WEIGHTS
    if not exists(folder / USE) or not exists(path):
        raise ExportInvalid(f"{no_run(folder)}, or name a folder of 'aspects export' with safetensors")
    try:
        use = read_json(folder / USE)
    except RunInvalid as error:
        raise ExportInvalid(f"{folder / USE} is damaged; export again") from error
    try:
        class_names, aspects = tuple(use["class_names"]), TypeAdapter(list[Aspect]).validate_python(use["aspects"])
        config = StudentConfig.from_stored(use["config"]).untrained()
        calibration = Calibration.from_dict(use["calibration"], folder / USE) if use.get("calibration") else None
        profile = ClassProfile.from_dict(use["class_profile"], folder / USE) if use.get("class_profile") else None
        resize_size, image_size = int(use["resize_short_side"]), int(use["center_crop"])
        mean, std = tuple(use["mean"]), tuple(use["std"])
    except (KeyError, TypeError, ValueError) as error:
        raise ExportInvalid(f"{folder / USE} is damaged ({error}); export again") from error
    network = create_network(config, outputs=len(class_names) + len(aspects))
    try:
        load_weights(network, path, use.get("weights"))
    except RunInvalid as error:
        raise ExportInvalid(f"{path} is damaged, or of another export; export again") from error
    return Classifier(
        student=Student(network, classes=len(class_names), aspects=len(aspects)),
        class_names=class_names,
        aspects=tuple(aspects),
        calibration=calibration,
        profile=_fitting(profile, class_names, aspects),
        resize_size=resize_size,
        image_size=image_size,
        mean=mean,
        std=std,
    )


def _fitting(
    profile: ClassProfile | None, class_names: Sequence[str], aspects: Sequence[Aspect]
) -> ClassProfile | None:
    """The profile if it is of these classes and aspects."""
    keys = tuple(aspect.key for aspect in aspects)
    if profile is None or (profile.class_names, profile.aspects) != (tuple(class_names), keys):
        return None
    return profile
