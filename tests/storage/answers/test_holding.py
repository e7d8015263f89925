"""Directories are read as far as they can be; test_damaged_stores.py damages them in every way."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from storage.answers.directories import answer_directories
from storage.answers.holding import read_holding
from storage.answers.read import read_answers
from storage.statistics import class_information
from tests.storage.contract import write_directory
from tests.storage.samples import QUESTIONS


def test_a_complete_directory(tmp_path: Path) -> None:
    write_directory(str(tmp_path))
    (directory,) = answer_directories(str(tmp_path))
    holding = read_holding(directory)
    assert holding.header is not None
    assert (holding.complete, holding.damaged, holding.images) == (True, (), 5)
    assert holding.header.questions == QUESTIONS


def test_without_a_manifest_the_shards_are_read(tmp_path: Path) -> None:
    write_directory(str(tmp_path))
    (directory,) = answer_directories(str(tmp_path))
    next(tmp_path.glob("answers/*/*/*.json")).unlink()
    first, _ = sorted(tmp_path.glob("answers/*/*/*/*.parquet"))
    first.write_bytes(first.read_bytes()[:100])
    holding = read_holding(directory)
    assert (holding.complete, holding.damaged, holding.images) == (False, (first.name,), 2)
    for shard in tmp_path.glob("answers/*/*/*/*.parquet"):
        shard.write_bytes(b"")
    holding = read_holding(directory)
    assert (holding.images, holding.header) == (0, None)


def test_sums_are_those_of_all_answers_at_once(tmp_path: Path) -> None:
    directory = write_directory(str(tmp_path))
    holding, answers = read_holding(directory), read_answers(directory)
    np.testing.assert_allclose(holding.sums / holding.counts, np.nanmean(answers.p_yes, axis=0), rtol=1e-6)
    np.testing.assert_allclose(holding.information, class_information(answers.p_yes, answers.label_names), atol=1e-6)
    assert (holding.splits, holding.errors) == (Counter(answers.splits), Counter(filter(None, answers.errors)))
    assert holding.level == answers.level
