"""Students that learn the classes from answers about them, without any label."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from storage.answers.read import Answers
from storage.datasets import FileDataset
from storage.datasets.base import UNKNOWN, UNLABELLED
from storage.questions import AspectQuestion, QuestionSet
from student.classification.calibration import CALIBRATION
from student.classification.class_profile import read_class_profile
from student.classification.config import StudentConfig
from student.classification.evaluate import evaluate
from student.classification.examples import TeacherAnswers, join_examples, training_records
from student.classification.training import train
from student.core.examples import ExamplesInvalid
from student.core.setting_errors import ConfigInvalid
from tests.student.conftest import answers_for

# Log-odds about the classes blue, green and red, on another scale than those about images (conftest.answers_for).
ABOUT_CLASSES = np.array([[-4.0, -1.0], [-3.0, 6.0], [5.0, 1.0]], dtype=np.float32)


@pytest.fixture
def unlabelled(config: StudentConfig) -> StudentConfig:
    return config.replace(method="recommended", labels_per_class=0, keep="last", epochs=1, warmup=0, alpha=None)


def of_classes(dataset: FileDataset, gaps: np.ndarray = ABOUT_CLASSES) -> Answers:
    gap = gaps[[record.label for record in dataset.records]]
    return dataclasses.replace(answers_for(dataset), teacher="def456", yes=gap, no=np.zeros_like(gap), level="class")


def relabelled(dataset: FileDataset, shift: int) -> FileDataset:
    """The same with other labels of the training images."""
    names = dataset.class_names
    changed = [
        dataclasses.replace(record, label=(label := (record.label + shift) % len(names)), label_name=names[label])
        if record.split == "train"
        else record
        for record in dataset.records
    ]
    return dataclasses.replace(dataset, records=changed)


def without_labels(dataset: FileDataset) -> FileDataset:
    """The same with all training images in the split `unlabelled`."""
    changed = [
        dataclasses.replace(record, split=UNLABELLED, label=UNKNOWN, label_name="")
        if record.split == "train"
        else record
        for record in dataset.records
    ]
    return dataclasses.replace(dataset, records=changed)


def test_every_image_learns_the_class_that_its_answers_match(
    unlabelled: StudentConfig, dataset: FileDataset, answers: Answers
) -> None:
    records = training_records(dataset)
    known = TeacherAnswers(image=answers, classes=of_classes(dataset))
    examples = join_examples(unlabelled, dataset, records, known)
    assert (examples.labels_N == UNKNOWN).all()
    assert len(examples.val_indices) == 0
    named = examples.targets[-1].numpy()[examples.train_indices.numpy()].argmax(axis=1)
    truth = np.array([record.label for record in records])[examples.train_indices.numpy()]
    assert (named == truth).mean() > 0.9


def test_no_label_reaches_the_weights(
    unlabelled: StudentConfig, dataset: FileDataset, answers: Answers, tmp_path: Path
) -> None:
    of = of_classes(dataset)  # imported once, from a table by class name
    weights = []
    for number, images in enumerate((dataset, relabelled(dataset, 1), relabelled(dataset, 2))):
        known = TeacherAnswers(image=answers, classes=of)
        train(unlabelled, images, known, tmp_path / str(number), progress=False)
        weights.append((tmp_path / str(number) / "student.safetensors").read_bytes())
    assert weights[0] == weights[1] == weights[2]
    run = tmp_path / "0"
    assert not (run / CALIBRATION).exists()
    assert evaluate(run, dataset, split="test").images == 12
    profile = read_class_profile(run)
    assert profile is not None
    assert profile.means()[2, 0] > 0.5 > profile.means()[0, 0]  # of the classes that images are named


def test_a_dataset_without_labelled_training_images_is_trained_on(
    unlabelled: StudentConfig, dataset: FileDataset, answers: Answers
) -> None:
    images, of = without_labels(dataset), of_classes(dataset)
    names = [name if split == "test" else "" for name, split in zip(of.label_names, of.splits, strict=True)]
    of_test = dataclasses.replace(of, label_names=tuple(names))  # imported for the labelled test images
    known = TeacherAnswers(image=answers, classes=of_test)
    found = join_examples(unlabelled, images, training_records(images), known)
    same = join_examples(unlabelled, dataset, training_records(dataset), TeacherAnswers(image=answers, classes=of))
    np.testing.assert_array_equal(found.targets[-1], same.targets[-1])


def test_one_label_of_each_class_is_helped_by_answers_about_classes(
    unlabelled: StudentConfig, dataset: FileDataset, answers: Answers
) -> None:
    records = training_records(dataset)
    one = unlabelled.replace(labels_per_class=1)
    # Answers about images that say little.
    noise = np.random.default_rng(3).normal(0, 4, answers.yes.shape).astype(np.float32)
    answers = dataclasses.replace(answers, yes=answers.yes + noise)
    known = [TeacherAnswers(image=answers), TeacherAnswers(image=answers, classes=of_classes(dataset))]
    alone, helped = (join_examples(one, dataset, records, each).targets[-1].numpy() for each in known)
    hidden = ~np.isnan(alone).any(axis=1)
    assert hidden.sum() == 21
    truth = np.array([record.label for record in records])
    right = [np.exp(each[hidden, truth[hidden]]).mean() for each in (alone, helped)]
    assert right[1] > right[0]


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (None, "no training image of dataset 'colours' has a label, and there are no answers about the classes"),
        ("others", "and teacher def456 gave none about the classes to the questions that were asked about images"),
        ("two", "and there are no answers about class 'red'; every class needs a label or answers about it"),
    ],
)
def test_missing_answers_about_classes_are_one_line(
    unlabelled: StudentConfig, dataset: FileDataset, answers: Answers, classes: str | None, message: str
) -> None:
    given = None if classes is None else of_classes(dataset)
    if classes == "others":
        asked = QuestionSet((AspectQuestion(key="x", text="X?"), AspectQuestion(key="y", text="Y?")))
        given = dataclasses.replace(of_classes(dataset), questions=asked)
    elif classes == "two":
        given = of_classes(dataset, np.vstack([ABOUT_CLASSES[:2], [[np.nan, np.nan]]]).astype(np.float32))
    with pytest.raises(ExamplesInvalid, match=message):
        join_examples(unlabelled, dataset, training_records(dataset), TeacherAnswers(image=answers, classes=given))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"method": "makd"},
            "labels_per_class is 0, and method 'makd' learns the classes from labels; take",
        ),
        ({"method": "base"}, "method 'base' learns the classes from labels"),
        ({"alpha": 0}, "method 'recommended' learns the classes from labels"),
        ({"keep": "best"}, "keep=best and patience need validation images with a label, and labels_per_class is 0"),
        ({"patience": 2}, "keep=best and patience need"),
        ({"label_fraction": 0.5}, "both given"),
        ({"labels_per_class": -1}, "labels_per_class"),
    ],
)
def test_settings_that_need_labels_are_rejected(
    unlabelled: StudentConfig, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigInvalid, match=message):
        unlabelled.replace(**changes)


def test_no_image_is_held_out(unlabelled: StudentConfig) -> None:
    assert unlabelled.replace(val_fraction=0.2).held_out == 0
