"""What fails for good, and what only for now: the second is asked about again, and never written as finished."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from flows.cli.errors import explain
from flows.parameters import DatasetParameters, EngineParameters, ExtractionParameters
from flows.work.asking import FAILED_SHARDS
from flows.work.extraction import extract_aspects
from flows.work.extraction_summary import ExtractionSummary, ImagesUnanswered
from storage.answers.schema import AnswerHeader, write_shard
from storage.answers.store import AnswerDirectory
from storage.datasets.folder import image_folder
from teacher.engines.base import ImageRefused, TeacherDied, TeacherUnreachable
from teacher.engines.config import TeacherInvalid
from teacher.extraction import extract as extract_module
from teacher.extraction import reading
from teacher.extraction.extract import AnswersRefused
from tests.flows.hosts import Notes, plain_host
from tests.flows.work.engines import use_engine

SHARD, QUESTIONS = 4, 4
Extract = Callable[..., ExtractionSummary]


@pytest.fixture
def extract(scenes: Path, few_questions: Path, tmp_path: Path) -> Extract:
    def run(notes: Notes | None = None, **changes: Any) -> ExtractionSummary:
        given: dict[str, Any] = {
            "dataset": DatasetParameters(source=str(scenes)),
            "questions": str(few_questions),
            "engine": EngineParameters(name="transformers"),
            "store": str(tmp_path / "store"),
            "shard_size": SHARD,
            "train": False,
        }
        return extract_aspects(plain_host(notes), ExtractionParameters(**{**given, **changes}))

    return run


def shards(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "store").rglob("part-*.parquet"))


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 0.5])
def test_answers_that_are_no_log_probabilities_are_never_written(
    extract: Extract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: float
) -> None:
    def before(images: int, texts: Sequence[str]) -> Any:
        scores = np.full((images, len(texts)), np.log(0.5), np.float32)
        scores[0, -1] = wrong
        return scores, scores

    engine = use_engine(monkeypatch, before)
    with pytest.raises(AnswersRefused, match=r"teacher tiny answered yes .* no log-probabilities; its shard is not"):
        extract()
    assert shards(tmp_path) == []
    assert engine.asked <= 2 * SHARD * QUESTIONS  # what was on its way; it is not tried again
    use_engine(monkeypatch)
    summary = extract()
    assert (summary.asked, dict(summary.failures)) == (QUESTIONS * summary.images, {})


def test_an_impossible_answer_has_the_lowest_log_probability(
    extract: Extract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def before(images: int, texts: Sequence[str]) -> Any:
        never = np.full((images, len(texts)), -np.inf, np.float32)
        return np.zeros_like(never), never

    use_engine(monkeypatch, before)
    extract()
    assert pl.read_parquet(shards(tmp_path)[0])["has_red"].struct.field("no").max() == -1e6


def failing_at(call: int, error: Exception, times: int = 1) -> Callable[[int, Sequence[str]], None]:
    calls: list[int] = []

    def before(images: int, texts: Sequence[str]) -> None:
        calls.append(1)
        if call <= len(calls) < call + times:
            raise error

    return before


@pytest.mark.parametrize("error", [TeacherDied("gone"), TeacherUnreachable("no log-probabilities any more")])
def test_a_teacher_that_fails_for_a_moment_is_asked_again(
    extract: Extract, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    engine = use_engine(monkeypatch, failing_at(2, error))
    notes = Notes()
    summary = extract(notes)
    assert summary.asked == QUESTIONS * summary.images == engine.asked - SHARD * QUESTIONS
    assert any(f"is retried in 0 s: {error}" in line for line in notes.lines)


def test_a_teacher_that_goes_on_failing_ends_the_run_and_is_asked_for_the_rest_another_time(
    extract: Extract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = use_engine(monkeypatch, failing_at(2, TeacherUnreachable("no log-probabilities any more"), times=10**6))
    with pytest.raises(TeacherUnreachable) as caught:
        extract()
    explained = explain(caught.value)
    assert explained is not None
    assert explained[1] == 1
    assert len(shards(tmp_path)) == 1
    assert engine.asked <= SHARD * QUESTIONS * (1 + 4 * (FAILED_SHARDS + 2))
    use_engine(monkeypatch)
    summary = extract()
    assert summary.asked == QUESTIONS * (summary.images - SHARD)


@pytest.fixture
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every image is asked about in a call of its own."""
    monkeypatch.setattr(reading, "CHUNK", 1)
    monkeypatch.setattr(extract_module, "PAIRS_AT_ONCE", 1)


def test_another_attempt_goes_on_within_the_shard(
    extract: Extract, monkeypatch: pytest.MonkeyPatch, one_by_one: None
) -> None:
    engine = use_engine(monkeypatch, failing_at(3, TeacherDied("gone")))
    summary = extract()
    assert engine.asked == QUESTIONS * (summary.images + 1)
    assert summary.asked == QUESTIONS * summary.images


def test_another_run_goes_on_within_the_shard(
    extract: Extract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_by_one: None
) -> None:
    use_engine(monkeypatch, failing_at(4, TeacherUnreachable("out of reach"), times=10**6))
    with pytest.raises(TeacherUnreachable):
        extract()
    errors = pl.concat([pl.read_parquet(path, columns=["error"]) for path in shards(tmp_path)])["error"]
    assert errors.null_count() == 3
    assert set(errors.drop_nulls()) == {"not asked yet"}
    again = use_engine(monkeypatch)
    summary = extract()
    assert again.asked == QUESTIONS * (summary.images - 3)
    assert dict(summary.failures) == {}


def test_a_shard_of_before_is_not_replaced_by_a_part_of_it(
    extract: Extract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scenes: Path, one_by_one: None
) -> None:
    use_engine(monkeypatch)
    copied = tmp_path / "scenes"
    shutil.copytree(scenes, copied)
    there = DatasetParameters(source=str(copied))
    summary = extract(dataset=there)
    images = sorted((copied / "train").rglob("*.png"))
    for changed in (images[0], images[1]):
        changed.write_bytes(images[-1].read_bytes() + changed.name.encode())
    use_engine(monkeypatch, failing_at(2, TeacherUnreachable("out of reach"), times=10**6))
    with pytest.raises(TeacherUnreachable):
        extract(dataset=there)
    again = use_engine(monkeypatch)
    assert extract(dataset=there).images == summary.images
    assert again.asked == 2 * QUESTIONS


@pytest.mark.parametrize("error", [TeacherInvalid("a wrong setting"), KeyError("ours"), OSError(errno.EIO, "a disk")])
def test_everything_else_is_raised_at_once(
    extract: Extract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    engine = use_engine(monkeypatch, failing_at(1, error, times=10**6))
    with pytest.raises(type(error)):
        extract()
    assert engine.asked <= 3 * SHARD * QUESTIONS
    assert shards(tmp_path) == []


def test_an_image_that_the_model_cannot_take_is_not_asked_about_again(
    extract: Extract, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_engine(monkeypatch, failing_at(1, ImageRefused(0, "too thin")))
    summary = extract()
    assert list(summary.failures.values()) == ["teacher refuses it: too thin"]
    again = use_engine(monkeypatch)
    assert extract().asked == again.asked == 0


@pytest.fixture
def unreadable(monkeypatch: pytest.MonkeyPatch, scenes: Path) -> Callable[[int | None], str]:
    """Makes reading the third training image fail with an error number, or well again; its id."""
    image_id = [record.image_id for record in image_folder(scenes).records if record.split == "train"][2]
    kind = type(image_folder(scenes))
    read = kind.read
    failing: list[int] = []

    def fails(self: Any, asked: str) -> bytes:
        if failing and asked == image_id:
            raise OSError(failing[0], "it is so")
        return read(self, asked)

    monkeypatch.setattr(kind, "read", fails)

    def make(number: int | None) -> str:
        failing[:] = [] if number is None else [number]
        return image_id

    return make


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.ETIMEDOUT])
def test_an_image_that_cannot_be_read_now_is_asked_about_when_it_can(
    extract: Extract, unreadable: Callable[[int | None], str], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    engine = use_engine(monkeypatch)
    image_id = unreadable(number)
    for _ in range(2):  # the second time nothing is asked, and it is said again
        notes = Notes()
        with pytest.raises(ImagesUnanswered, match=rf"1 images could not be read now .*{image_id}") as caught:
            extract(notes)
        assert "to be asked about again: 1" in notes.lines
        assert (explain(caught.value) or ("", 0))[1] == 1
    asked = engine.asked
    unreadable(None)
    summary = extract()
    assert (summary.asked, engine.asked - asked, dict(summary.failures)) == (QUESTIONS, QUESTIONS, {})


def test_a_missing_image_is_a_permanent_failure(
    extract: Extract, unreadable: Callable[[int | None], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    use_engine(monkeypatch)
    image_id = unreadable(errno.ENOENT)
    assert dict(extract().failures) == {image_id: "cannot be read: it is so"}


@pytest.mark.parametrize(
    ("error", "again"),
    [
        ("teacher refuses it: no log-probabilities in its answer (length)", True),
        ("teacher refuses it: no log-probabilities in its answer (stop)", True),
        ("teacher refuses it: no log-probabilities in its answer (content_filter)", False),
        ("teacher refuses it: image too small", False),
        ("file is empty", False),
    ],
)
def test_teacher_faults_recorded_for_images_by_earlier_releases_are_retried(
    extract: Extract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str, again: bool
) -> None:
    use_engine(monkeypatch)
    directory = AnswerDirectory.at(extract().directory)
    blame_first_image(directory, error)
    engine = use_engine(monkeypatch)
    summary = extract()
    assert engine.asked == summary.asked == (QUESTIONS if again else 0)
    assert list(summary.failures.values()) == ([] if again else [error])


def blame_first_image(directory: AnswerDirectory, error: str) -> None:
    """Write the first shard as a release did that had no answers about its first image."""
    name = directory.shard_files()[0]
    header, answers = directory.read_shard(name)
    assert isinstance(header, AnswerHeader)
    answers.yes[0], answers.no[0] = np.nan, np.nan
    errors = [error, *answers.errors[1:]]
    changed = type(answers)(
        records=answers.records, image_sha256=answers.image_sha256, errors=errors, yes=answers.yes, no=answers.no
    )
    Path(directory.path, name).write_bytes(write_shard(header, changed))
    Path(directory.manifest_path).unlink()  # its digests are those of what was there
