"""Names and tags of runs on a Prefect server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from flows.parameters import DatasetParameters, TeacherParameters
from storage.text import printable
from teacher.engines.presets import TINY

LONGEST_NAME = 200  # characters


@dataclass(frozen=True, kw_only=True)
class RunLabels:
    """A name such as `extract photos x garden by qwen3-vl-8b`, and tags to filter runs by."""

    name: str
    tags: list[str]


def labels(verb: str, parameters: Mapping[str, Any]) -> RunLabels:
    """Return the labels of a run with these parameters, including nested groups."""
    dataset = parameters.get("dataset")
    for group in ("brief", "experiment"):
        dataset = dataset or getattr(parameters.get(group), "dataset", None)
    questions, teacher = parameters.get("questions") or parameters.get("box_questions"), parameters.get("teacher")
    name, tags = verb, list[str]()
    if isinstance(dataset, DatasetParameters):
        about = dataset.name or _last_part(dataset.source)
        name, tags = f"{name} {about}", [*tags, f"dataset:{about}"]
    if questions:
        asked = PurePath(questions).stem
        name, tags = f"{name} x {asked}", [*tags, f"questions:{asked}"]
    if isinstance(teacher, TeacherParameters):
        by = _last_part(teacher.model or TINY)  # rendered scenes, or the run ends before it asks
        name, tags = f"{name} by {by}", [*tags, f"teacher:{by}"]
    return RunLabels(name=printable(name, LONGEST_NAME), tags=[printable(tag, LONGEST_NAME) for tag in tags])


def _last_part(address: str) -> str:
    """Return `birds` for `hf:someone/birds` and for `/data/birds/`."""
    return address.rstrip("/").rpartition("/")[2].rpartition(":")[2] or address
