"""Read an answer directory that may be incomplete or damaged."""

from __future__ import annotations

from dataclasses import dataclass

from storage.answers.predicted import BudgetFacts, budget_of
from storage.answers.read import Answers, join_shards, load_listed
from storage.answers.schema import AnswerHeader
from storage.answers.store import AnswerDirectory, AnswersDamaged


@dataclass(frozen=True, kw_only=True)
class Holding:
    """The readable part of one directory. `damaged` names the files that cannot be read.

    `answers` and `header` are None where no shard can be read, `budget` where no pair was left out.
    """

    directory: AnswerDirectory
    header: AnswerHeader | None
    answers: Answers | None
    complete: bool
    damaged: tuple[str, ...]
    budget: BudgetFacts | None = None


def read_holding(directory: AnswerDirectory) -> Holding:
    """Read the shards that are readable.

    Raises VersionUnsupported, and StorageUnavailable if a file cannot be read right now.
    """
    parts, damaged, header, manifest = [], [], None, None
    try:
        manifest = directory.manifest()
    except AnswersDamaged:
        damaged.append(f"{directory.folder}.json")
    for name in list(manifest["shards"]) if manifest else directory.shard_files():
        try:
            stored = load_listed(directory, manifest, name) if manifest else directory.load_shard(name)
        except (FileNotFoundError, AnswersDamaged):
            damaged.append(name)
            continue
        if header is not None and stored.header.questions != header.questions:  # of another directory
            damaged.append(name)
            continue
        header = stored.header
        parts.append(stored.answers)
    return Holding(
        directory=directory,
        header=header,
        answers=join_shards(header, parts) if header else None,
        complete=manifest is not None and not damaged,
        damaged=tuple(damaged),
        budget=budget_of(manifest or {}),
    )
