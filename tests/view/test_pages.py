"""What pages show: exact facts, text as text, and one line for a wrong address."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from html import escape, unescape
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from storage.answers.schema import ShardAnswers
from storage.answers.shards import cut_shards
from storage.answers.store import AnswerDirectory
from storage.datasets import FileDataset
from storage.datasets.classes import ClassDataset
from storage.questions import QuestionSet
from tests.student.evaluations import write_evaluation, write_results, write_run
from tests.view.conftest import EACH, HEADER, HOSTILE, ODD, QUESTIONS, Open, write_answers

EVERY_PAGE = (
    "/",
    "/questions",
    "/questions?sort=bits",
    "/question?key=hostile",
    "/classes",
    "/images",
    f"/image?id={ODD}",
)


@pytest.mark.parametrize("address", EVERY_PAGE)
def test_text_of_questions_and_classes_is_shown_as_text(client: TestClient, address: str) -> None:
    answer = client.get(address)
    assert answer.status_code == 200
    assert "<script>alert" not in answer.text
    assert "<b>tulip" not in answer.text


def test_a_long_question_is_shown_whole_on_its_own_page(client: TestClient) -> None:
    assert (
        escape(HOSTILE).replace("&quot;", "&#34;").replace("&#x27;", "&#39;")
        in client.get("/question?key=hostile").text
    )


def test_the_overview_has_every_set_with_its_state(open_page: Open, store: Path, flowers: FileDataset) -> None:
    page = open_page(store, dataset=flowers).get("/").text
    assert page.count("0123456789ab") == 2
    assert page.count(">complete<") == 2
    assert "images/s" in page


def test_an_incomplete_set_and_a_damaged_one_do_not_hide_the_others(
    open_page: Open, tmp_path: Path, flowers: FileDataset
) -> None:
    directory = write_answers(tmp_path / "store", flowers, complete=False)
    client = open_page(tmp_path / "store")
    assert ">not complete<" in client.get("/").text
    Path(directory.manifest_path).write_text("{}")
    page = open_page(tmp_path / "store").get("/questions")
    assert (page.status_code, "is damaged" in page.text) == (400, True)


def test_an_empty_store_says_what_to_do(open_page: Open, tmp_path: Path) -> None:
    client = open_page(tmp_path / "store")
    assert "aspects extract" in client.get("/").text
    answer = client.get("/questions")
    assert (answer.status_code, "aspects extract" in answer.text) == (404, True)


def test_answers_that_appear_later_are_noticed(open_page: Open, tmp_path: Path, flowers: FileDataset) -> None:
    client = open_page(tmp_path / "store")
    client.app.state.sources.fresh_seconds = 0.0  # type: ignore[attr-defined]
    assert client.get("/questions").status_code == 404
    write_answers(tmp_path / "store", flowers, complete=False)
    assert "20" in client.get("/images").text
    write_answers(tmp_path / "store", flowers)
    assert "<small>24" in client.get("/images").text


def test_experiments_have_their_gains_and_intervals(open_page: Open, store: Path, tmp_path: Path) -> None:
    write_results(tmp_path / "runs" / "grid")
    page = open_page(store, runs=[tmp_path / "runs"]).get("/").text
    assert "+11.00 (+8.00, +14.00)" in page
    assert "+3.00 (+1.00, +5.00)" in page


def test_questions_are_listed_with_their_surest_images(client: TestClient) -> None:
    page = client.get("/questions?sort=key").text
    keys = re.findall(r'<tr data-step id="(\w+)"', page)
    assert keys == ["hostile", "is_red", "is_white"]
    assert "/thumbnail?id=train%2Fdaisy%2F0.png" in page


def test_a_question_shows_what_contradicts_its_class(client: TestClient) -> None:
    page = client.get("/question?key=is_white").text
    group = page[page.index("Contradict their class") :]
    assert re.search(r'/image\?answers=\w+&amp;key=is_white&amp;order=surprise&amp;id=([^"&]+)"', group)[1] == (  # type: ignore[index]
        "train%2Fdaisy%2F3.png"
    )


def test_a_question_shows_the_students_that_learnt_it(open_page: Open, store: Path, tmp_path: Path) -> None:
    write_evaluation(write_run(tmp_path / "runs" / "seed-0"))
    page = open_page(store, runs=[tmp_path / "runs"]).get("/question?key=is_red").text
    assert ">0.900<" in page


def test_cells_of_the_heat_map_open_their_images(client: TestClient) -> None:
    page = client.get("/classes").text
    found = re.findall(r'<td><a href="(/images\?[^"]*key=is_white&amp;label=daisy[^"]*)"[^>]*>(\d+)</a>', page)
    ((address, mean),) = found
    assert mean == "77"
    images = client.get(address.replace("&amp;", "&")).text
    assert images.count('<div class="card"') == EACH


def test_pages_of_images_have_sixty(open_page: Open, tmp_path: Path, flowers: FileDataset) -> None:
    client = open_page(tmp_path)
    write_answers(tmp_path, flowers)
    page = client.get("/images?find=rose").text
    assert page.count('<div class="card"') == EACH
    assert "No image matches" in client.get("/images?label=none").text


def test_an_image_shows_every_answer_its_neighbours_and_other_sets(client: TestClient) -> None:
    page = client.get("/image", params={"id": ODD, "key": "is_white", "order": "no"}).text
    assert "2 %" in page
    assert 'rel="next"' in page
    assert 'rel="prev"' not in page  # it is the first in this order
    assert page.count('<div class="card"') == 12


def test_an_image_without_answers_says_why(client: TestClient) -> None:
    page = client.get("/image", params={"id": f"train/rose/{EACH - 1}.png"}).text
    assert "file is &lt;empty&gt;" in page


def test_an_image_that_was_not_asked_about_is_shown_with_its_label(
    open_page: Open, tmp_path: Path, flowers: FileDataset
) -> None:
    write_answers(tmp_path / "store", flowers, complete=False)
    client = open_page(tmp_path / "store", dataset=flowers)
    page = client.get("/image", params={"id": flowers.records[-1].image_id}).text
    assert "<b>rose</b>" in page
    assert "aspects extract --splits train" in page


def test_an_image_shows_what_students_predict(open_page: Open, store: Path, tmp_path: Path) -> None:
    write_evaluation(write_run(tmp_path / "runs" / "seed-0"), rows=[(ODD, "daisy", "rose", 0.7)])
    assert "70 %" in open_page(store, runs=[tmp_path / "runs"]).get("/image", params={"id": ODD}).text


def test_thumbnails_are_small_webp_files_made_once(
    open_page: Open, store: Path, flowers: FileDataset, tmp_path: Path
) -> None:
    client = open_page(store, dataset=flowers)
    first = client.get("/thumbnail", params={"id": ODD, "side": 96})
    assert first.headers["content-type"] == "image/webp"
    assert Image.open(io.BytesIO(first.content)).size == (24, 24)
    (file,) = (tmp_path / "cache" / "thumbnails").rglob("*.webp")
    file.write_bytes(b"cached")
    assert client.get("/thumbnail", params={"id": ODD, "side": 96}).content == b"cached"
    again = client.get("/thumbnail", params={"id": ODD}, headers={"if-none-match": first.headers["etag"]})
    assert again.status_code == 304
    assert client.get("/thumbnail", params={"id": ODD, "side": 5000}).status_code == 404


def test_without_a_dataset_names_stand_for_images(open_page: Open, store: Path) -> None:
    page = open_page(store).get("/images").text
    assert "/thumbnail" not in page
    assert "0.png" in page


def test_answers_about_classes_show_images_of_the_class(open_page: Open, tmp_path: Path, flowers: FileDataset) -> None:
    classes = ClassDataset.of("flowers", [*flowers.class_names, "orchid"], {})
    about = replace(HEADER, teacher={"model": "sample", "about": "classes"})
    header = replace(about, questions=QuestionSet(QUESTIONS.questions[:2]))
    directory = AnswerDirectory.locate(str(tmp_path / "store"), "flowers", "0123456789ab", header.questions.fingerprint)
    shards = cut_shards(classes.records, 10)
    p_yes = np.full((len(classes.records), 2), -0.7, np.float32)
    nothing: list[None] = [None] * len(p_yes)
    rows = ShardAnswers(
        records=classes.records, image_sha256=["0" * 64] * len(p_yes), errors=nothing, yes=p_yes, no=p_yes
    )
    directory.write_shard(shards[0], header, rows)
    directory.complete(header, shards, {"splits": ["classes"]})
    client = open_page(tmp_path / "store", dataset=flowers)
    page = client.get("/images").text
    images = [unescape(address) for address in re.findall(r'<img src="([^"]+)"', page)]
    assert len(images) == len(flowers.class_names)
    assert '<span class="none">orchid</span>' in page
    for address in images:
        assert Image.open(io.BytesIO(client.get(address).content)).size == (192, 192)
    page = client.get("/image?id=rose").text
    assert "answers about the class itself" in page
    assert "Correct the label" not in page


@pytest.mark.parametrize(
    ("address", "status", "text"),
    [
        ("/questions?answers=none", 404, "no answers &#39;none&#39;"),
        ("/question?key=unknown", 404, "no question"),
        ("/question", 400, "key in the address"),
        ("/images?page=0", 400, "page in the address"),
        ("/images?order=sideways", 400, "order in the address"),
        ("/images?low=7", 400, "low in the address"),
        ("/unknown", 404, "Not Found"),
    ],
)
def test_a_wrong_address_is_one_line(client: TestClient, address: str, status: int, text: str) -> None:
    answer = client.get(address)
    assert (answer.status_code, text in answer.text) == (status, True)
