"""Pages about students and the images that they predict."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import pytest
from fastapi.testclient import TestClient

from storage.datasets import FileDataset
from tests.student.evaluations import write_evaluation, write_run
from tests.view.conftest import CLASSES, Open

ROWS = [
    ("train/daisy/0.png", "daisy", "daisy", 0.9),
    ("train/daisy/1.png", "daisy", "rose", 0.8),
    ("train/rose/0.png", "rose", "rose", 0.7),
    ("train/rose/1.png", "rose", "<b>tulip", 0.6),
]


@pytest.fixture
def student(open_page: Open, store: Path, flowers: FileDataset, tmp_path: Path) -> TestClient:
    run_dir = write_run(tmp_path / "runs" / "recommended" / "seed-0", classes=CLASSES)
    write_evaluation(run_dir, rows=ROWS)
    write_run(tmp_path / "runs" / "unfinished", classes=CLASSES)
    return open_page(store, dataset=flowers, runs=[tmp_path / "runs"])


def test_confusions_open_their_images(student: TestClient) -> None:
    page = student.get("/student").text
    assert "75.00 %" in page
    addresses = re.findall(r'<td><a href="(/predictions[^"]+)"[^>]*>1</a></td>', page)
    assert len(addresses) == 4
    wrong = next(address for address in addresses if "predicted=rose" in address and "label=daisy" in address)
    images = student.get(wrong.replace("&amp;", "&")).text
    assert re.findall(r'<div class="card" data-step>\s*<a href="[^"]*id=([^"&]+)"', images) == ["train%2Fdaisy%2F1.png"]


def test_the_question_that_tells_confused_classes_apart_is_named(student: TestClient) -> None:
    page = student.get("/student").text
    (row,) = re.findall(
        r'<tr data-step><th class="wrap"><a [^>]*>daisy</a></th><td class="wrap" [^>]*>rose</td>.*?</tr>',
        page,
    )
    assert "Is it red?" in row


def test_accuracy_by_confidence_and_calibration_are_shown(student: TestClient) -> None:
    page = student.get("/student").text
    accuracies = re.findall(r'<td class="number">([\d.]+ %)</td></tr>', page[page.index("from confidence") :])
    assert accuracies[:3] == ["50.0 %"] * 3
    assert "ECE 5.0 %" in page


def test_differences_from_the_teacher_are_shown(student: TestClient, tmp_path: Path) -> None:
    assert "need the teacher" in student.get("/student").text
    said = pl.DataFrame({"image_id": ["train/daisy/0.png", "train/rose/0.png"], "is_red": [0.95, 0.9]})
    said.write_parquet(tmp_path / "runs" / "recommended" / "seed-0" / "aspects-test.parquet")
    page = student.get("/student").text
    group = page[page.index("Student against teacher") : page.index("<h2>Classes")]
    assert re.findall(r"student (\d+) %, teacher", group) == ["95", "90"]
    assert "student 95 %" in student.get("/image?id=train/daisy/0.png").text


def test_wrong_images_come_with_the_least_probable_label_first(student: TestClient) -> None:
    page = student.get("/predictions?run=recommended/seed-0&split=test&wrong=1").text
    ids = re.findall(r'<div class="card" data-step>\s*<a href="[^"]*id=([^"&]+)"', page)
    assert ids == ["train%2Fdaisy%2F1.png", "train%2Frose%2F1.png"]


@pytest.mark.parametrize(
    ("address", "status", "text"),
    [
        ("/student?run=unfinished", 200, "aspects evaluate"),
        ("/student?run=unknown", 404, "no run"),
        ("/student?run=recommended/seed-0&split=val", 404, "no evaluation"),
        ("/predictions?run=recommended/seed-0&split=val", 404, "no predictions"),
    ],
)
def test_missing_pages_and_files_are_reported(student: TestClient, address: str, status: int, text: str) -> None:
    answer = student.get(address)
    assert (answer.status_code, text in answer.text) == (status, True)


def test_without_runs_the_page_says_how_to_name_them(client: TestClient) -> None:
    assert "--runs" in client.get("/student").text
