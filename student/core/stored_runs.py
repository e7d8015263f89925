"""What folders of runs and experiments hold, read without torch, which takes seconds to import.

Files are read again where their size or modification time changes. The dataclasses have the fields of the JSON files
that are shown; student/core/runs.py, student/core/results.py and student/classification/evaluate.py describe them.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl

from storage.errors import AspectsError
from student.core.files import parse, read_bytes, read_json, unreadable

DESCRIPTION, RESULT, RESULTS = "run.json", "result.json", "results.json"
EVALUATION, PREDICTIONS = "evaluation-{split}.json", "predictions-{split}.parquet"
ASPECTS = "aspects-{split}.parquet"
DEPTH = 4  # folders below the given one
MOST_BYTES = 1 << 30  # of a file of predictions

Stamp = tuple[int, int]  # size and modification time in ns


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDifference:
    mean: float
    low: float | None = None
    high: float | None = None
    over: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCell:
    """One metric of one cell of an experiment."""

    cell: str
    metric: str
    mean: float
    values: tuple[float, ...]
    baseline: str
    std: float | None = None
    gain: StoredDifference | None = None
    twin: str | None = None
    answers_gain: StoredDifference | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredResults:
    """The results of an experiment."""

    folder: Path
    dataset: str
    split: str
    images: int
    train_images: int
    settings: Mapping[str, Any]
    summary: tuple[StoredCell, ...]

    @property
    def main(self) -> tuple[StoredCell, ...]:
        """The cells' main metric."""
        return tuple(cell for cell in self.summary if cell.metric == self.summary[0].metric)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAspect:
    key: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRun:
    """The description of a run. `name` is its folder relative to the one that was searched."""

    folder: Path
    name: str
    kind: str  # "classifier" or "detector"
    dataset: str
    class_names: tuple[str, ...]
    config: Mapping[str, Any]
    aspects: tuple[StoredAspect, ...] = ()
    teacher: str | None = None

    @property
    def finished(self) -> bool:
        return (self.folder / RESULT).is_file()

    @property
    def splits(self) -> list[str]:
        """The splits that it was evaluated on."""
        before, after = EVALUATION.split("{split}")
        return sorted(path.name[len(before) : -len(after)] for path in self.folder.glob(EVALUATION.format(split="*")))


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredClassScore:
    class_name: str
    images: int
    top1: float | None
    precision: float | None = None
    f1: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAspectScore:
    key: str
    images: int
    auroc: float | None
    ece: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredGroup:
    text: str
    class_name: str
    answer: str
    images: int
    top1: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBin:
    images: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredReliability:
    temperature: float
    ece: float
    bins: tuple[StoredBin, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvaluation:
    """The evaluation of a classifier on a split."""

    dataset: str
    split: str
    images: int
    top1: float
    macro_accuracy: float
    per_class: tuple[StoredClassScore, ...]
    aspects: tuple[StoredAspectScore, ...] = ()
    top5: float | None = None
    aspect_auroc: float | None = None
    aspect_ece: float | None = None
    reliability: StoredReliability | None = None
    calibrated: StoredReliability | None = None
    groups: tuple[StoredGroup, ...] = ()
    worst_group: float | None = None
    predictions: str | None = None


def files_below(folder: Path, name: str) -> Iterator[Path]:
    """Files of that name in `folder` and at most DEPTH folders below, sorted."""
    for depth in range(DEPTH + 1):
        yield from sorted(folder.glob("/".join(["*"] * depth + [name])))


def find_runs(folders: Iterable[Path]) -> list[StoredRun]:
    """The runs below `folders`; those that cannot be read are left out."""
    found = [(path, folder) for folder in folders for path in files_below(folder, DESCRIPTION)]
    return [run for path, folder in found if (run := read_run(path.parent, folder)) is not None]


def read_run(folder: Path, top: Path) -> StoredRun | None:
    """The run in `folder`, named by its path below `top`; None where there is none that can be read."""
    path = folder / DESCRIPTION
    return _run(path, top, _stamp(path))


@lru_cache(maxsize=4096)
def _run(path: Path, top: Path, stamp: Stamp | None) -> StoredRun | None:
    try:
        values = read_json(path)
        config = values.get("config")
        if not isinstance(config, dict):
            raise unreadable(path, "it has no config")
        name = str(path.parent.relative_to(top)) if path.parent != top else path.parent.name
        kind = "detector" if "detector" in config else "classifier"
        return parse(StoredRun, {**values, "folder": path.parent, "name": name, "kind": kind}, path)
    except (AspectsError, FileNotFoundError):  # damaged, newer or deleted: the others are still shown
        return None


def find_results(folders: Iterable[Path]) -> list[StoredResults]:
    """The experiments below `folders`; those that cannot be read, or have no results yet, are left out."""
    paths = [path for folder in folders for path in files_below(folder, RESULTS)]
    return [found for path in paths if (found := _results(path, _stamp(path))) and found.summary]


@lru_cache(maxsize=256)
def _results(path: Path, stamp: Stamp | None) -> StoredResults | None:
    try:
        return parse(StoredResults, {**read_json(path), "folder": path.parent}, path)
    except (AspectsError, FileNotFoundError):
        return None


def read_stored_evaluation(run: StoredRun, split: str) -> StoredEvaluation | None:
    """The evaluation of a classifier on `split`; None where there is none that can be read."""
    path = run.folder / EVALUATION.format(split=split)
    return _evaluation(path, _stamp(path))


@lru_cache(maxsize=512)
def _evaluation(path: Path, stamp: Stamp | None) -> StoredEvaluation | None:
    try:
        return parse(StoredEvaluation, read_json(path), path)
    except (AspectsError, FileNotFoundError):
        return None


def read_stored_predictions(run: StoredRun, split: str) -> pl.DataFrame | None:
    """The predictions of a classifier (columns: student/classification/predictions.py); None where there are none, or
    others than those of the evaluation."""
    evaluation = read_stored_evaluation(run, split)
    path = run.folder / PREDICTIONS.format(split=split)
    stamp = _stamp(path)
    if evaluation is None or evaluation.predictions is None or stamp is None:
        return None
    return _predictions(path, stamp, evaluation.predictions)


@lru_cache(maxsize=32)
def _predictions(path: Path, stamp: Stamp, digest: str) -> pl.DataFrame | None:
    try:
        data = read_bytes(path, limit=MOST_BYTES)
    except (AspectsError, FileNotFoundError):
        return None
    return pl.read_parquet(io.BytesIO(data)) if hashlib.sha256(data).hexdigest() == digest else None


def read_stored_aspects(run: StoredRun, split: str) -> pl.DataFrame | None:
    """p(yes) of a classifier's aspects on a split: image_id, and a column for each key; None where there is none."""
    path = run.folder / ASPECTS.format(split=split)
    stamp = _stamp(path)
    return None if stamp is None else _aspects(path, stamp)


@lru_cache(maxsize=16)
def _aspects(path: Path, stamp: Stamp) -> pl.DataFrame | None:
    try:
        return pl.read_parquet(io.BytesIO(read_bytes(path, limit=MOST_BYTES)))
    except (AspectsError, FileNotFoundError, pl.exceptions.PolarsError):  # damaged: it can be evaluated again
        return None


def _stamp(path: Path) -> Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns
