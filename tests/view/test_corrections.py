"""Corrections made on the page: recorded, shown after a reload, undone; the queue and its estimates."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from storage.answers.directories import answer_directories
from storage.answers.read import load_answers
from storage.corrections import CorrectionFolder, current_corrections
from storage.corrections.queue import Queue
from storage.datasets import FileDataset
from student.classification.out_of_fold import OUT_OF_FOLD, OutOfFold, expected_answers, write_out_of_fold
from tests.view.conftest import CLASSES, HOSTILE, ODD, Open, write_answers

ORIGIN = {"origin": "http://127.0.0.1:8000"}


@pytest.fixture
def own_store(tmp_path: Path, flowers: FileDataset) -> Path:
    write_answers(tmp_path / "own", flowers)
    return tmp_path / "own"


@pytest.fixture
def page(open_page: Open, own_store: Path, flowers: FileDataset) -> TestClient:
    return open_page(own_store, dataset=flowers)


def folder(store: Path) -> CorrectionFolder:
    return CorrectionFolder.open(str(store), "flowers")


def correct(page: TestClient, **fields: Any) -> Any:
    return page.post(
        "/corrections", json={"image_id": ODD, "kind": "answer", "key": "is_white", **fields}, headers=ORIGIN
    )


def pressed(page: TestClient, image_id: str) -> list[str]:
    """The values of the buttons that are pressed on an image's page."""
    text = page.get("/image", params={"id": image_id}).text
    return re.findall(r'value="(\w+)" data-key="." aria-pressed="true"', text)


def test_an_answer_is_there_after_a_reload(page: TestClient, own_store: Path) -> None:
    reply = correct(page, value="yes")
    assert (reply.status_code, reply.json()["value"]) == (201, "yes")
    (row,) = folder(own_store).read()
    assert (row.image_id, row.key, row.text, row.value, row.old) == (ODD, "is_white", "Is it white?", "yes", "no")
    assert row.p_yes == pytest.approx(0.02)
    assert (row.teacher, row.image_sha256, row.correction) == ("0123456789ab", "0" * 64, reply.json()["correction"])
    assert pressed(page, ODD) == ["yes"]
    correct(page, value="unsure")
    assert pressed(page, ODD) == ["unsure"]


def test_the_page_of_a_question_has_buttons_too(page: TestClient) -> None:
    before = page.get("/question?key=is_white").text
    assert before.count("data-correct") >= 8
    assert 'aria-pressed="true"' not in before
    correct(page, value="yes")
    assert 'value="yes" data-key="y" aria-pressed="true"' in page.get("/question?key=is_white").text


def test_a_form_comes_back_to_its_page(page: TestClient, own_store: Path) -> None:
    form = {"image_id": ODD, "kind": "label", "value": CLASSES[2], "next": "/image?id=a&key=b"}
    reply = page.post("/corrections", data=form, headers=ORIGIN, follow_redirects=False)
    assert (reply.status_code, reply.headers["location"]) == (303, "/image?id=a&key=b")
    assert current_corrections(folder(own_store).read()).labels[ODD].value == "<b>tulip"
    text = page.get("/image", params={"id": ODD}).text
    assert "Corrected to <b>&lt;b&gt;tulip</b>" in text


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example", "/\\evil.example", ""])
def test_a_form_goes_to_no_other_site(page: TestClient, target: str) -> None:
    form = {"image_id": ODD, "kind": "label", "value": "", "next": target}
    reply = page.post("/corrections", data=form, headers=ORIGIN, follow_redirects=False)
    assert reply.headers["location"] == "/corrections"


def test_undo_brings_the_label_back(page: TestClient, own_store: Path) -> None:
    made = correct(page, kind="label", value="rose").json()["correction"]
    assert "Corrected to" in page.get("/image", params={"id": ODD}).text
    assert page.post("/corrections/undo", json={"correction": made}, headers=ORIGIN).status_code == 201
    assert "Corrected to" not in page.get("/image", params={"id": ODD}).text
    assert len(folder(own_store).read()) == 2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"image_id": "../../etc/passwd"}, "not about an image"),
        ({"key": "is_blue"}, "no question"),
        ({"value": "perhaps"}, "no answer"),
        ({"kind": "label", "value": "wasp"}, "no class"),
        ({"kind": "box"}, "use label or answer"),
        ({"value": ["yes"]}, "not text"),
    ],
)
def test_invalid_corrections_are_rejected(
    page: TestClient, own_store: Path, fields: dict[str, Any], message: str
) -> None:
    reply = correct(page, **{"value": "yes", **fields})
    assert (reply.status_code, message in reply.text) == (400, True)
    assert folder(own_store).read() == []


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff\xff"])
def test_a_broken_request_is_refused(page: TestClient, body: bytes) -> None:
    reply = page.post("/corrections", content=body, headers={**ORIGIN, "content-type": "application/json"})
    assert reply.status_code == 400
    assert page.post("/corrections", content=b"x" * 100_000, headers=ORIGIN).status_code == 413


def test_other_sites_can_record_nothing(page: TestClient, own_store: Path) -> None:
    form = {"image_id": ODD, "kind": "label", "value": "rose"}
    for headers in ({}, {"origin": "http://evil.example"}):
        assert page.post("/corrections", data=form, headers=headers).status_code == 403
    assert folder(own_store).read() == []


def test_the_list_has_corrections_as_text_with_undo(page: TestClient) -> None:
    assert "no corrections yet" in page.get("/corrections").text
    correct(page, key="hostile", value="no", note="<script>alert(2)</script>")
    text = page.get("/corrections").text
    assert "<script>alert" not in text
    assert text.count('action="/corrections/undo"') == 1
    assert HOSTILE[:20] not in text


def test_the_queue_asks_one_answer_after_the_other(page: TestClient, own_store: Path) -> None:
    seen = []
    for _ in range(6):
        text = page.get("/queue").text
        found = re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', text.partition("data-answer")[2])
        fields = {name: unescape(value) for name, value in reversed(found)}
        seen.append((fields["image_id"], fields["key"]))
        reply = page.post("/corrections", data={**fields, "value": "yes"}, headers=ORIGIN, follow_redirects=False)
        assert reply.headers["location"].startswith("/queue?answers=")
    assert len(set(seen)) == 6
    rows = folder(own_store).read()
    assert [row.shown.rank for row in rows if row.shown] == [1, 2, 3, 4, 5, 6]
    text = page.get("/queue").text
    assert "6 answers checked" in text
    assert "all questions" in text
    assert "the teacher said" in text


def test_answers_of_the_queue_have_their_probability(page: TestClient, own_store: Path) -> None:
    queue = Queue.of(load_answers(answer_directories(str(own_store))[0].path))
    first, second = queue.next_items(current_corrections([]), 2)
    fields = {"image_id": first.image_id, "key": first.key, "value": "yes", "queue": queue.id}
    correct(page, **{**fields, "image_id": second.image_id, "key": second.key})  # not the next one
    correct(page, **fields, answers="")
    later, drawn = folder(own_store).read()
    assert (later.probability, later.pool, later.shown) == (None, None, None)
    left = queue.weights.sum() - queue.weights[second.row, second.column]
    assert drawn.probability == pytest.approx(queue.weights[first.row, first.column] / left)
    assert (drawn.pool, drawn.shown) == (len(queue) - 1, first.shown)
    assert drawn.p_yes == pytest.approx(first.p_yes)


def test_out_of_fold_students_take_part_in_the_queue(
    open_page: Open, own_store: Path, flowers: FileDataset, tmp_path: Path
) -> None:
    ids = [record.image_id for record in flowers.records]
    log_p = np.full((len(ids), 3), -9.0, np.float32)
    log_p[np.arange(len(ids)), [record.label for record in flowers.records]] = 0
    students = OutOfFold(
        image_ids=tuple(ids),
        class_names=tuple(flowers.class_names),
        log_p_NC=log_p,
        folds_N=np.zeros(len(ids), np.int64),
        identity='{"dataset": "flowers"}',
    )
    page = open_page(own_store, dataset=flowers, runs=[tmp_path / "runs"])
    ids_of = re.compile(r'name="queue" value="(\w+)"')
    before = ids_of.findall(page.get("/queue").text)
    write_out_of_fold(tmp_path / "runs" / "labels" / OUT_OF_FOLD, students)
    answers = load_answers(answer_directories(str(own_store))[0].path)
    expected = Queue.of(answers, expected_answers(students, answers)).id
    assert before != ids_of.findall(page.get("/queue").text) == [expected]
