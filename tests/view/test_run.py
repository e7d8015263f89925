"""Unfinished extractions and trainings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fastapi.testclient import TestClient

from storage.datasets import FileDataset
from student.core.curves import open_curves, write_curves
from tests.student.core.test_stored_curves import Log
from tests.student.evaluations import write_run
from tests.view.conftest import HEADER, Open, write_answers


def test_nothing_is_running_in_a_complete_store(client: TestClient) -> None:
    assert "Nothing is running" in client.get("/run").text


def test_an_extraction_shows_its_newest_answers(open_page: Open, tmp_path: Path, flowers: FileDataset) -> None:
    write_answers(tmp_path / "store", flowers, HEADER, shard_size=4, complete=False)
    page = open_page(tmp_path / "store", dataset=flowers).get("/run").text
    assert "20 of 24" in page
    assert "images in 5 shards, train<" in page
    assert "yes: is_red" in page
    assert 'data-refresh="3"' in page


def test_a_training_shows_its_epochs(open_page: Open, store: Path, tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "runs" / "seed-0")
    client = open_page(store, runs=[tmp_path / "runs"])
    assert "No epoch is finished yet" in client.get("/run").text
    writer = open_curves(run_dir, 0)
    write_curves(writer, Log(1, loss=0.125, seconds=3.0), tmp_path)
    writer.close()
    page = client.get("/run").text
    assert "1 of 30" in page
    assert "0.125" in page
    assert "1 min 27 s" in page


def test_images_of_every_split_are_expected(open_page: Open, tmp_path: Path, flowers: FileDataset) -> None:
    """The first shards are about another split than the last ones."""
    records = [
        replace(record, split="test") if number > 11 else record for number, record in enumerate(flowers.records)
    ]
    both = replace(flowers, records=records)
    write_answers(tmp_path / "store", both, shard_size=4, complete=False)
    page = open_page(tmp_path / "store", dataset=both).get("/run").text
    assert "20 of 24" in page
    assert "images in 5 shards, train, test<" in page
