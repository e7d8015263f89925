"""The question sets that come with the project."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest

from storage.questions import QuestionSet, load_questions
from teacher.questions.wording import ClassNames, is_either_or, is_negated, is_yes_no_question, nearly_the_same
from tests.conftest import PROJECT

FILES = sorted((PROJECT / "questions").glob("*.yaml"))
GROUPS = {"visual", "categorical", "environmental"}


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def questions(request: pytest.FixtureRequest) -> QuestionSet:
    return load_questions(request.param)


def test_the_papers_eight_datasets_and_the_demo_have_a_set() -> None:
    expected = "caltech101 cub200 dtd fgvc_aircraft flowers102 mini_imagenet oxford_pets scenes stanford_cars"
    assert {path.stem for path in FILES} >= set(expected.split())


def test_fifty_questions_in_all_three_groups(questions: QuestionSet) -> None:
    assert len(questions) == 50
    groups = [question.group for question in questions.questions]
    assert set(groups) == GROUPS
    assert all(groups.count(group) >= 5 for group in GROUPS)


def test_each_is_one_yes_no_question(questions: QuestionSet) -> None:
    for text in questions.texts:
        assert is_yes_no_question(text), text


@pytest.mark.parametrize("path", [path for path in FILES if path.stem != "scenes"], ids=lambda path: path.stem)
def test_those_about_images_ask_plainly(path: Path) -> None:
    # Not those about the scenes: their wording is what the bundled teacher was trained on.
    for text in load_questions(path).texts:
        assert not is_negated(text), text
        assert not is_either_or(text), text


def test_no_two_ask_nearly_the_same(questions: QuestionSet) -> None:
    for first, second in combinations(questions.texts, 2):
        assert not nearly_the_same(first, second), f"{first} / {second}"


def test_flower_questions_name_no_flower() -> None:
    datasets = pytest.importorskip("torchvision.datasets")
    assert_none_named("flowers102", datasets.Flowers102.classes)


def test_caltech_questions_name_no_class(shared_data: Path) -> None:
    folder = shared_data / "caltech101" / "train"
    if not folder.is_dir():
        pytest.skip(f"no Caltech-101 at {folder}")
    assert_none_named("caltech101", [entry.name.replace("_", " ") for entry in folder.iterdir()])


@pytest.mark.parametrize("stem", ["coco_boxes", "coco_images"])
def test_coco_questions_name_no_class(stem: str) -> None:
    detection = pytest.importorskip("torchvision.models.detection")
    categories = detection.FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
    assert_none_named(stem, [name for name in categories if name not in ("__background__", "N/A")])


def assert_none_named(stem: str, class_names: list[str]) -> None:
    classes = ClassNames(class_names)
    for text in load_questions(PROJECT / "questions" / f"{stem}.yaml").texts:
        assert classes.named_in(text) is None, text
