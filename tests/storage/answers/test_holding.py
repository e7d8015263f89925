"""Directories are read as far as they can be; test_damaged_stores.py damages them in every way."""

from __future__ import annotations

from pathlib import Path

from storage.answers.holding import read_holding
from storage.answers.store import answer_directories
from tests.storage.contract import write_directory
from tests.storage.samples import QUESTIONS


def test_a_complete_directory(tmp_path: Path) -> None:
    write_directory(str(tmp_path))
    (directory,) = answer_directories(str(tmp_path))
    holding = read_holding(directory)
    assert holding.header is not None
    assert holding.answers is not None
    assert (holding.complete, holding.damaged, len(holding.answers.image_ids)) == (True, (), 5)
    assert holding.header.questions == QUESTIONS


def test_without_a_manifest_the_shards_are_read(tmp_path: Path) -> None:
    write_directory(str(tmp_path))
    (directory,) = answer_directories(str(tmp_path))
    next(tmp_path.glob("answers/*/*/*.json")).unlink()
    first, _ = sorted(tmp_path.glob("answers/*/*/*/*.parquet"))
    first.write_bytes(first.read_bytes()[:100])
    holding = read_holding(directory)
    assert holding.answers is not None
    assert (holding.complete, holding.damaged, len(holding.answers.image_ids)) == (False, (first.name,), 2)
    for shard in tmp_path.glob("answers/*/*/*/*.parquet"):
        shard.write_bytes(b"")
    holding = read_holding(directory)
    assert (holding.answers, holding.header) == (None, None)
