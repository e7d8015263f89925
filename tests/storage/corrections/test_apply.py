"""Corrections applied to labels and answers, and read as answers of a teacher."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from storage.corrections import CorrectionInvalid
from storage.corrections.apply import (
    HUMAN,
    Applied,
    correct_answers,
    correct_class_answers,
    correct_labels,
    human_answers,
)
from tests.storage.corrections.samples import answer, answers, current, dataset, label

DIGEST = f"{0:064x}"


def test_corrected_labels_replace_those_of_all_splits() -> None:
    given = dataset()
    corrected, applied = correct_labels(given, current(label("train/ant/0.png", "bee"), label("test/bee/1.png", "ant")))
    assert [record.label for record in corrected.records] == [1, 1, 0, 1, 0, 0]
    assert [record.label_name for record in corrected.records][-1] == "ant"
    assert applied == Applied(labels=2)
    assert [record.image_id for record in corrected.records] == [record.image_id for record in given.records]
    assert given.records[0].label == 0


def test_unsure_labels_leave_training_images_unlabelled_and_others_out() -> None:
    corrected, applied = correct_labels(
        dataset(), current(label("train/ant/0.png", None), label("test/bee/1.png", None))
    )
    assert (corrected.records[0].label, corrected.records[0].label_name) == (-1, "")
    assert [record.image_id for record in corrected.records if record.split == "test"] == ["test/ant/0.png"]
    assert applied == Applied(unlabelled=1, left_out=1)


def test_an_image_without_a_label_that_gets_one_is_a_training_image() -> None:
    given = dataset()
    first = dataclasses.replace(given.records[0], split="unlabelled", label=-1, label_name="")
    waiting = given.subset([first, *given.records[1:]])
    corrected, applied = correct_labels(waiting, current(label("train/ant/0.png", "bee")))
    assert (corrected.records[0].split, corrected.records[0].label_name) == ("train", "bee")
    assert applied == Applied(labels=1)
    # Of an unsure one nothing is known, as before.
    assert correct_labels(waiting, current(label("train/ant/0.png", None)))[0].records[0] == first


def test_a_confirmed_label_changes_nothing() -> None:
    given = dataset()
    assert correct_labels(given, current(label("train/ant/0.png", "ant"))) == (given, Applied())


def test_corrections_of_other_images_and_of_changed_ones_are_ignored() -> None:
    rows = [label("gone.png", "bee"), label("train/ant/0.png", "bee", image_sha256="old")]
    given = dataset()
    assert correct_labels(given, current(*rows), {"train/ant/0.png": DIGEST}) == (given, Applied(ignored=2))


def test_a_class_that_is_gone_is_named_with_the_way_out() -> None:
    rows = current(label("train/ant/0.png", "wasp", correction="12ab"))
    with pytest.raises(CorrectionInvalid, match=r"class 'wasp', which dataset 'sample' does not have.*undo 12ab"):
        correct_labels(dataset(), rows)


def test_corrected_answers_replace_those_of_the_teacher() -> None:
    given = answers(np.zeros((4, 3)))
    rows = [
        answer("train/ant/0.png", "yes"),
        answer("train/bee/1.png", "no", "is_red"),
        answer("train/ant/2.png", None),
        answer("train/bee/3.png", "yes", image_sha256="old"),
        answer("gone.png", "yes"),
    ]
    corrected, applied = correct_answers(given, current(*rows))
    expected = np.full((4, 3), 0.5)
    expected[0, 0], expected[1, 1] = 0.99, 0.01
    np.testing.assert_allclose(corrected.p_yes, expected, atol=1e-6)
    np.testing.assert_allclose(np.exp(corrected.yes[0, 0]) + np.exp(corrected.no[0, 0]), 1, atol=1e-6)
    assert applied == Applied(answers=2, ignored=2)
    assert corrected.yes.dtype == np.float32


def test_questions_are_matched_by_text_not_by_key() -> None:
    given = answers(np.zeros((4, 3)))
    other = dataclasses.replace(answer("train/ant/0.png", "yes"), text="Is it striped?")
    assert correct_answers(given, current(other)) == (given, Applied(ignored=1))
    renamed = dataclasses.replace(answer("train/ant/0.png", "yes"), key="striped")
    assert correct_answers(given, current(renamed))[1] == Applied(answers=1)


def test_people_are_a_teacher_with_gaps() -> None:
    rows = current(answer("train/bee/1.png", "no", "is_red"), answer("train/ant/0.png", "yes"), label("x.png", "ant"))
    found = human_answers(dataset(), rows)
    assert (found.teacher, found.level, found.questions.keys) == (HUMAN, "image", ("is_red", "has_stripes"))
    assert found.image_ids == ("train/ant/0.png", "train/bee/1.png")
    np.testing.assert_allclose(found.p_yes, [[np.nan, 0.99], [0.01, np.nan]], atol=1e-6)
    with pytest.raises(CorrectionInvalid, match="no answer is corrected"):
        human_answers(dataset(), current())


def test_answers_about_classes_follow_the_corrected_label() -> None:
    given = answers(np.array([[1.0, 2, 3], [4, 5, 6]] * 2))
    corrected, _ = correct_labels(dataset(), current(label("train/ant/0.png", "bee"), label("train/bee/1.png", None)))
    found = correct_class_answers(given, corrected)
    np.testing.assert_array_equal(found.yes[0], given.yes[1])
    assert np.isnan(found.yes[1]).all()
    np.testing.assert_array_equal(found.yes[2:], given.yes[2:])
    assert correct_class_answers(given, dataset()) is given


def test_applied_corrections_are_one_line() -> None:
    assert str(Applied(labels=12, answers=1)) == "12 labels and 1 answer corrected"
    assert str(Applied(labels=1) + Applied(answers=2, ignored=1, unlabelled=2)) == (
        "1 label and 2 answers corrected; 2 images unlabelled; "
        "1 correction ignored: image or question changed or not there"
    )
