"""Tasks of Label Studio with annotations by Choices, one JSON object a line; its exports, one JSON list, are read too.

The label is the Choices called `label`; each question has one called by its key, with the choices yes, no and unsure.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from storage.corrections.entries import Entry, ImageEntries, read_objects, text_at
from storage.corrections.rows import CorrectionInvalid

LABEL_NAME, IMAGE_NAME = "label", "image"


def to_line(image: ImageEntries, address: str) -> str:
    """Return the task of an image."""
    chosen = {LABEL_NAME: image.label} if image.label is not None else {}
    chosen |= image.answers
    result = [
        {"from_name": name, "to_name": IMAGE_NAME, "type": "choices", "value": {"choices": [choice]}}
        for name, choice in chosen.items()
    ]
    data = {IMAGE_NAME: address, "image_id": image.image_id}
    return json.dumps({"data": data, "annotations": [{"result": result}]}, ensure_ascii=False)


def read_entries(path: Path) -> Iterator[Entry]:
    """Read the last annotation of each task; images are named by `data.image_id`, else by `data.image`. Raises
    CorrectionInvalid."""
    for row, task in read_objects(path):
        where = f"{path}, row {row}"
        data = task.get("data")
        image = data.get("image_id", data.get(IMAGE_NAME)) if isinstance(data, dict) else None
        if image is None:
            raise CorrectionInvalid(f"{where} names no image; its data needs image_id or image")
        for name, choice in _choices(task.get("annotations"), where):
            key = None if name == LABEL_NAME else name
            yield Entry(row=row, image=text_at(image, f"{where}: image"), key=key, value=choice)


def _choices(annotations: object, where: str) -> Iterator[tuple[str, str]]:
    """Return names and choices of the last annotation that was not cancelled; none for a task without one."""
    if not isinstance(annotations, list | None):
        raise CorrectionInvalid(f"{where}: annotations are no list")
    kept = [each for each in annotations or () if not (isinstance(each, dict) and each.get("was_cancelled"))]
    if not kept:
        return
    results = kept[-1].get("result") if isinstance(kept[-1], dict) else None
    if not isinstance(results, list):
        raise CorrectionInvalid(f"{where}: its annotation has no result")
    for each in results:
        if isinstance(each, dict) and each.get("type") == "choices":
            yield text_at(each.get("from_name"), f"{where}: from_name"), _choice(each.get("value"), where)


def _choice(value: Any, where: str) -> str:
    choices = value.get("choices") if isinstance(value, dict) else None
    if not isinstance(choices, list) or len(choices) > 1:
        raise CorrectionInvalid(f"{where}: a result needs exactly one choice")
    return text_at(choices[0], f"{where}: choice") if choices else ""
