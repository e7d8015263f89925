"""The question sets that come with the project."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import pytest

from storage.questions import QuestionSet, load_questions
from tests.conftest import PROJECT

FILES = sorted((PROJECT / "questions").glob("*.yaml"))
GROUPS = {"visual", "categorical", "environmental"}
AUXILIARIES = {"Is", "Are", "Was", "Were", "Do", "Does", "Did", "Has", "Have", "Can", "Could", "Will", "Would"}
NEGATIONS = {"no", "not", "t", "without", "never", "none", "neither", "nor", "lacks", "lacking", "cannot", "hardly"}
# Too common to say what a question is about.
STOP_WORDS = frozenset(
    {"a", "an", "any", "are", "as", "at", "be", "by", "can", "do", "does", "each", "has", "have", "in", "is", "it"}
    | {"its", "of", "on", "one", "part", "picture", "that", "the", "there", "to", "up", "visible", "which", "with"}
)


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def questions(request: pytest.FixtureRequest) -> QuestionSet:
    return load_questions(request.param)


def test_the_papers_eight_datasets_and_the_demo_have_a_set():
    expected = "caltech101 cub200 dtd fgvc_aircraft flowers102 mini_imagenet oxford_pets scenes stanford_cars"
    assert {path.stem for path in FILES} >= set(expected.split())


def test_fifty_questions_in_all_three_groups(questions: QuestionSet):
    assert len(questions) == 50
    groups = [question.group for question in questions.questions]
    assert set(groups) == GROUPS
    assert all(groups.count(group) >= 5 for group in GROUPS)


def test_each_is_one_yes_no_question(questions: QuestionSet):
    for text in questions.texts:
        words = re.findall(r"[A-Za-z']+", text)
        assert text.endswith("?"), text
        assert text.count("?") == 1, text
        assert words[0] in AUXILIARIES, text


@pytest.mark.parametrize("path", [path for path in FILES if path.stem != "scenes"], ids=lambda path: path.stem)
def test_those_about_photos_ask_plainly(path: Path):
    # Not those about the scenes: their wording is what the bundled teacher was trained on.
    for text in load_questions(path).texts:
        words = set(re.findall(r"[a-z]+", text.lower()))
        assert not NEGATIONS & words, text
        # "Is it red or blue?" has no yes.
        assert "or" not in words, text


def test_no_two_ask_nearly_the_same(questions: QuestionSet):
    contents = {text: content_words(text) for text in questions.texts}
    for (first, its), (second, others) in combinations(contents.items(), 2):
        overlap = len(its & others) / len(its | others)
        assert overlap < 0.7, f"{first} / {second}"


def test_near_duplicates_would_be_seen():
    first, second = content_words("Are the petal edges ruffled?"), content_words("Are ruffled edges on the petals?")
    assert len(first & second) / len(first | second) >= 0.7


def test_flower_questions_name_no_flower():
    datasets = pytest.importorskip("torchvision.datasets")
    assert_none_named("flowers102", datasets.Flowers102.classes)


def test_caltech_questions_name_no_class(shared_data: Path):
    folder = shared_data / "caltech101" / "train"
    if not folder.is_dir():
        pytest.skip(f"no Caltech-101 at {folder}")
    assert_none_named("caltech101", [entry.name.replace("_", " ") for entry in folder.iterdir()])


@pytest.mark.parametrize("stem", ["coco_boxes", "coco_images"])
def test_coco_questions_name_no_class(stem: str):
    detection = pytest.importorskip("torchvision.models.detection")
    categories = detection.FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
    assert_none_named(stem, [name for name in categories if name not in ("__background__", "N/A")])


def assert_none_named(stem: str, class_names: list[str]) -> None:
    texts = " ".join(load_questions(PROJECT / "questions" / f"{stem}.yaml").texts).lower()
    named = [name for name in class_names if re.search(rf"\b{re.escape(name.lower())}\b", texts)]
    assert not named


def content_words(text: str) -> set[str]:
    """Lower-case words without the common ones and without a plural s."""
    words = set(re.findall(r"[a-z0-9]+", text.lower())) - STOP_WORDS
    return {word.removesuffix("s") for word in words}
