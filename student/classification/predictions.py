"""What a student says about each image of a split, in predictions-SPLIT.parquet beside its evaluation.

A row for each image, in the split's order:

image_id            as in the dataset
label, predicted    names of its class and of the most likely one
probability         of the predicted class, 0..1, as the student was trained: not calibrated
label_probability   of the label's class, likewise
label_rank          place of the label among the classes, the most likely first: 1 is right, 1 to 5 count for top-5

Students with aspects have aspects-SPLIT.parquet too: image_id, and p(yes) of each aspect in a column named by its key.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import torch
from torch import Tensor

from student.core.files import VERSION, RunInvalid, read_bytes, write_bytes

PREDICTIONS_FILE, ASPECTS_FILE = "predictions-{split}.parquet", "aspects-{split}.parquet"
LARGEST = 1 << 32  # bytes


def prediction_table(
    image_ids: Sequence[str], class_logits_NC: Tensor, labels_N: Tensor, class_names: Sequence[str]
) -> pl.DataFrame:
    """One row for each of the N images; of classes with equal logits the first one comes first, as for argmax."""
    own_N1 = labels_N[:, None]
    own_logit_N1 = class_logits_NC.gather(1, own_N1)
    first = torch.arange(class_logits_NC.shape[1]) < own_N1
    before = (class_logits_NC > own_logit_N1) | ((class_logits_NC == own_logit_N1) & first)
    predicted_N1 = class_logits_NC.argmax(dim=1, keepdim=True)
    probabilities = class_logits_NC.softmax(dim=1)
    names = pl.Series(class_names, dtype=pl.String)
    return pl.DataFrame(
        {
            "image_id": list(image_ids),
            "label": names.gather(labels_N.numpy()),
            "predicted": names.gather(predicted_N1[:, 0].numpy()),
            "probability": probabilities.gather(1, predicted_N1)[:, 0].numpy(),
            "label_probability": probabilities.gather(1, own_N1)[:, 0].numpy(),
            "label_rank": (1 + before.sum(dim=1)).int().numpy(),
        }
    )


def write_predictions(run_dir: Path, split: str, predictions: pl.DataFrame) -> str:
    """The SHA-256 of the file."""
    buffer = io.BytesIO()
    predictions.write_parquet(buffer, metadata={"version": str(VERSION)})
    write_bytes(run_dir / PREDICTIONS_FILE.format(split=split), buffer.getvalue())
    return hashlib.sha256(buffer.getvalue()).hexdigest()


def write_aspects(run_dir: Path, split: str, image_ids: Sequence[str], p_yes_NQ: Tensor, keys: Sequence[str]) -> None:
    """Write what the student says about each aspect of N images, p(yes) of Q aspects."""
    columns = {key: p_yes_NQ[:, place].float().numpy() for place, key in enumerate(keys)}
    buffer = io.BytesIO()
    pl.DataFrame({"image_id": list(image_ids), **columns}).write_parquet(buffer, metadata={"version": str(VERSION)})
    write_bytes(run_dir / ASPECTS_FILE.format(split=split), buffer.getvalue())


def read_predictions(run_dir: Path, split: str, digest: str | None) -> pl.DataFrame | None:
    """The predictions with that SHA-256. None where there are none, or where the file is another one or damaged: the
    student can be evaluated again. Raises StorageUnavailable where it cannot be read right now."""
    if digest is None:
        return None
    try:
        data = read_bytes(run_dir / PREDICTIONS_FILE.format(split=split), limit=LARGEST)
    except (FileNotFoundError, RunInvalid):
        return None
    return pl.read_parquet(io.BytesIO(data)) if hashlib.sha256(data).hexdigest() == digest else None


def image_scores(predictions: pl.DataFrame) -> pl.DataFrame:
    """What each image adds to metrics that are a mean over the images, by their names. For macro accuracy an image
    counts as many times as its class is rarer than the mean of those that are present."""
    right = pl.col("label_rank") == 1
    rarity = pl.len() / (pl.col("label").n_unique() * pl.len().over("label"))
    return predictions.select(
        "image_id",
        top1=right.cast(pl.Float32),
        top5=(pl.col("label_rank") <= 5).cast(pl.Float32),
        macro_accuracy=(right * rarity).cast(pl.Float32),
    )
