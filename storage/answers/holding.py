"""Read an answer directory that may be incomplete or damaged, one file after the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.answers.predicted import BudgetFacts, budget_of
from storage.answers.read import Level, LevelOfRows, load_listed
from storage.answers.schema import AnswerHeader, ShardAnswers, StoredShard
from storage.answers.store import AnswerDirectory, AnswersDamaged
from storage.statistics import information_of_sums, sigmoid

Sums = NDArray[np.float64]


@dataclass(kw_only=True)
class Holding:
    """The readable part of one directory. `damaged` names the files that cannot be read.

    `header` is None where no file can be read. `errors` counts the reasons for rows without answers. `sums` are those
    of p(yes) [Q] over the `counts` answers, `class_sums` and `class_counts` the same for each label name. `mass` is the
    mean probability of yes and no together, None without answers. `budget` is None where no pair was left out.
    """

    directory: AnswerDirectory
    header: AnswerHeader | None = None
    complete: bool = False
    damaged: tuple[str, ...] = ()
    images: int = 0
    level: Level = "image"
    splits: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    class_counts: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    class_sums: dict[str, Sums] = field(default_factory=dict)
    mass: float | None = None
    budget: BudgetFacts | None = None

    @property
    def class_names(self) -> list[str]:
        return sorted(name for name in self.class_counts if name)

    @property
    def counts(self) -> NDArray[np.int64]:
        return np.sum(list(self.class_counts.values()), axis=0, dtype=np.int64)

    @property
    def sums(self) -> Sums:
        return np.sum(list(self.class_sums.values()), axis=0, dtype=np.float64)

    @property
    def information(self) -> NDArray[np.float64]:
        """Return how many bits each question says about the class [Q]; NaN without answers about labelled images."""
        names = self.class_names
        if not names:
            return np.full(len(self.counts), np.nan)
        counts = np.stack([self.class_counts[name] for name in names])
        return information_of_sums(counts, np.stack([self.class_sums[name] for name in names]))

    def add(self, answers: ShardAnswers) -> None:
        """Count the rows of a file."""
        self.images += len(answers.records)
        self.splits.update(record.split for record in answers.records)
        self.errors.update(error for error in answers.errors if error is not None)
        # tanh does not overflow where exp would.
        p_yes = sigmoid(answers.yes.astype(np.float64) - answers.no)
        answered = ~np.isnan(p_yes)
        label_names = np.array([record.label_name for record in answers.records], object)
        order = np.argsort(label_names, kind="stable")
        names, starts = np.unique(label_names[order], return_index=True)
        counts = np.add.reduceat(answered[order].astype(np.int64), starts, axis=0)
        sums = np.add.reduceat(np.where(answered, p_yes, 0.0)[order], starts, axis=0)
        for name, count, total in zip(names.tolist(), counts, sums, strict=True):
            if name in self.class_counts:
                self.class_counts[name] += count
                self.class_sums[name] += total
            else:
                self.class_counts[name], self.class_sums[name] = count.copy(), total.copy()


def read_holding(directory: AnswerDirectory) -> Holding:
    """Read the files that are readable.

    Raises VersionUnsupported, and StorageUnavailable if a file cannot be read right now.
    """
    damaged, manifest = list[str](), None
    try:
        manifest = directory.manifest()
    except AnswersDamaged:
        damaged.append(f"{directory.folder}.json")
    found, level = Holding(directory=directory), None
    mass, answered = 0.0, 0
    for name, stored in _readable(directory, manifest, damaged):
        if found.header is not None and stored.header.questions != found.header.questions:  # of another directory
            damaged.append(name)
            continue
        found.header = stored.header
        found.add(stored.answers)
        level = level or LevelOfRows(stored.header)
        level.add(stored.answers)
        total = np.exp(stored.answers.yes.astype(np.float64)) + np.exp(stored.answers.no.astype(np.float64))
        mass, answered = mass + float(np.nansum(total)), answered + int(np.isfinite(total).sum())
    if level is not None:
        found.level = level.found
    found.mass = mass / answered if answered else None
    found.damaged = tuple(damaged)
    found.budget = budget_of(manifest or {})
    found.complete = manifest is not None and not damaged
    return found


def _readable(
    directory: AnswerDirectory, manifest: Mapping[str, Any] | None, damaged: list[str]
) -> Iterator[tuple[str, StoredShard]]:
    """Yield the files that can be read; the names of others are added to `damaged`."""
    for name in list(manifest["shards"]) if manifest else directory.shard_files():
        try:
            yield name, load_listed(directory, manifest, name) if manifest else directory.load_shard(name)
        except (FileNotFoundError, AnswersDamaged):
            damaged.append(name)
