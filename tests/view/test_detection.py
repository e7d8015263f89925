"""Boxes on images: what a detector found, missed and mistook."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from storage.datasets import DetectionDataset
from storage.datasets.detection import Box, image_record
from student.core.stored_detections import write_detections
from tests.student.evaluations import write_run
from tests.view.conftest import Open


@pytest.fixture
def dataset(tmp_path: Path) -> DetectionDataset:
    paths = {}
    for name in ("a.png", "b.png"):
        paths[name] = tmp_path / name
        Image.new("RGB", (60, 40), (90, 90, 90)).save(paths[name])
    boxes = {
        "a.png": (Box(number=0, label=0, corners=(0, 0, 20, 20)), Box(number=1, label=1, corners=(30, 10, 50, 30))),
        "b.png": (),
    }
    return DetectionDataset(
        name="few",
        class_names=("<b>cat", "dog"),
        records=[image_record(name, "test") for name in paths],
        places=paths,
        boxes=boxes,
        sizes=dict.fromkeys(paths, (60, 40)),
    )


@pytest.fixture
def client(open_page: Open, store: Path, dataset: DetectionDataset, tmp_path: Path) -> TestClient:
    config = {"detector": "ssdlite", "method": "base", "epochs": 1}
    run_dir = write_run(tmp_path / "runs" / "seed-0", config=config, dataset="few")
    table = pl.DataFrame(
        {
            "image_id": ["a.png", "b.png", "b.png"],
            "label": ["<b>cat", "dog", "dog"],
            "score": [0.9, 0.8, 0.2],
            "left": [0.0, 1.0, 2.0],
            "top": [0.0, 1.0, 2.0],
            "right": [20.0, 11.0, 12.0],
            "bottom": [18.0, 11.0, 12.0],
        }
    )
    write_detections(run_dir, "test", table)
    return open_page(store, dataset=dataset, runs=[tmp_path / "runs"])


@pytest.mark.parametrize(
    ("address", "found", "missed", "mistakes"),
    [
        ("/detection", 1, 1, 1),
        ("/detection?show=missed", 1, 1, 0),
        ("/detection?show=mistakes", 0, 0, 1),
        ("/detection?show=missed&label=0", 0, 0, 0),
        ("/detection?least=0.1&show=mistakes", 0, 0, 2),
        ("/detection?least=0.95", 0, 2, 0),
    ],
)
def test_boxes_are_found_missed_or_mistaken(
    client: TestClient, address: str, found: int, missed: int, mistakes: int
) -> None:
    page = client.get(address).text
    kinds = re.findall(r'<rect class="box-(\w+)"', page)
    assert [kinds.count(kind) for kind in ("found", "missed", "mistake")] == [found, missed, mistakes]
    assert "<b>cat" not in page


def test_thumbnails_of_boxes_are_their_crops(client: TestClient) -> None:
    assert client.get("/thumbnail", params={"id": "a.png#1"}).status_code == 200
    assert client.get("/thumbnail", params={"id": "a.png#2"}).status_code == 404


def test_without_a_detector_boxes_are_shown(open_page: Open, store: Path, dataset: DetectionDataset) -> None:
    page = open_page(store, dataset=dataset).get("/detection").text
    assert page.count('<rect class="box-plain"') == 2
    assert "aspects evaluate" in page


def test_other_datasets_have_no_boxes(open_page: Open, store: Path) -> None:
    assert "--task detection" in open_page(store).get("/detection").text
