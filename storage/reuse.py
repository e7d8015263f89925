"""Answers that a teacher has given before, found again by image digest and question text."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from storage.schema import ShardAnswers
from storage.store import answer_directories, audits_of


@dataclass(frozen=True)
class KnownAnswers:
    """Answers of one teacher, each shard with the columns of its question texts and the rows of its image digests."""

    shards: list[tuple[dict[str, int], ShardAnswers]] = field(default_factory=list)
    rows: dict[str, list[tuple[int, int]]] = field(default_factory=dict)

    def add(self, texts: Sequence[str], answers: ShardAnswers) -> None:
        number = len(self.shards)
        self.shards.append(({text: column for column, text in enumerate(texts)}, answers))
        for row, (digest, error) in enumerate(zip(answers.image_sha256, answers.errors, strict=True)):
            if digest is not None and error is None:
                self.rows.setdefault(digest, []).append((number, row))

    def fill(self, digest: str, texts: Sequence[str], yes: NDArray[np.float32], no: NDArray[np.float32]) -> int:
        """Put what is known about an image where `yes` and `no`, each [Q], are still NaN; the number filled in."""
        before = int(np.isnan(yes).sum())
        for number, row in self.rows.get(digest, ()):
            columns, answers = self.shards[number]
            for place, text in enumerate(texts):
                if np.isnan(yes[place]) and (column := columns.get(text)) is not None:
                    yes[place], no[place] = answers.yes[row, column], answers.no[row, column]
        return before - int(np.isnan(yes).sum())


def known_answers(store: str, datasets: Collection[str], teacher_fingerprint: str) -> KnownAnswers:
    """All that the store and its audits hold of this teacher on these datasets; unfinished directories count too."""
    known = KnownAnswers()
    places = itertools.product((store, audits_of(store)), datasets)
    for directory in itertools.chain.from_iterable(answer_directories(*place) for place in places):
        if f"/teacher={teacher_fingerprint}/" not in directory.path:
            continue
        for name in directory.shard_files():
            try:
                header, answers = directory.read_shard(name)
            except (OSError, ValueError, KeyError):
                continue  # a damaged shard is asked again
            known.add(header.questions.texts, answers)
    return known
