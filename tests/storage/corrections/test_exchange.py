"""Corrections as files of other programs, there and back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from storage.corrections import Correction, CorrectionInvalid, current_corrections
from storage.corrections.exchange import Format, Known, export_corrections, import_corrections
from storage.errors import InputInvalid
from tests.storage.corrections.samples import answer, answers, current, dataset, label

ROWS = (
    label("train/ant/0.png", "bee"),
    label("test/bee/1.png", None),
    answer("train/ant/0.png", "yes"),
    answer("train/ant/0.png", None, "is_red"),
    answer("train/bee/3.png", "no", "is_outside"),
)


def known() -> Known:
    return Known.of(dataset(), [answers(np.zeros((4, 3)))])


def summary(rows: list[Correction]) -> set[tuple[str, str | None, str | None]]:
    return {(row.image_id, row.key, row.value) for row in rows}


@pytest.mark.parametrize("format", ["labels", "answers", "fiftyone", "label-studio"])
def test_exported_corrections_are_imported(tmp_path: Path, format: Format) -> None:
    path = tmp_path / "corrections"
    export_corrections(current(*ROWS), known(), format, path)
    kinds = {"labels": ("label",), "answers": ("answer",)}.get(format, ("label", "answer"))
    rows = import_corrections(path, format, known(), current())
    assert summary(rows) == summary([row for row in ROWS if row.kind in kinds])
    assert {row.text for row in rows if row.key == "is_red"} <= {"Is it red?"}
    assert import_corrections(path, format, known(), current(*ROWS)) == []


def test_tables_are_read_as_documented(tmp_path: Path) -> None:
    labels, given = tmp_path / "labels.csv", tmp_path / "answers.csv"
    export_corrections(current(*ROWS), known(), "labels", labels)
    export_corrections(current(*ROWS), known(), "answers", given)
    assert labels.read_text() == "image_id,label\ntrain/ant/0.png,bee\ntest/bee/1.png,unsure\n"
    assert given.read_text().splitlines()[:2] == ["image_id,key,yes", "train/ant/0.png,has_stripes,yes"]


def test_samples_of_fiftyone_are_as_documented(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    assert export_corrections(current(*ROWS), known(), "fiftyone", path) == 3
    assert json.loads(path.read_text().splitlines()[0]) == {
        "filepath": "/data/train/ant/0.png",
        "tags": ["corrected"],
        "image_id": "train/ant/0.png",
        "ground_truth": {"_cls": "Classification", "label": "bee"},
        "aspect_has_stripes": {"_cls": "Classification", "label": "yes"},
        "aspect_is_red": {"_cls": "Classification", "label": "unsure"},
    }


def test_tasks_of_label_studio_are_as_documented(tmp_path: Path) -> None:
    path = tmp_path / "tasks.jsonl"
    export_corrections(current(ROWS[0]), known(), "label-studio", path, image_prefix="http://images/")
    assert json.loads(path.read_text()) == {
        "data": {"image": "http://images/train/ant/0.png", "image_id": "train/ant/0.png"},
        "annotations": [
            {"result": [{"from_name": "label", "to_name": "image", "type": "choices", "value": {"choices": ["bee"]}}]}
        ],
    }


def test_an_export_of_label_studio_is_one_list_with_the_last_annotation(tmp_path: Path) -> None:
    def annotation(choice: str, cancelled: bool = False) -> dict[str, object]:
        result = {"from_name": "is_red", "to_name": "image", "type": "choices", "value": {"choices": [choice]}}
        return {"result": [result], "was_cancelled": cancelled}

    tasks = [
        {
            "id": 1,
            "data": {"image": "/data/upload/1/abc/train/ant/0.png"},
            "annotations": [annotation("yes"), annotation("no"), annotation("yes", cancelled=True)],
        },
        {"id": 2, "data": {"image": "/data/upload/1/abc/train/bee/1.png"}, "annotations": []},
    ]
    path = tmp_path / "export.json"
    path.write_text(json.dumps(tasks))
    (row,) = import_corrections(path, "label-studio", known(), current())
    assert (row.image_id, row.key, row.value) == ("train/ant/0.png", "is_red", "no")


def test_empty_cells_and_labels_that_are_right_say_nothing(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("image_id,label\ntrain/ant/0.png,ant\ntrain/bee/1.png,\ntrain/ant/2.png,bee\n")
    (row,) = import_corrections(path, "labels", known(), current())
    assert (row.image_id, row.value, row.old, row.image_sha256) == ("train/ant/2.png", "bee", "ant", f"{2:064x}")
    again = current_corrections([label("train/ant/0.png", "bee"), row])
    assert summary(import_corrections(path, "labels", known(), again)) == {("train/ant/0.png", None, "ant")}


@pytest.mark.parametrize(
    ("format", "text", "message"),
    [
        (
            "labels",
            "image_id,label\ntrain/ant/0.png,bee\ngone/9.png,bee\n",
            "row 3: dataset 'sample' has no image 'gone",
        ),
        ("labels", "image_id,label\ntrain/ant/0.png,wasp\n", "row 2: dataset 'sample' has no class 'wasp'"),
        ("labels", "image,label\nx,y\n", "has no column 'image_id'; it needs image_id,label"),
        ("answers", "image_id,key,yes\ntrain/ant/0.png,is_blue,yes\n", "row 2: question 'is_blue' is unknown"),
        ("answers", "image_id,key,yes\ntrain/ant/0.png,is_red,0.4\n", "row 2: '0.4' is no answer; write yes, no"),
        ("answers", "image_id,key,yes\ntrain/ant/0.png,yes\n", "row 2 has 2 cells"),
        ("fiftyone", '{"image_id": "train/ant/0.png"}\n{"filepath"\n', "row 2 is no valid JSON"),
        ("fiftyone", '{"tags": []}\n', "row 1 names no image"),
        ("fiftyone", '{"image_id": "train/ant/0.png", "ground_truth": "bee"}', "row 1: ground_truth is no Classif"),
        ("label-studio", "[1]", "row 1 is no JSON object"),
        ("label-studio", '{"data": {"image": 4}, "annotations": 5}', "row 1: annotations are no list"),
        ("label-studio", '{"data": {"image": "x"}, "annotations": [{}]}', "row 1: its annotation has no result"),
    ],
)
def test_a_wrong_row_is_one_line_with_its_number(tmp_path: Path, format: Format, text: str, message: str) -> None:
    path = tmp_path / "file"
    path.write_text(text)
    with pytest.raises(InputInvalid) as caught:
        import_corrections(path, format, known(), current())
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_there_is_nothing_to_write_without_corrections(tmp_path: Path) -> None:
    with pytest.raises(CorrectionInvalid, match="no corrections of dataset 'sample' to write as answers"):
        export_corrections(current(ROWS[0]), known(), "answers", tmp_path / "file")
    assert not (tmp_path / "file").exists()


def test_probabilities_of_a_queue_come_with_their_answers(tmp_path: Path) -> None:
    path = tmp_path / "asked.csv"
    path.write_text(
        "image_id,key,yes,question,probability,pool\ntrain/ant/0.png,is_red,yes,?,0.125,12\ntrain/bee/1.png,is_red,no,?,,\n"
    )
    rows = import_corrections(path, "answers", Known.of(dataset(), [answers(np.full((4, 3), 3.0))]), current())
    assert [(row.probability, row.pool) for row in rows] == [(0.125, 12), (None, None)]
    assert [(row.old, row.teacher) for row in rows] == [("yes", "0123456789ab")] * 2
    assert rows[0].p_yes == pytest.approx(0.9526, abs=1e-4)
    two = Known.of(dataset(), [answers(np.full((4, 3), 3.0)), answers(np.zeros((4, 3)))])
    assert [row.p_yes for row in import_corrections(path, "answers", two, current())] == [None, None]
    path.write_text("image_id,key,yes,probability,pool\ntrain/ant/0.png,is_red,yes,often,12\n")
    with pytest.raises(CorrectionInvalid, match="row 2: probability and pool are 'often, 12'"):
        import_corrections(path, "answers", known(), current())
