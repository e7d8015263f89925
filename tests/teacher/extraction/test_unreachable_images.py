"""A network share that fails for one image after the other: the run ends, and nothing is written."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from storage.answers.reuse import KnownAnswers
from storage.datasets import FileDataset, image_folder
from storage.images.unreachable import IN_A_ROW, ImagesUnreachable, require_reachable
from storage.questions import AspectQuestion, QuestionSet
from storage.retries import may_pass
from teacher.engines.config import resolve, tiny_teacher
from teacher.extraction.extract import plan_extraction
from teacher.extraction.precomputed import import_answers, read_attributes
from teacher.extraction.reading import read_image
from tests.teacher.extraction.asking import CountingEngine, ask_all
from tests.teacher.images import write_images

QUESTIONS = QuestionSet((AspectQuestion(key="is_red", text="Is it red?"),))
Fail = Callable[[int, int], None]


@pytest.fixture
def dataset(tmp_path: Path) -> FileDataset:
    return image_folder(write_images(tmp_path / "images", good=2 * IN_A_ROW))


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch) -> Fail:
    """Makes training images with a number below the first argument fail with the error number in the second."""
    real = FileDataset.read

    def begin(below: int, code: int) -> None:
        def read(self: FileDataset, image_id: str) -> bytes:
            if image_id.startswith("train/a/") and int(Path(image_id).stem) < below:
                raise OSError(code, os.strerror(code), image_id)
            return real(self, image_id)

        monkeypatch.setattr(FileDataset, "read", read)

    return begin


def check(dataset: FileDataset) -> None:
    training = [record for record in dataset.records if record.split == "train"]
    require_reachable([read_image(dataset, record, None).passing for record in training[:IN_A_ROW]])


def test_images_fail_one_after_the_other(dataset: FileDataset, fail: Fail) -> None:
    check(dataset)
    fail(IN_A_ROW, errno.ETIMEDOUT)
    with pytest.raises(ImagesUnreachable, match=rf"{IN_A_ROW} images in a row cannot be read \(.*timed out\)") as ended:
        check(dataset)
    assert may_pass(ended.value)
    assert str(ended.value).endswith("; run the same command again later")


def test_a_few_or_forbidden_images_are_rows_of_their_own(dataset: FileDataset, fail: Fail) -> None:
    fail(IN_A_ROW - 1, errno.ETIMEDOUT)
    check(dataset)
    fail(IN_A_ROW, errno.EACCES)
    check(dataset)


def test_nothing_is_asked_until_they_can_be_read(dataset: FileDataset, fail: Fail, tmp_path: Path) -> None:
    teacher, engine, store = resolve(tiny_teacher()), CountingEngine(), tmp_path / "store"
    planned = plan_extraction(dataset, ("train",), QUESTIONS, teacher, str(store))
    fail(2 * IN_A_ROW, errno.ETIMEDOUT)
    with pytest.raises(ImagesUnreachable):
        ask_all(planned, dataset, teacher, engine, KnownAnswers())
    assert engine.asked == 0
    assert not list(store.rglob("*.parquet"))
    fail(0, errno.ETIMEDOUT)
    (summary,) = ask_all(planned, dataset, teacher, engine, KnownAnswers())
    assert (engine.asked, summary.errors) == (2 * IN_A_ROW, 0)


def test_nothing_is_imported(dataset: FileDataset, fail: Fail, tmp_path: Path) -> None:
    table, store = tmp_path / "answers.csv", tmp_path / "store"
    training = [record.image_id for record in dataset.records if record.split == "train"]
    table.write_text("\n".join(["image_id,is_red", *(f"{name},1" for name in training)]), encoding="utf-8")
    fail(len(training), errno.ETIMEDOUT)
    with pytest.raises(ImagesUnreachable):
        import_answers(read_attributes(table, QUESTIONS), dataset, ("train",), str(store))
    assert not list(store.rglob("*.parquet"))
