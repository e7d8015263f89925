"""Stores that cannot be written, at the first question and in the middle: what is asked, and what is kept."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flows.cli.errors import explain
from flows.parameters import DatasetParameters, EngineParameters, ExtractionParameters
from flows.work.extraction import extract_aspects
from flows.work.extraction_summary import ExtractionSummary
from storage.answers import writing
from storage.errors import StorageUnavailable
from tests.flows.hosts import plain_host
from tests.flows.work.engines import CountingEngine, use_engine
from tests.storage.faulty_s3 import FaultyS3, bucket, server

__all__ = ["bucket", "server"]  # fixtures

SHARD = 2  # images
PAIRS = 4 * SHARD  # answers of a shard
IN_FLIGHT = 2  # shards at a time
Extract = Callable[[object], ExtractionSummary]


@pytest.fixture
def extract(scenes: Path, few_questions: Path) -> Extract:
    def run(store: object) -> ExtractionSummary:
        return extract_aspects(
            plain_host(),
            ExtractionParameters(
                dataset=DatasetParameters(source=str(scenes)),
                questions=str(few_questions),
                engine=EngineParameters(name="transformers"),
                store=str(store),
                shard_size=SHARD,
                train=False,
            ),
        )

    return run


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> CountingEngine:
    monkeypatch.setattr(writing, "WRITE_DELAYS", (0.01, 0.01, 0.01))
    return use_engine(monkeypatch)


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """A filesystem of its own in memory; skips where nobody may mount one."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("no filesystem can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> None:
    for number in range(1000):
        (folder / f"{number}").write_bytes(bytes(4096))


def parts(store: Path) -> list[Path]:
    return sorted(store.rglob("part-*.parquet"))


@pytest.mark.parametrize("options", ["size=96k", "size=4m,nr_inodes=16"])
def test_a_store_that_fills_up_ends_the_run_and_nothing_finished_is_asked_again(
    extract: Extract, engine: CountingEngine, tmp_path: Path, options: str
) -> None:
    with mounted(tmp_path / "small", options) as store:
        with pytest.raises(StorageUnavailable, match=r"cannot write .* \(No space left on device\)") as caught:
            extract(store)
        kept = parts(store)
        assert kept
        assert engine.asked <= PAIRS * (len(kept) + IN_FLIGHT)
        explained = explain(caught.value)
        assert explained is not None
        assert explained[1] == 1
        subprocess.run(["mount", "-o", "remount,size=64m,nr_inodes=4096", str(store)], check=True)
        before, stamps = engine.asked, {path: path.stat().st_mtime_ns for path in kept}
        summary = extract(store)
        assert summary.asked == engine.asked - before == 4 * summary.images - PAIRS * len(kept)
        assert {path: path.stat().st_mtime_ns for path in kept} == stamps
        assert not list(store.rglob(".probe*"))


@pytest.mark.parametrize("options", ["size=64k", "size=4m,nr_inodes=4", "size=4m,ro"])
def test_an_unwritable_store_is_reported_before_the_first_question(
    extract: Extract, engine: CountingEngine, tmp_path: Path, options: str
) -> None:
    with mounted(tmp_path / "small", options) as store:
        if "ro" not in options.split(","):
            with pytest.raises(OSError, match="No space"):
                fill(store)
        with pytest.raises(StorageUnavailable, match="cannot write"):
            extract(store)
    assert engine.asked == 0


@pytest.mark.parametrize("status", [500, 503])
def test_a_shard_is_written_again_and_not_asked_again(
    extract: Extract, engine: CountingEngine, server: FaultyS3, bucket: str, status: int
) -> None:
    server.fail("PUT", "part-00001", status, times=4)  # more often than pyarrow itself tries
    summary = extract(bucket)
    assert server.times == 0
    assert engine.asked == summary.asked == 4 * summary.images


@pytest.mark.parametrize("status", [403, 507])  # no permission, no space
def test_a_server_that_refuses_a_shard_ends_the_run(
    extract: Extract, engine: CountingEngine, server: FaultyS3, bucket: str, status: int
) -> None:
    server.fail("PUT", "part-00001", status)
    started = time.monotonic()
    with pytest.raises(StorageUnavailable, match=r"cannot write .*part-00001\.parquet"):
        extract(bucket)
    assert time.monotonic() - started < 10
    assert engine.asked <= PAIRS * (1 + 2 * IN_FLIGHT)
    server.recover()
    before = engine.asked
    summary = extract(bucket)
    assert engine.asked - before == PAIRS * (summary.shards - summary.shards_kept)
    assert summary.shards_kept >= 1


@pytest.mark.parametrize("status", [403, 500])
def test_an_unwritable_object_store_is_reported_before_the_first_question(
    extract: Extract, engine: CountingEngine, server: FaultyS3, bucket: str, status: int
) -> None:
    server.fail("PUT", "", status)
    started = time.monotonic()
    with pytest.raises(StorageUnavailable, match="cannot write"):
        extract(bucket)
    assert time.monotonic() - started < 15
    assert engine.asked == 0
