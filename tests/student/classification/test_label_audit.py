from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.special import log_softmax

from storage.answers.read import Answers
from storage.datasets import FileDataset
from storage.datasets.base import ImageDataset
from student.classification.evidence import evidence
from student.classification.label_audit import audit_labels
from student.classification.label_audit_files import read_label_audit, write_label_audit
from student.classification.label_audit_table import flattened
from student.classification.out_of_fold import OutOfFold
from student.core.examples import ExamplesInvalid


def with_labels(dataset: FileDataset, labels: dict[str, str | None]) -> ImageDataset:
    """The dataset with other labels, None for none, of some images by their ids."""

    def label(name: str | None) -> dict[str, object]:
        return {"label": -1 if name is None else dataset.class_names.index(name), "label_name": name or ""}

    records = [
        replace(record, **label(labels[record.image_id])) if record.image_id in labels else record  # type: ignore[arg-type]
        for record in dataset.records
    ]
    return dataset.subset(records)


def sure_students(dataset: FileDataset) -> OutOfFold:
    """Students that recognise every image."""
    truth = [record.label for record in dataset.records]
    return OutOfFold(
        image_ids=tuple(record.image_id for record in dataset.records),
        class_names=tuple(dataset.class_names),
        log_p_NC=log_softmax(4 * np.eye(3)[truth], axis=1).astype(np.float32),
        folds_N=np.zeros(len(truth), dtype=np.int64),
        identity="",
    )


def test_planted_flips_come_first_with_their_true_class(dataset: FileDataset, answers: Answers) -> None:
    flips = {"train/blue/001.png": "red", "train/green/003.png": "blue"}
    found = audit_labels(with_labels(dataset, dict(flips)), answers)
    first = found.table.head(2)
    assert set(first["image_id"]) == set(flips)
    for row in first.iter_rows(named=True):
        assert row["label"] == flips[row["image_id"]]
        assert row["suggested"] == row["answers_class"] == row["image_id"].split("/")[1]
        assert row["wrong"] > 0.9
        assert row["answers_p"] > 0.9 > 0.1 > row["answers_p_label"]
    assert found.table["wrong"][2] < 0.5
    assert len(found.suspicious()) == 2
    assert 0 < found.wrong_share < 0.2
    assert {(pair.first, pair.second) for pair in found.confused} == {("blue", "green"), ("blue", "red")}


def test_the_questions_against_a_label_have_the_least_evidence_for_it(dataset: FileDataset, answers: Answers) -> None:
    flipped = with_labels(dataset, {"train/blue/001.png": "red"})
    row = audit_labels(flipped, answers).table.row(0, named=True)
    assert row["against"] == ["is_warm"]  # leaves are as rare in red as in blue images
    image = answers.image_ids.index("train/blue/001.png")
    assert row["against_p_yes"] == pytest.approx([answers.p_yes[image, 0]])
    labels = np.array([record.label for record in flipped.records])
    means = np.stack([answers.p_yes[labels == label].mean(axis=0) for label in range(3)])
    wanted = evidence(answers.p_yes[[image]], np.array([2]), means)[0, 0]
    assert row["against_evidence"] == pytest.approx([wanted], rel=1e-4)
    assert flattened(pl.DataFrame([row]))["against"].to_list() == [f"is_warm {answers.p_yes[image, 0]:.2f}"]


def test_a_label_has_no_part_in_its_own_judgement(dataset: FileDataset, answers: Answers) -> None:
    plain = audit_labels(dataset, answers).table.filter(image_id="train/blue/001.png").row(0, named=True)
    flipped = with_labels(dataset, {"train/blue/001.png": "red"})
    other = audit_labels(flipped, answers).table.filter(image_id="train/blue/001.png").row(0, named=True)
    assert plain["answers_class"] == other["answers_class"] == "blue"
    assert other["answers_p_label"] < 0.1


def test_students_and_answers_are_combined(dataset: FileDataset, answers: Answers) -> None:
    flipped = with_labels(dataset, {"train/blue/001.png": "red"})
    students = sure_students(dataset)
    found = audit_labels(flipped, answers, students)
    row = found.table.row(0, named=True)
    assert (row["image_id"], row["student_class"], row["suggested"]) == ("train/blue/001.png", "blue", "blue")
    assert found.weights.keys() == {"answers", "student"}
    alone = audit_labels(flipped, None, students)
    assert alone.table["image_id"][0] == "train/blue/001.png"
    assert "against" not in alone.table.columns


def test_images_without_a_label_get_a_class_and_no_verdict(dataset: FileDataset, answers: Answers) -> None:
    found = audit_labels(with_labels(dataset, {"train/green/002.png": None}), answers).table
    row = found.row(-1, named=True)
    assert (row["image_id"], row["status"], row["label"]) == ("train/green/002.png", "no label", None)
    assert (row["wrong"], row["suggested"], row["against"]) == (None, "green", [])


def test_from_one_label_a_class_the_other_images_get_their_names(dataset: FileDataset, answers: Answers) -> None:
    shown = {f"train/{name}/000.png" for name in dataset.class_names}
    hidden = {record.image_id: None for record in dataset.records if record.image_id not in shown}
    found = audit_labels(with_labels(dataset, dict(hidden)), answers)
    assert (found.wrong_share, found.confused, len(found.suspicious())) == (0, (), 0)
    named = found.table.filter(status="no label")
    assert len(named) == len(hidden)
    truth = [image_id.split("/")[1] for image_id in named["image_id"]]
    assert np.mean(np.array(named["suggested"]) == np.array(truth)) > 0.9
    assert set(found.table.filter(status="only image of its class")["image_id"]) == shown


def test_the_only_image_of_a_class_is_not_judged(dataset: FileDataset, answers: Answers) -> None:
    greens = {record.image_id: "blue" for record in dataset.records if record.label_name == "green"}
    del greens["train/green/000.png"]
    found = audit_labels(with_labels(dataset, dict(greens)), answers).table
    row = found.row(-1, named=True)
    assert (row["image_id"], row["status"], row["wrong"]) == ("train/green/000.png", "only image of its class", None)
    assert (found["status"] == "judged").sum() == len(found) - 1


def test_images_without_answers_are_not_judged(dataset: FileDataset, answers: Answers) -> None:
    kept = [row for row, image_id in enumerate(answers.image_ids) if image_id != "train/red/000.png"]
    ids = tuple(answers.image_ids[row] for row in kept)
    fewer = replace(answers, image_ids=ids, yes=answers.yes[kept], no=answers.no[kept])
    row = audit_labels(dataset, fewer).table.row(-1, named=True)
    assert (row["image_id"], row["status"], row["suggested"]) == ("train/red/000.png", "nothing known", None)


def test_an_audit_can_be_kept_in_a_file(dataset: FileDataset, answers: Answers, tmp_path: Path) -> None:
    assert read_label_audit(tmp_path / "audit.parquet") is None
    audit = audit_labels(with_labels(dataset, {"train/blue/001.png": "red"}), answers)
    write_label_audit(tmp_path / "audit.parquet", audit)
    found = read_label_audit(tmp_path / "audit.parquet")
    assert found is not None
    assert found.table.equals(audit.table)
    assert replace(found, table=audit.table) == audit
    (tmp_path / "audit.parquet").write_bytes((tmp_path / "audit.parquet").read_bytes()[:-20])
    assert read_label_audit(tmp_path / "audit.parquet") is None


def test_only_the_given_splits_are_judged(dataset: FileDataset, answers: Answers) -> None:
    assert set(audit_labels(dataset, answers, splits=["test"]).table["split"]) == {"test"}


def test_settings_that_cannot_judge_labels_are_rejected(dataset: FileDataset, answers: Answers) -> None:
    with pytest.raises(ExamplesInvalid, match="neither is given"):
        audit_labels(dataset)
    with pytest.raises(ExamplesInvalid, match="are about classes: they follow the label"):
        audit_labels(dataset, replace(answers, level="class"))
    with pytest.raises(ExamplesInvalid, match="know other classes"):
        audit_labels(dataset, None, replace(sure_students(dataset), class_names=("a", "b", "c")))
    with pytest.raises(ExamplesInvalid, match="no label can be judged"):
        audit_labels(with_labels(dataset, {record.image_id: None for record in dataset.records}), answers)
