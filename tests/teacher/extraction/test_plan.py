"""What is asked and kept where plans are overtaken, stores damaged and images out of reach."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from storage.answers.damage import DirectoryChanged
from storage.answers.directories import audits_of
from storage.answers.read import Answers, find_answers, read_answers
from storage.answers.reuse import known_answers
from storage.datasets import image_folder
from storage.datasets.base import ImageRecord
from storage.questions import AspectQuestion, QuestionSet
from teacher.engines.base import EngineUsage
from teacher.engines.config import ResolvedTeacher, TeacherConfig
from teacher.extraction.extract import AnswersRefused
from teacher.extraction.finish import finish_directory
from teacher.extraction.plan import ExtractionPlan, plan_extraction
from teacher.extraction.prepare import prepare_directory
from tests.storage.samples import QUESTIONS
from tests.storage.shards import files_of, rewrite, set_answer
from tests.teacher.extraction.asking import ask_all
from tests.teacher.images import write_images

TEACHER = ResolvedTeacher(config=TeacherConfig(model="sample"), path=None, weights="sample")
IMAGES, ERROR = 8, PermissionError(errno.EACCES, "Permission denied")


class Engine:
    """Answers by the digest of the pixels, and counts. `odd` replaces the answers about the first image."""

    calls_at_once = 1
    slow_because: str | None = None
    usage = EngineUsage()

    def __init__(self, odd: float | None = None) -> None:
        self.asked = 0
        self.odd = odd

    def answer(
        self, images: Sequence[Image.Image], questions: Sequence[str]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        self.asked += len(images) * len(questions)
        yes = -1.0 - np.array(
            [[hashlib.sha256(image.tobytes() + text.encode()).digest()[0] for text in questions] for image in images],
            np.float32,
        )
        if self.odd is not None:
            yes[0, 0] = self.odd
        return yes, yes - np.float32(0.5)

    def close(self) -> None:
        return


@dataclass(frozen=True)
class Unreadable:
    """An image folder of which some images raise an error when they are read."""

    folder: Path
    errors: Mapping[str, Exception] = field(default_factory=dict)
    name: str = "photos"
    notes: tuple[str, ...] = ()

    @property
    def class_names(self) -> Sequence[str]:
        return image_folder(self.folder).class_names

    @property
    def records(self) -> Sequence[ImageRecord]:
        return image_folder(self.folder).records

    def read(self, image_id: str) -> bytes:
        if image_id in self.errors:
            raise self.errors[image_id]
        return image_folder(self.folder).read(image_id)

    def subset(self, records: Sequence[ImageRecord]) -> Unreadable:
        return self


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_images(tmp_path / "photos", good=IMAGES)


def plan(
    dataset: Unreadable, store: Path, splits: Sequence[str] = ("train",), questions: QuestionSet = QUESTIONS
) -> ExtractionPlan:
    return plan_extraction(dataset, splits, questions, TEACHER, str(store), shard_size=3)


def carry_out(planned: ExtractionPlan, dataset: Unreadable, store: Path, engine: Engine) -> Answers:
    texts = planned.header.questions.texts
    read = planned.known_rows(copied=True)
    known = known_answers(str(store), [dataset.name], TEACHER.fingerprint, texts, read)
    if planned.missing:
        prepare_directory(planned)
    ask_all(planned, dataset, TEACHER, engine, known)
    finish_directory(planned.directory, planned.header, planned.shards, {})
    return read_answers(planned.directory)


def extract(dataset: Unreadable, store: Path, splits: Sequence[str] = ("train",), *,
            questions: QuestionSet = QUESTIONS) -> tuple[Answers, int]:  # fmt: skip
    engine = Engine()
    return carry_out(plan(dataset, store, splits, questions), dataset, store, engine), engine.asked


@pytest.mark.parametrize("splits", [("train",), ("train", "test")])
def test_of_two_plans_made_at_once_the_later_one_changes_nothing(
    root: Path, tmp_path: Path, splits: Sequence[str]
) -> None:
    dataset, store, engine = Unreadable(root), tmp_path / "store", Engine()
    first, second = plan(dataset, store, ("train", "test")), plan(dataset, store, splits)
    carry_out(first, dataset, store, Engine())
    before = files_of(store)
    with pytest.raises(DirectoryChanged, match="run the same command again"):
        carry_out(second, dataset, store, engine)
    assert (engine.asked, files_of(store)) == (0, before)
    _, asked = extract(dataset, store, splits)
    assert asked == 0
    assert set(read_answers(find_answers(str(store), "photos")).splits) == {"train", "test"}


def test_a_shard_that_was_tried_before_is_not_asked_twice(root: Path, tmp_path: Path) -> None:
    dataset, store, engine = Unreadable(root), tmp_path / "store", Engine()
    planned = plan(dataset, store)
    known = known_answers(str(store), ["photos"], TEACHER.fingerprint)
    for _ in range(2):
        (summary,) = ask_all(planned, dataset, TEACHER, engine, known, planned.missing[:1])
    assert (engine.asked, summary.images, summary.asked) == (9, 3, 0)


def test_only_the_damaged_shard_is_asked_again_with_all_its_splits(root: Path, tmp_path: Path) -> None:
    dataset, store = Unreadable(root), tmp_path / "store"
    before, asked = extract(dataset, store, ("train", "test"))
    assert asked == (IMAGES + 2) * 3
    for path, damage in zip(sorted(store.rglob("*.parquet")), (set_answer("is_red", 1, yes=-2.0), None), strict=False):
        if damage:
            rewrite(path, damage)
    for path in store.rglob("part-00003.parquet"):  # the last one has the test images
        path.write_bytes(path.read_bytes()[:-20])
    planned = plan(dataset, store)
    assert [shard.index for shard in planned.missing] == [0, 3]
    after, asked = extract(dataset, store)
    assert asked == (3 + 1) * 3
    np.testing.assert_array_equal(after.yes, before.yes)
    assert after.image_ids == before.image_ids


@pytest.mark.parametrize("error", [ERROR, OSError(errno.EIO, "Input/output error"), OSError(errno.ESTALE, "Stale")])
def test_an_image_that_cannot_be_read_now_keeps_its_answers(root: Path, tmp_path: Path, error: OSError) -> None:
    store = tmp_path / "store"
    before, _ = extract(Unreadable(root), store)
    broken = Unreadable(root, {before.image_ids[4]: error})
    after, asked = extract(broken, store)
    assert asked == 0
    # The image beside it has changed: the shard is written anew.
    Image.new("RGB", (30, 30), "red").save(root / before.image_ids[3])
    after, asked = extract(broken, store)
    assert asked == 3
    np.testing.assert_array_equal(np.delete(after.yes, 3, 0), np.delete(before.yes, 3, 0))
    assert after.errors == (None,) * IMAGES
    assert after.image_sha256[4] == before.image_sha256[4]
    # A question that it was never asked cannot be asked now.
    more = QuestionSet((*QUESTIONS.questions, AspectQuestion(key="new", text="Is it new?")))
    more_answers, asked = extract(broken, store, questions=more)
    assert more_answers.errors[4] == f"cannot be read now: {error.strerror}"
    assert asked == IMAGES - 1
    again, asked = extract(Unreadable(root), store, questions=more)
    assert (again.errors[4], asked) == (None, 1)


def test_a_missing_image_has_no_answers(root: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    before, _ = extract(Unreadable(root), store)
    gone = Unreadable(root, {before.image_ids[4]: FileNotFoundError(errno.ENOENT, "No such file")})
    after, asked = extract(gone, store)
    assert (after.errors[4], asked) == ("cannot be read: No such file", 0)


def test_a_copy_of_the_images_under_another_name_reuses_everything(root: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    before, _ = extract(Unreadable(root), store)
    extract(Unreadable(root), Path(audits_of(str(store))))
    few = QuestionSet((QUESTIONS.questions[2], AspectQuestion(key="another", text=QUESTIONS.texts[0])))
    after, asked = extract(replace(Unreadable(root), name="copy"), store, questions=few)
    assert asked == 0
    np.testing.assert_array_equal(after.yes, before.yes[:, [2, 0]])
    # Elsewhere the same id is another image.
    other = write_images(tmp_path / "other", good=2)
    Image.new("RGB", (9, 9)).save(other / "train" / "a" / "00.png")
    broken = replace(Unreadable(other, {"train/a/00.png": ERROR}), name="other")
    assert extract(broken, store)[0].errors[0] == "cannot be read now: Permission denied"


def test_only_columns_of_the_questions_are_read(root: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    extract(Unreadable(root), store)
    known = known_answers(str(store), [], TEACHER.fingerprint, [QUESTIONS.texts[1]])
    yes = np.full(3, np.nan, np.float32)
    digest = hashlib.sha256(image_folder(root).read("train/a/00.png")).hexdigest()
    assert known.fill(digest, QUESTIONS.texts, yes, yes.copy()) == 1
    assert known_answers(str(store), [], TEACHER.fingerprint, ["Is it nothing that was asked?"]).directories == []


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), 1e9, 0.5])
def test_invalid_log_probabilities_are_not_written(root: Path, tmp_path: Path, odd: float) -> None:
    dataset, store = Unreadable(root), tmp_path / "store"
    planned = plan(dataset, store)
    with pytest.raises(AnswersRefused, match="no log-probabilities"):
        carry_out(planned, dataset, store, Engine(odd))
    assert not list(store.rglob("*.parquet"))


def test_a_certain_answer_is_kept(root: Path, tmp_path: Path) -> None:
    dataset, store = Unreadable(root), tmp_path / "store"
    answers = carry_out(plan(dataset, store), dataset, store, Engine(float("-inf")))
    assert answers.errors == (None,) * IMAGES
    assert answers.p_yes[0, 0] == pytest.approx(0.5)
