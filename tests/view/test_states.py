"""Stores and folders that are not as they should be: one line each, and the other pages still open."""

from __future__ import annotations

import re
import shutil
import threading
from html import unescape
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from storage.corrections import CorrectionFolder
from storage.datasets import FileDataset, image_folder
from tests.student.evaluations import write_evaluation, write_run
from tests.view.conftest import ODD, Open, write_answers

ORIGIN = {"origin": "http://127.0.0.1:8000"}
LABEL = {"image_id": ODD, "kind": "label", "value": "rose"}


@pytest.fixture
def own_store(tmp_path: Path, flowers: FileDataset) -> Path:
    write_answers(tmp_path / "own", flowers)
    return tmp_path / "own"


def error_of(page: TestClient, address: str) -> tuple[int, str]:
    """Status and the line of an error."""
    reply = page.get(address)
    (line,) = re.findall(r'<p class="note error[^>]*>(.*?)</p>', reply.text, re.DOTALL)
    return reply.status_code, unescape(line)


def test_a_dataset_that_was_moved_leaves_names_in_place_of_images(
    open_page: Open, own_store: Path, flowers: FileDataset, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(flowers.places[ODD].parents[2], tmp_path / "flowers"))
    page = open_page(own_store, dataset=image_folder(root))
    shutil.move(root, tmp_path / "elsewhere")
    for address in ("/images", f"/image?id={ODD}", "/labels"):
        assert page.get(address).status_code == 200
    reply = page.get("/thumbnail", params={"id": ODD})
    assert (reply.status_code, reply.headers["content-type"]) == (200, "image/svg+xml")
    assert "unreadable" in reply.text


def test_runs_of_another_dataset_do_not_hide_the_answers(
    open_page: Open, own_store: Path, flowers: FileDataset, tmp_path: Path
) -> None:
    write_evaluation(write_run(tmp_path / "runs" / "other", dataset="birds"))
    page = open_page(own_store, dataset=flowers, runs=[tmp_path / "runs"])
    for address in ("/", "/questions", f"/image?id={ODD}", "/student", "/labels", "/run"):
        assert page.get(address).status_code == 200
    assert "birds" in page.get("/student").text


def test_a_damaged_shard_is_named(open_page: Open, own_store: Path, flowers: FileDataset) -> None:
    shard = sorted(own_store.rglob("part-*.parquet"))[1]
    shard.write_bytes(shard.read_bytes()[:100])
    page = open_page(own_store, dataset=flowers)
    status, line = error_of(page, "/questions")
    assert (status, shard.name in line, "aspects extract" in line) == (400, True, True)
    assert page.get("/run").status_code == 200


def test_a_store_that_cannot_be_written_refuses_corrections(
    open_page: Open, own_store: Path, flowers: FileDataset
) -> None:
    page = open_page(own_store, dataset=flowers)
    (own_store / "corrections").write_text("a file where the folder should be")
    reply = page.post("/corrections", json=LABEL, headers=ORIGIN)
    assert reply.status_code in (400, 503)
    assert str(own_store / "corrections") in unescape(reply.text)


def test_two_pages_correct_at_once_and_one_undoes_what_the_other_undid(
    open_page: Open, own_store: Path, flowers: FileDataset, tmp_path: Path
) -> None:
    pages = [open_page(own_store, dataset=flowers) for _ in range(2)]
    replies: list[int] = []

    def correct(page: TestClient) -> None:
        replies.extend(page.post("/corrections", json=LABEL, headers=ORIGIN).status_code for _ in range(10))

    threads = [threading.Thread(target=correct, args=(page,)) for page in pages]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert replies == [201] * 20
    rows = CorrectionFolder.open(str(own_store), "flowers").read()
    assert len({row.correction for row in rows}) == 20
    last = {"correction": rows[-1].correction}
    assert [page.post("/corrections/undo", json=last, headers=ORIGIN).status_code for page in pages] == [201, 400]
