"""Extraction in one process, with the bundled teacher on the transformers engine; vLLM runs it in test_kill.py."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from flows.parameters import (
    DatasetParameters,
    EngineParameters,
    ExtractionParameters,
    StudentParameters,
    TeacherParameters,
)
from flows.work import asking
from flows.work.extraction import extract_aspects
from flows.work.extraction_summary import ExtractionSummary
from storage.datasets.folder import image_folder
from teacher.engines.config import TINY_MODEL, ChatTemplateMissing
from teacher.extraction.jobs import ShardJob
from teacher.extraction.processes import WorkerProcess
from tests.flows.hosts import Notes, plain_host
from tests.flows.work.engines import use_local_workers

SHARD_SIZE = 10
Extract = Callable[..., ExtractionSummary]


@pytest.fixture(scope="module")
def extract(scenes: Path, few_questions: Path) -> Extract:
    """`extract_aspects` on the training scenes; keyword arguments replace its parameters."""

    def run(store: Path, notes: Notes | None = None, **changes: Any) -> ExtractionSummary:
        parameters = {
            "dataset": DatasetParameters(source=str(scenes)),
            "questions": str(few_questions),
            "engine": EngineParameters(name="transformers"),
            "store": str(store),
            "shard_size": SHARD_SIZE,
            "train": False,
        }
        return extract_aspects(plain_host(notes), ExtractionParameters(**{**parameters, **changes}))

    return run


@pytest.fixture(scope="module")
def extracted(extract: Extract, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ExtractionSummary]:
    """A store with all answers for the training scenes, and what the run said that made it."""
    store = tmp_path_factory.mktemp("extracted")
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_local_workers(monkeypatch)
        return store, extract(store)


@pytest.fixture
def store(extracted: tuple[Path, ExtractionSummary], tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(extracted[0], tmp_path / "store"))


@pytest.fixture
def local_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    use_local_workers(monkeypatch)


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*arguments: object) -> WorkerProcess:
        raise AssertionError("a teacher was started")

    monkeypatch.setattr(asking, "WorkerProcess", start)


def shards(store: Path) -> dict[str, Path]:
    return {path.name: path for path in sorted(store.glob("answers/*/*/*/*.parquet"))}


def stamps(store: Path) -> dict[str, tuple[int, int]]:
    return {name: (path.stat().st_ino, path.stat().st_mtime_ns) for name, path in shards(store).items()}


def rows(store: Path) -> pl.DataFrame:
    return pl.read_parquet(list(shards(store).values()))


def test_every_image_gets_every_answer_in_the_datasets_order(
    extracted: tuple[Path, ExtractionSummary], scenes: Path
) -> None:
    store, summary = extracted
    training = [record.image_id for record in image_folder(scenes).records if record.split == "train"]
    table = rows(store)
    assert table["image_id"].to_list() == training
    assert table["has_red"].struct.field("yes").null_count() == 0
    assert summary.asked == 4 * len(training)
    assert (summary.reused, summary.shards_kept, dict(summary.failures)) == (0, 0, {})
    assert len(shards(store)) == -(-len(training) // SHARD_SIZE)


def test_the_answers_are_the_bundled_teachers_own(extracted: tuple[Path, ExtractionSummary], scenes: Path) -> None:
    answer = rows(extracted[0])["has_red"].struct
    p_yes = 1 / (1 + np.exp(answer.field("no").to_numpy() - answer.field("yes").to_numpy()))
    truth = pl.read_parquet(scenes / "ground_truth.parquet").select("image_id", "has_red")
    red = rows(extracted[0]).join(truth.rename({"has_red": "red"}), on="image_id", how="left")["red"].to_numpy()
    assert p_yes[red].mean() > p_yes[~red].mean() + 0.3


@pytest.mark.usefixtures("no_engine")
def test_a_second_run_starts_no_teacher_and_touches_no_shard(extract: Extract, store: Path) -> None:
    before = stamps(store)
    summary = extract(store)
    assert (summary.asked, summary.shards_kept) == (0, len(before))
    assert stamps(store) == before


@pytest.mark.usefixtures("local_workers")
def test_only_a_deleted_shard_is_asked_again(extract: Extract, store: Path) -> None:
    before, table = stamps(store), rows(store)
    shards(store)["part-00001.parquet"].unlink()
    summary = extract(store)
    assert summary.asked == 4 * SHARD_SIZE
    after = stamps(store)
    assert after.pop("part-00001.parquet") != before.pop("part-00001.parquet")
    assert after == before
    assert rows(store)["image_id"].to_list() == table["image_id"].to_list()


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Process numbers of the workers that a run starts; the first of them is killed when it gets its first shard."""
    numbers: list[int] = []

    class Mortal(WorkerProcess):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            assert self._process.pid is not None
            numbers.append(self._process.pid)

        def ask(self, job: ShardJob, on_report: Any) -> Any:
            if self._process.pid == numbers[0]:
                os.kill(numbers[0], signal.SIGKILL)
            return super().ask(job, on_report)

    monkeypatch.setattr(asking, "WorkerProcess", Mortal)
    return numbers


def test_processes_write_the_same_store_even_if_one_dies(
    extract: Extract, extracted: tuple[Path, ExtractionSummary], tmp_path: Path, started: list[int]
) -> None:
    workers = min(2, len(os.sched_getaffinity(0)))  # on a CPU each needs a core
    summary = extract(tmp_path, engine=EngineParameters(name="transformers", workers=workers))
    assert len(started) >= 2
    assert list(shards(tmp_path)) == list(shards(extracted[0]))
    ours, expected = rows(tmp_path), rows(extracted[0])
    assert ours["image_id"].to_list() == expected["image_id"].to_list()
    for answer in ("yes", "no"):
        found, wanted = (table["has_red"].struct.field(answer).to_numpy() for table in (ours, expected))
        np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert summary.asked == 4 * summary.images
    assert summary.ledger is not None
    assert summary.ledger.workers == workers
    assert summary.ledger.questions == 4 * summary.images
    for pid in started:
        assert not Path(f"/proc/{pid}").exists()


@pytest.mark.usefixtures("local_workers")
def test_the_ledger_of_a_run_is_kept_in_the_manifest(extract: Extract, store: Path) -> None:
    (manifest,) = store.glob("answers/*/*/*.json")
    (first,) = json.loads(manifest.read_text())["runs"]
    assert first["questions"] == 4 * first["images"] > 0
    assert first["prompt_tokens"] > first["prefix_tokens"] > 0
    assert min(first[name] for name in ("seconds", "start_seconds", "decode_seconds", "engine_seconds")) > 0
    shards(store)["part-00001.parquet"].unlink()
    notes = Notes()
    extract(store, notes)
    assert notes.share == 1
    assert f"| images | {SHARD_SIZE} |" in notes.pages["ledger"]
    first_again, second = json.loads(manifest.read_text())["runs"]
    assert first_again == first
    assert second["images"] == SHARD_SIZE


def test_an_unusable_teacher_is_not_tried_again(
    extract: Extract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Path(shutil.copytree(TINY_MODEL, tmp_path / "model"))
    (model / "chat_template.jinja").unlink()
    starts: list[int] = []
    use_local_workers(monkeypatch)
    local = vars(asking)["WorkerProcess"]

    def start(*arguments: Any) -> Any:
        starts.append(1)
        return local(*arguments)

    monkeypatch.setattr(asking, "WorkerProcess", start)
    with pytest.raises(ChatTemplateMissing, match="no chat template"):
        extract(tmp_path / "store", teacher=TeacherParameters(model=str(model), dtype="float32"))
    assert len(starts) == 1
    assert shards(tmp_path / "store") == {}


def test_images_that_cannot_be_read_are_counted_and_named(
    extract: Extract, store: Path, scenes: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(scenes, tmp_path / "scenes"))
    damaged = sorted(root.glob("train/*/*.png"))[:2]
    damaged[0].write_bytes(b"")
    damaged[1].write_bytes(damaged[1].read_bytes()[:40])
    summary = extract(store, dataset=DatasetParameters(source=str(root)))
    assert list(summary.failures) == [path.relative_to(root).as_posix() for path in damaged]
    table = rows(store).filter(pl.col("error").is_not_null())
    assert table["error"][0] == "file is empty"
    assert table["has_red"].null_count() == 2
    # Everything else was known already.
    assert summary.asked == 0


def test_students_are_trained_on_the_answers_and_compared(extract: Extract, store: Path, tmp_path: Path) -> None:
    settings = {"epochs": 1, "warmup": 0, "image_size": 32, "cache_size": 32, "val_fraction": 0.0, "threads": 1}
    student = StudentParameters(settings=settings, seeds=[3], runs=str(tmp_path / "runs"))
    notes = Notes()
    results = extract(store, notes, train=True, student=student).results
    assert results is not None
    methods = ["base", "recommended-without-answers", "recommended"]
    assert results.table.select("seed", "method").rows() == [(3, method) for method in methods]
    assert [row["method"] for row in notes.tables["results"]] == methods
    report = (tmp_path / "runs" / "report.md").read_text()
    assert notes.pages["report"] == report
    assert "| method | top-1 | top-5 | macro | gain (95 %) | of the answers (95 %) | gain by seed | " in report
    assert "of the answers: over the same training without answers (recommended-without-answers)" in report
    assert "- recommended, seed 3: aspect AUROC" not in report  # the test images have not been asked about
