"""Extraction asks what is missing, records what cannot be asked, and asks nothing twice."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from storage.answers.read import Answers, read_answers
from storage.answers.reuse import known_answers
from storage.datasets import BoxImages, BoxView, DatasetInvalid, ImageDataset, image_folder, open_detection_dataset
from storage.datasets.scenes.detection import write_detection_scenes
from storage.images.decode import decode_image
from storage.questions import AspectQuestion, QuestionSet, load_questions
from teacher.engines.base import EngineUsage, ImageRefused
from teacher.engines.config import ResolvedTeacher, resolve, tiny_teacher
from teacher.engines.options import EngineOptions
from teacher.engines.transformers.engine import TransformersEngine
from teacher.extraction.extract import ExtractionPlan, plan_extraction
from teacher.extraction.finish import ShardMissing, finish_directory
from tests.conftest import PROJECT
from tests.teacher.extraction.asking import ask_all
from tests.teacher.images import DAMAGED, write_damaged, write_images

QUESTIONS = QuestionSet(load_questions(PROJECT / "questions" / "scenes.yaml").questions[:3])


class CountingEngine:
    """The real teacher, which also counts what it is asked and may refuse images of one size."""

    calls_at_once = 1
    slow_because: str | None = None

    def __init__(self, teacher: ResolvedTeacher) -> None:
        self.engine = TransformersEngine(teacher, EngineOptions())
        self.asked = 0
        self.refused_size: tuple[int, int] | None = None

    @property
    def usage(self) -> EngineUsage:
        return self.engine.usage

    def answer(
        self, images: Sequence[Image.Image], questions: Sequence[str]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        for index, image in enumerate(images):
            if image.size == self.refused_size:
                raise ImageRefused(index, "wrong size")
        self.asked += len(images) * len(questions)
        return self.engine.answer(images, questions)

    def close(self) -> None:
        self.engine.close()


@pytest.fixture(scope="module")
def teacher() -> ResolvedTeacher:
    return resolve(tiny_teacher())


@pytest.fixture(scope="module")
def loaded(teacher: ResolvedTeacher) -> CountingEngine:
    return CountingEngine(teacher)


@pytest.fixture
def engine(loaded: CountingEngine) -> CountingEngine:
    loaded.asked = 0
    loaded.refused_size = None
    return loaded


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_images(tmp_path / "photos")


def plan(root: Path, store: Path, teacher: ResolvedTeacher, *, splits: Sequence[str] = ("train",),
         questions: QuestionSet = QUESTIONS) -> ExtractionPlan:  # fmt: skip
    return plan_extraction(image_folder(root), splits, questions, teacher, str(store), shard_size=3)


def extract(root: Path, store: Path, teacher: ResolvedTeacher, engine: CountingEngine, *,
            splits: Sequence[str] = ("train",), questions: QuestionSet = QUESTIONS) -> Answers:  # fmt: skip
    planned = plan(root, store, teacher, splits=splits, questions=questions)
    dataset = image_folder(root)
    known = known_answers(str(store), [dataset.name], teacher.fingerprint)
    ask_all(planned, dataset, teacher, engine, known)
    finish_directory(planned.directory, planned.header, planned.shards, {})
    return read_answers(planned.directory)


def test_every_image_gets_the_teachers_answers(
    root: Path, tmp_path: Path, teacher: ResolvedTeacher, engine: CountingEngine
) -> None:
    answers = extract(root, tmp_path / "store", teacher, engine)
    assert engine.asked == 8 * 3
    assert answers.image_ids == tuple(f"train/a/{number:02d}.png" for number in range(8))
    expected = engine.engine.answer([Image.open(root / answers.image_ids[5])], QUESTIONS.texts)
    np.testing.assert_allclose(answers.yes[5], expected[0][0], atol=1e-5)
    np.testing.assert_allclose(answers.no[5], expected[1][0], atol=1e-5)


def test_a_second_run_finds_nothing_to_do(
    root: Path, tmp_path: Path, teacher: ResolvedTeacher, engine: CountingEngine
) -> None:
    extract(root, tmp_path / "store", teacher, engine)
    assert plan(root, tmp_path / "store", teacher).missing == []


def test_a_lost_or_damaged_shard_is_the_only_one_asked_again(
    root: Path, tmp_path: Path, teacher: ResolvedTeacher, engine: CountingEngine
) -> None:
    before = extract(root, tmp_path / "store", teacher, engine)
    planned = plan(root, tmp_path / "store", teacher)
    (Path(planned.directory.path) / "part-00001.parquet").write_bytes(b"PAR1")
    with pytest.raises(ShardMissing, match="part-00001"):
        finish_directory(planned.directory, planned.header, planned.shards, {})
    engine.asked = 0
    after = extract(root, tmp_path / "store", teacher, engine)
    assert engine.asked == 3 * 3
    np.testing.assert_allclose(after.yes, before.yes, atol=1e-5)


def test_damaged_images_are_recorded_and_the_rest_is_asked(
    root: Path, tmp_path: Path, teacher: ResolvedTeacher, engine: CountingEngine
) -> None:
    write_damaged(root)
    answers = extract(root, tmp_path / "store", teacher, engine)
    errors = {
        image_id: error for image_id, error in zip(answers.image_ids, answers.errors, strict=True) if error is not None
    }
    assert errors.keys() == DAMAGED.keys()
    for image_id, reason in DAMAGED.items():
        assert reason in errors[image_id]
    failed = np.array([error is not None for error in answers.errors])
    assert np.isnan(answers.yes[failed]).all()
    assert np.isfinite(answers.yes[~failed]).all()
    assert engine.asked == 8 * 3


def test_an_image_that_the_model_refuses_is_recorded_too(
    root: Path, tmp_path: Path, teacher: ResolvedTeacher, engine: CountingEngine
) -> None:
    Image.new("RGB", (9, 9)).save(root / "train" / "a" / "03.png")
    engine.refused_size = (9, 9)
    answers = extract(root, tmp_path / "store", teacher, engine)
    assert [error for error in answers.errors if error] == ["teacher refuses it: wrong size"]
    assert np.isfinite(answers.yes).all(axis=1).tolist() == [number != 3 for number in range(8)]


def test_a_changed_image_is_asked_again(
    root: Path, tmp_path: Path, teacher: ResolvedTeacher, engine: CountingEngine
) -> None:
    extract(root, tmp_path / "store", teacher, engine)
    Image.new("RGB", (30, 30), "red").save(root / "train" / "a" / "04.png")
    engine.asked = 0
    extract(root, tmp_path / "store", teacher, engine)
    assert engine.asked == 3


def test_a_new_question_set_reuses_the_answers_of_the_old_one(
    root: Path, tmp_path: Path, teacher: ResolvedTeacher, engine: CountingEngine
) -> None:
    old = extract(root, tmp_path / "store", teacher, engine)
    changed = QuestionSet((AspectQuestion(key="new", text="Is it night?"), *QUESTIONS.questions[:2]))
    engine.asked = 0
    new = extract(root, tmp_path / "store", teacher, engine, questions=changed)
    assert engine.asked == 8
    np.testing.assert_array_equal(new.yes[:, 1:], old.yes[:, :2])


def test_another_split_is_added_and_none_is_lost(
    root: Path, tmp_path: Path, teacher: ResolvedTeacher, engine: CountingEngine
) -> None:
    extract(root, tmp_path / "store", teacher, engine, splits=("train", "test"))
    engine.asked = 0
    # As after a kill: the manifest has gone, the shards have not.
    plan(root, tmp_path / "store", teacher).directory.reopen()
    again = extract(root, tmp_path / "store", teacher, engine, splits=("train",))
    assert engine.asked == 0
    assert set(again.splits) == {"train", "test"}


def test_a_moved_dataset_is_the_same_dataset(
    root: Path, tmp_path: Path, teacher: ResolvedTeacher, engine: CountingEngine
) -> None:
    extract(root, tmp_path / "store", teacher, engine)
    moved = shutil.move(root, tmp_path / "elsewhere" / "photos")
    assert plan(Path(moved), tmp_path / "store", teacher).missing == []


def test_another_teacher_has_a_directory_of_its_own(root: Path, tmp_path: Path, teacher: ResolvedTeacher) -> None:
    other = dataclasses.replace(teacher, config=dataclasses.replace(teacher.config, max_pixels=100))
    one, two = plan(root, tmp_path, teacher), plan(root, tmp_path, other)
    assert one.directory.path != two.directory.path


def test_jpegs_are_decoded_at_a_scale_where_told(
    tmp_path: Path, teacher: ResolvedTeacher, engine: CountingEngine
) -> None:
    path = tmp_path / "photos" / "train" / "a" / "1.jpg"
    path.parent.mkdir(parents=True)
    Image.effect_noise((200, 152), 100).convert("RGB").save(path)
    scaled = dataclasses.replace(teacher, config=dataclasses.replace(teacher.config, max_pixels=475, draft=True))
    answers = extract(tmp_path / "photos", tmp_path / "store", scaled, engine)
    image = decode_image(path.read_bytes(), fewest=475)
    assert image.size == (25, 19)
    yes, _ = engine.answer([image], [question.text for question in QUESTIONS.questions])
    np.testing.assert_allclose(answers.yes, yes, atol=1e-5)


def ask_boxes(scenes: Path, store: Path, teacher: ResolvedTeacher, engine: CountingEngine) -> Answers:
    dataset: ImageDataset = BoxImages(open_detection_dataset(str(scenes)), BoxView(margin=0.5, smallest=12))
    planned = plan_extraction(dataset, ("train",), QUESTIONS, teacher, str(store), shard_size=4)
    known = known_answers(str(store), [dataset.name], teacher.fingerprint)
    ask_all(planned, dataset, teacher, engine, known)
    finish_directory(planned.directory, planned.header, planned.shards, {})
    return read_answers(planned.directory)


def test_boxes_are_asked_like_images_and_small_ones_are_marked(
    tmp_path: Path, teacher: ResolvedTeacher, engine: CountingEngine
) -> None:
    scenes, store = tmp_path / "scenes", tmp_path / "store"
    write_detection_scenes(scenes, train=6, test=1, seed=5)
    answers = ask_boxes(scenes, store, teacher, engine)
    seen = np.array([error is None for error in answers.errors])
    small = [error for error in answers.errors if error]
    assert small
    assert all("too small to see" in error for error in small)
    assert engine.asked == 3 * seen.sum()
    assert np.isfinite(answers.yes[seen]).all()
    assert np.isnan(answers.yes[~seen]).all()
    engine.asked = 0
    ask_boxes(scenes, store, teacher, engine)
    assert engine.asked == 0


def test_a_box_that_was_moved_is_the_only_one_asked_again(
    tmp_path: Path, teacher: ResolvedTeacher, engine: CountingEngine
) -> None:
    scenes, store = tmp_path / "scenes", tmp_path / "store"
    write_detection_scenes(scenes, train=6, test=1, seed=5)
    before = ask_boxes(scenes, store, teacher, engine)
    file = scenes / "annotations" / "instances_train.json"
    document = json.loads(file.read_text())
    moved = next(row for row, error in enumerate(before.errors) if error is None)
    document["annotations"][moved]["bbox"][2] -= 1
    file.write_text(json.dumps(document))
    engine.asked = 0
    after = ask_boxes(scenes, store, teacher, engine)
    assert engine.asked == 3
    assert (before.yes != after.yes).any(axis=1)[np.isfinite(before.yes[:, 0])].sum() == 1


def test_an_unknown_split_is_named(root: Path, tmp_path: Path, teacher: ResolvedTeacher) -> None:
    with pytest.raises(DatasetInvalid, match="no split 'valid'"):
        plan(root, tmp_path, teacher, splits=("valid",))
