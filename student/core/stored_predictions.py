"""Confusions, abstention and lists of images from the predictions of an evaluation, without torch.

Predictions are tables with the columns of student/classification/predictions.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

SHARES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)

# `confident` and `unsure` order by the probability of the predicted class, `wrong` by that of the label, the least
# probable label first.
PredictionOrder = Literal["stored", "confident", "unsure", "wrong"]


def confusion_counts(predictions: pl.DataFrame, class_names: Sequence[str]) -> NDArray[np.int64]:
    """Images by label (rows) and predicted class (columns), [C, C]. Classes that are not named do not count."""
    places = {name: place for place, name in enumerate(class_names)}
    found = np.zeros((len(places), len(places)), np.int64)
    for label, predicted, count in predictions.group_by("label", "predicted").len().iter_rows():
        if label in places and predicted in places:
            found[places[label], places[predicted]] = count
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Abstention:
    """Accuracy among the `share` of the images with the most probable predictions: those of at least `threshold`."""

    share: float
    threshold: float
    images: int
    accuracy: float


def accuracy_by_confidence(predictions: pl.DataFrame) -> list[Abstention]:
    """What a student gains by abstaining where it is least confident: one entry for each of SHARES, at least one image
    each."""
    ordered = predictions.sort("probability", descending=True, maintain_order=True)
    right = (ordered["label"] == ordered["predicted"]).to_numpy().cumsum()
    probability = ordered["probability"].to_numpy()
    found = []
    for share in SHARES if len(right) else ():
        images = max(1, round(share * len(right)))
        threshold, accuracy = float(probability[images - 1]), float(right[images - 1] / images)
        found.append(Abstention(share=share, threshold=threshold, images=images, accuracy=accuracy))
    return found


def select_predictions(
    predictions: pl.DataFrame, *, label: str | None, predicted: str | None, wrong: bool, order: PredictionOrder
) -> pl.DataFrame:
    """The images of a class, of a predicted class, or the `wrong` ones, in an order."""
    found = predictions
    if label:
        found = found.filter(pl.col("label") == label)
    if predicted:
        found = found.filter(pl.col("predicted") == predicted)
    if wrong:
        found = found.filter(pl.col("label") != pl.col("predicted"))
    if order == "stored":
        return found
    column = "label_probability" if order == "wrong" else "probability"
    return found.sort(column, descending=order == "confident", maintain_order=True)


def disagreements(
    student: pl.DataFrame, image_ids: pl.Series, p_yes_QI: NDArray[np.float32], keys: Sequence[str], count: int
) -> list[dict[str, Any]]:
    """Where a student (image_id, p(yes) by key) differs most from the teacher's p(yes) of Q questions about I images.

    image_id, key, student and teacher of the `count` largest differences, the largest first; one for each image.
    """
    places = pl.DataFrame({"image_id": image_ids, "row": pl.Series(np.arange(len(image_ids)))})
    shared = student.join(places, on="image_id", how="inner", maintain_order="left")
    known = [key for key in keys if key in student.columns]
    if shared.is_empty() or not known:
        return []
    rows = shared["row"].to_numpy()
    ours = shared.select(known).to_numpy()
    theirs = np.stack([np.asarray(p_yes_QI[list(keys).index(key)])[rows] for key in known], axis=1)
    gaps = np.nan_to_num(np.abs(ours - theirs), nan=-1.0)
    worst = gaps.argmax(axis=1)
    order = np.argsort(-gaps.max(axis=1), kind="stable")[:count]
    return [
        {
            "image_id": shared["image_id"][place],
            "key": known[worst[place]],
            "student": float(ours[place, worst[place]]),
            "teacher": float(theirs[place, worst[place]]),
        }
        for place in order.tolist()
        if gaps[place, worst[place]] >= 0
    ]
