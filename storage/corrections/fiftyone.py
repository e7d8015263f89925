"""Samples of FiftyOne in the form of `fiftyone.Sample.to_dict` and `from_dict`, one JSON object per line.

The label is a Classification in the field `ground_truth`; each question has one, yes, no or unsure, in `aspect_KEY`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from storage.corrections.entries import Entry, ImageEntries, read_objects, text_at
from storage.corrections.rows import CorrectionInvalid

LABEL_FIELD = "ground_truth"
ANSWER_FIELD = "aspect_"  # before a question's key


def to_line(image: ImageEntries, filepath: str) -> str:
    """Return the sample of an image."""
    sample: dict[str, Any] = {"filepath": filepath, "tags": ["corrected"], "image_id": image.image_id}
    if image.label is not None:
        sample[LABEL_FIELD] = _classification(image.label)
    for key, value in image.answers.items():
        sample[f"{ANSWER_FIELD}{key}"] = _classification(value)
    return json.dumps(sample, ensure_ascii=False)


def _classification(label: str) -> dict[str, str]:
    return {"_cls": "Classification", "label": label}


def read_entries(path: Path) -> Iterator[Entry]:
    """Read labels and answers; images are named by `image_id`, else by `filepath`. Raises CorrectionInvalid."""
    for row, sample in read_objects(path):
        where = f"{path}, row {row}"
        image = sample.get("image_id", sample.get("filepath"))
        if image is None:
            raise CorrectionInvalid(f"{where} names no image; it needs image_id or filepath")
        for field, value in sample.items():
            if field == LABEL_FIELD or field.startswith(ANSWER_FIELD):
                key = None if field == LABEL_FIELD else field.removeprefix(ANSWER_FIELD)
                label = _label_of(value, where, field)
                yield Entry(row=row, image=text_at(image, f"{where}: image"), key=key, value=label)


def _label_of(value: object, where: str, field: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, dict) or "label" not in value:
        raise CorrectionInvalid(f'{where}: {field} is no Classification; write {{"label": ...}}')
    return "" if value["label"] is None else text_at(value["label"], f"{where}: label of {field}")
