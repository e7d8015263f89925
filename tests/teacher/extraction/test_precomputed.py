"""Answers from elsewhere: each layout is read exactly, and what does not fit is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from storage.answers.read import load_answers
from storage.datasets import image_folder
from storage.matching import NamesAmbiguous
from teacher.engines.config import TeacherInvalid
from teacher.extraction.precomputed import (
    PrecomputedAnswers,
    comparable,
    import_answers,
    read_attributes,
    read_lavid,
    read_makd,
    read_multiple_choice,
)
from tests.teacher.images import write_damaged, write_images

CHOICES = "What colour is it?\n 1. Red\n 2. Blue\n\nHow large is it?\n 1. Small\n 2. Large\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_images(tmp_path / "photos", good=3)


def write_json(path: Path, document: Any) -> Path:
    path.write_text(json.dumps(document))
    return path


def imported(answers: PrecomputedAnswers, root: Path, store: Path) -> Any:
    summary = import_answers(answers, image_folder(root), ["train"], str(store))
    return summary, load_answers(summary.directory)


def test_makd_probabilities_are_kept(root: Path, tmp_path: Path) -> None:
    file = write_json(tmp_path / "a.json", {"00.png": [0.9, 0.5], "01.png": [0.0, 1.0], "02.png": [0.2, 0.3]})
    summary, answers = imported(read_makd(file), root, tmp_path / "store")
    assert summary.images == 3
    np.testing.assert_allclose(answers.p_yes, np.array([[0.9, 0.5], [0, 1], [0.2, 0.3]]), atol=1e-6)
    assert answers.yes[0, 0] == pytest.approx(np.log(0.9))
    assert answers.no[0, 0] == pytest.approx(np.log(0.1))
    assert answers.questions.keys == ("aspect_01", "aspect_02")


def test_images_without_an_entry_in_the_file_are_reported(root: Path, tmp_path: Path) -> None:
    write_damaged(root)
    file = write_json(tmp_path / "a.json", {"00.png": [0.9], "elsewhere.png": [0.1], "empty.jpg": [0.5]})
    summary, answers = imported(read_makd(file), root, tmp_path / "store")
    assert summary.images == 1
    assert "no answer for '01.png'" in summary.without_answers["train/a/01.png"]
    assert summary.without_answers["train/b/empty.jpg"] == "file is empty"
    assert summary.unused_entries == ["elsewhere.png"]
    assert np.isnan(answers.p_yes[1:]).all()


def test_lavid_options_become_aspects_tied_by_their_question(root: Path, tmp_path: Path) -> None:
    (tmp_path / "choices.txt").write_text(CHOICES)
    file = write_json(tmp_path / "a.json", {"A": [[0.7, 0.3], [1.0006, 1e-9]], "other": [[0.5, 0.5], [0.5, 0.5]]})
    summary, answers = imported(read_lavid(file, tmp_path / "choices.txt"), root, tmp_path / "store")
    np.testing.assert_allclose(answers.p_yes, [[0.7, 0.3, 1, 0]] * 3, atol=1e-6)
    assert answers.questions.keys == ("q01_1", "q01_2", "q02_1", "q02_2")
    assert answers.questions.texts[1] == "What colour is it? Blue"
    assert [question.group for question in answers.questions.questions] == ["q01", "q01", "q02", "q02"]
    assert summary.unused_entries == ["other"]


def test_class_names_are_compared_without_their_spelling() -> None:
    assert comparable("012_colts_foot") == comparable("colt's foot")
    assert comparable("Motorbikes") == comparable("motorbike")
    assert comparable("red rose") != comparable("rose")


def test_attributes_come_per_image_or_per_class(root: Path, tmp_path: Path) -> None:
    per_class = tmp_path / "classes.csv"
    pl.DataFrame({"label_name": ["a", "b"], "is_red": [0.25, 1.0]}).write_csv(per_class)
    _, answers = imported(read_attributes(per_class), root, tmp_path / "store")
    np.testing.assert_allclose(answers.p_yes, [[0.25]] * 3, atol=1e-6)
    (root / "unlabelled").mkdir()
    Image.new("RGB", (8, 8)).save(root / "unlabelled" / "new.png")
    summary = import_answers(
        read_attributes(per_class), image_folder(root), ["train", "unlabelled"], str(tmp_path / "unlabelled")
    )
    assert summary.without_answers == {"unlabelled/new.png": "no label to look answers up by"}
    per_image = tmp_path / "images.parquet"
    pl.DataFrame({"image_id": [f"train/a/0{n}.png" for n in range(3)], "is_red": [1, 0, 1]}).write_parquet(per_image)
    _, answers = imported(read_attributes(per_image), root, tmp_path / "store")
    np.testing.assert_allclose(answers.p_yes, [[1], [0], [1]], atol=1e-6)


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        ([1, 2], "no MaKD answer file"),
        ({}, "no answers"),
        ({"a.png": [0.1, 0.2], "b.png": [0.1]}, "'b.png' has answers of shape"),
        ({"a.png": [1.5]}, "outside 0..1"),
        ({"x/a.png": [0.5], "y/a.png": [0.5]}, "several images of one file name"),
    ],
)
def test_another_layout_is_refused(tmp_path: Path, document: Any, complaint: str) -> None:
    with pytest.raises(TeacherInvalid, match=complaint) as caught:
        read_makd(write_json(tmp_path / "a.json", document))
    assert "\n" not in str(caught.value)


def test_answers_to_other_images_are_refused(root: Path, tmp_path: Path) -> None:
    answers = read_makd(write_json(tmp_path / "a.json", {"elsewhere.png": [0.1]}))
    with pytest.raises(TeacherInvalid, match="answers none of the 3 images"):
        import_answers(answers, image_folder(root), ["train"], str(tmp_path / "store"))


def test_questions_need_the_same_number_of_options(tmp_path: Path) -> None:
    file = tmp_path / "choices.txt"
    file.write_text("What?\n1. A\n2. B\nWhere?\n1. C\n")
    with pytest.raises(TeacherInvalid, match="same number of options"):
        read_multiple_choice(file)


def test_real_internvl2_answers_cover_the_training_images(shared_data: Path, tmp_path: Path) -> None:
    flowers = shared_data / "flowers102_64"
    file = flowers / "internvl2_yes_probability.json"
    summary = import_answers(read_makd(file), image_folder(flowers), ["train"], str(tmp_path))
    answers = load_answers(summary.directory)
    assert (summary.images, summary.without_answers, summary.unused_entries) == (2091, {}, [])
    original = json.loads(file.read_text())
    expected = np.array([original[Path(image_id).name] for image_id in answers.image_ids])
    np.testing.assert_allclose(answers.p_yes, expected, atol=1e-6)


def test_real_lavid_answers_cover_every_class(shared_data: Path, tmp_path: Path) -> None:
    answers = read_lavid(
        shared_data / "lavid" / "caltech101_qwen2.5-72B_chat_50-5.json",
        shared_data / "lavid" / "caltech101_chat_50-5.txt",
        {"Faces_easy": "face"},
    )
    records = image_folder(shared_data / "caltech101").records
    assert {answers.name_of(record) for record in records} == set(answers.probabilities)
    assert len(answers.questions) == 250


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ([0.5, None], "has None where a probability should be"),
        ([0.5, "0.5"], "has '0.5' where a probability should be"),
        ([0.5, {"p": 1}], "where a probability should be"),
        ([0.5, float("nan")], r"has a value outside 0\.\.1 \(nan\)"),
        ([0.5, float("inf")], r"has a value outside 0\.\.1 \(inf\)"),
        ([0.5, -1], r"has a value outside 0\.\.1 \(-1\.0\)"),
        ([0.5, 10**400], "where a probability should be"),
        ([0.5, [0.5]], "has lists of different lengths"),
        ([[0.5, 0.5]], r"has answers of shape \(1, 2\)"),
        ([0.5], r"has answers of shape \(1,\), others \(2,\)"),
        (0.5, r"has answers of shape \(\)"),
        ("yes", "has 'yes' where a probability should be"),
        (None, "has None where a probability should be"),
    ],
)
def test_invalid_probabilities_are_named(tmp_path: Path, values: Any, complaint: str) -> None:
    file = write_json(tmp_path / "a.json", {"a.png": [0.1, 0.2], "b.png": values})
    with pytest.raises(TeacherInvalid, match=f"'b.png' .*{complaint}") as caught:
        read_makd(file)
    assert "\n" not in str(caught.value)
    (tmp_path / "choices.txt").write_text(CHOICES)
    tables = {name: [given, given] for name, given in {"a.png": [0.1, 0.2], "b.png": values}.items()}
    with pytest.raises(TeacherInvalid, match=r"'b\.png' ") as caught:
        read_lavid(write_json(tmp_path / "b.json", tables), tmp_path / "choices.txt")
    assert "\n" not in str(caught.value)


def test_classes_that_read_the_same_are_not_merged(tmp_path: Path) -> None:
    (tmp_path / "choices.txt").write_text(CHOICES)
    table = [[0.5, 0.5], [0.5, 0.5]]
    with pytest.raises(TeacherInvalid, match="classes that read the same: 'A'"):
        read_lavid(write_json(tmp_path / "a.json", {"001.a": table, "A": table}), tmp_path / "choices.txt")


def test_classes_share_answers_only_with_an_alias(root: Path, tmp_path: Path) -> None:
    (tmp_path / "choices.txt").write_text(CHOICES)
    write_images(tmp_path / "photos2", good=1)
    (tmp_path / "photos2" / "train" / "a").rename(root / "train" / "2_A")
    table = [[0.5, 0.5], [0.5, 0.5]]
    file = write_json(tmp_path / "a.json", {"a": table, "b": table})
    with pytest.raises(NamesAmbiguous, match="classes '2_A' and 'a' would share the answers of 'a' in"):
        imported(read_lavid(file, tmp_path / "choices.txt"), root, tmp_path / "store")
    aliases = {"a": "A", "2_A": "A"}
    summary, _ = imported(read_lavid(file, tmp_path / "choices.txt", aliases), root, tmp_path / "store")
    assert (summary.images, summary.unused_entries) == (4, ["b"])


def test_one_file_name_of_two_images_is_refused(root: Path, tmp_path: Path) -> None:
    (root / "train" / "b").mkdir(exist_ok=True)
    (root / "train" / "b" / "00.png").write_bytes((root / "train" / "a" / "00.png").read_bytes())
    answers = read_makd(write_json(tmp_path / "a.json", {"00.png": [0.5], "01.png": [0.5]}))
    with pytest.raises(NamesAmbiguous, match=r"'00\.png' in .*a\.json may be 'train/a/00\.png', 'train/b/00\.png'"):
        import_answers(answers, image_folder(root), ["train"], str(tmp_path / "store"))


def test_an_empty_cell_is_no_answer_to_one_question(root: Path, tmp_path: Path) -> None:
    table = tmp_path / "images.csv"
    table.write_text("image_id;red;round\n00;0,5;yes\n01;;1\n02;;\n")
    summary, answers = imported(read_attributes(table), root, tmp_path / "store")
    np.testing.assert_allclose(answers.p_yes, [[0.5, 1], [np.nan, 1], [np.nan, np.nan]], atol=1e-6)
    assert list(summary.without_answers) == ["train/a/02.png"]
    assert answers.errors[1] is None


def test_classes_named_by_digits(root: Path, tmp_path: Path) -> None:
    (root / "train" / "a").rename(root / "train" / "00000")
    table = tmp_path / "classes.csv"
    table.write_text("label_name,red\n00000,1\n00001,0\n")
    summary, answers = imported(read_attributes(table), root, tmp_path / "store")
    assert (summary.images, summary.unused_entries) == (3, ["00001"])
    np.testing.assert_allclose(answers.p_yes, 1, atol=1e-6)
