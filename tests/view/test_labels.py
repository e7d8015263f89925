"""The page of labels: order, filters, buttons, and an audit that is computed beside the requests."""

from __future__ import annotations

import dataclasses
import html
import re
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from scipy.special import log_softmax

from storage.datasets import FileDataset
from student.classification.out_of_fold import OUT_OF_FOLD, OutOfFold, write_out_of_fold
from tests.view.conftest import CLASSES, EACH, HEADER, ODD, Open, client_of, write_answers
from view.label_audits import LabelAudits
from view.sources import Sources

ORIGIN = {"origin": "http://127.0.0.1:8000"}


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LabelAudits, "wait_seconds", 60.0)


@pytest.fixture
def own_store(tmp_path: Path, flowers: FileDataset) -> Path:
    write_answers(tmp_path / "own", flowers)
    return tmp_path / "own"


def shown(client: TestClient, **parameters: object) -> list[str]:
    """The ids of the images on the page, in order."""
    page = client.get("/labels", params={name: str(value) for name, value in parameters.items()}).text
    return re.findall(r'class="preview" href="[^"]*" title="([^"]*)"', page)


def test_the_image_that_contradicts_its_class_comes_first_with_its_reasons(client: TestClient) -> None:
    page = client.get("/labels").text
    assert shown(client)[0] == ODD
    assert "Is it white?" in page
    assert 'title="keep daisy (y)"' in page
    assert 'value="&lt;b&gt;tulip" data-key="n"' in page
    assert len(shown(client)) == 3 * EACH - 1  # one image has no answer


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ({"label": "daisy"}, EACH),
        ({"label": "daisy", "least": 0.5}, 1),
        ({"by": "answers", "label": "daisy"}, 1),
        ({"by": "student"}, 0),
        ({"split": "test"}, 0),
        ({"checked": "yes"}, 0),
        ({"unlabelled": "true"}, 0),
    ],
)
def test_filters_are_in_the_address(client: TestClient, filters: dict[str, object], count: int) -> None:
    assert len(shown(client, **filters)) == count


def test_a_decision_is_there_after_a_reload(open_page: Open, own_store: Path, flowers: FileDataset) -> None:
    page = open_page(own_store, dataset=flowers)
    fields = {"image_id": ODD, "kind": "label", "value": CLASSES[2]}
    assert page.post("/corrections", json=fields, headers=ORIGIN).status_code == 201
    assert shown(page, checked="yes") == [ODD]
    assert ODD not in shown(page, checked="no")
    text = page.get("/labels?checked=yes").text
    assert 'value="&lt;b&gt;tulip" data-key="y" aria-pressed="true"' in text
    assert "corrected from daisy to &lt;b&gt;tulip" in text
    assert 'action="/corrections/undo"' in text


def test_a_label_that_was_put_right_is_no_longer_suspicious_and_a_wrong_correction_is(
    open_page: Open, own_store: Path, flowers: FileDataset
) -> None:
    page = open_page(own_store, dataset=flowers)
    assert shown(page, least=0.5) == [ODD]
    wrong = "train/rose/2.png"
    for image_id, value in ((ODD, CLASSES[2]), (wrong, CLASSES[0])):
        fields = {"image_id": image_id, "kind": "label", "value": value}
        assert page.post("/corrections", json=fields, headers=ORIGIN).status_code == 201
    assert shown(page, least=0.5) == [wrong]
    page.post("/corrections", json={"image_id": wrong, "kind": "label", "value": ""}, headers=ORIGIN)
    assert shown(page, least=0.5) == []
    assert shown(page, unlabelled="true") == [wrong]


def test_where_labels_are_few_the_other_images_are_shown_with_their_names(
    open_page: Open, own_store: Path, flowers: FileDataset
) -> None:
    page = open_page(own_store, dataset=flowers)
    unsure = [record.image_id for record in flowers.records if not record.image_id.endswith("/0.png")]
    for image_id in unsure:
        page.post("/corrections", json={"image_id": image_id, "kind": "label", "value": ""}, headers=ORIGIN)
    named = [html.unescape(image_id) for image_id in shown(page)]
    assert set(named) <= set(unsure)
    assert len(named) > len(unsure) / 2
    assert shown(page, unlabelled="false") == []


def test_after_a_correction_the_earlier_list_is_shown_until_the_new_one_is_ready(
    open_page: Open, own_store: Path, flowers: FileDataset
) -> None:
    page = open_page(own_store, dataset=flowers)
    audits = page.app.state.sources.label_audits  # type: ignore[attr-defined]
    assert "is judged again" not in page.get("/labels").text
    page.post("/corrections", json={"image_id": ODD, "kind": "label", "value": CLASSES[2]}, headers=ORIGIN)
    audits.wait_seconds = 0.0
    text = page.get("/labels?least=0.5").text
    assert "is judged again" in text
    assert ODD in text
    audits.wait_seconds = 60.0
    assert ODD not in page.get("/labels?least=0.5").text


def test_out_of_fold_students_below_the_runs_are_a_second_source(
    open_page: Open, own_store: Path, flowers: FileDataset, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    labels = np.array([record.label for record in flowers.records])
    ids = tuple(record.image_id for record in flowers.records)
    labels[ids.index("train/rose/2.png")] = flowers.class_names.index("daisy")
    write_out_of_fold(
        runs / "labels" / "0123-5-folds" / OUT_OF_FOLD,
        OutOfFold(
            image_ids=ids,
            class_names=tuple(flowers.class_names),
            log_p_NC=log_softmax(5 * np.eye(3)[labels], axis=1).astype(np.float32),
            folds_N=np.zeros(len(ids), dtype=np.int64),
            identity='{"dataset": "flowers"}',
        ),
    )
    page = open_page(own_store, dataset=flowers, runs=[runs])
    assert "judged by answers and student" in page.get("/labels").text
    assert shown(page, by="student") == ["train/rose/2.png"]


def test_a_long_audit_is_computed_beside_the_requests_and_kept(
    own_store: Path, flowers: FileDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = Sources(str(own_store), tmp_path / "cache", dataset=flowers)
    sources.label_audits.wait_seconds = 0.0
    page = client_of(sources)
    first = page.get("/labels").text
    assert "Judging the labels of 24 images" in first
    assert 'data-refresh="2"' in first
    sources.label_audits.wait_seconds = 60.0
    assert ODD in page.get("/labels").text
    monkeypatch.setattr("student.classification.label_audit.judge_labels", None)  # the next process reads it
    sources.label_audits = LabelAudits(())
    assert ODD in page.get("/labels").text


def test_answers_that_cannot_judge_are_one_line(open_page: Open, tmp_path: Path, flowers: FileDataset) -> None:
    about_classes = dataclasses.replace(HEADER, teacher={"model": "sample", "about": "classes"})
    write_answers(tmp_path / "store", flowers, about_classes)
    reply = open_page(tmp_path / "store", dataset=flowers).get("/labels")
    assert (reply.status_code, "they follow the label" in reply.text) == (400, True)
