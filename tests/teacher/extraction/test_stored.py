"""Compacted and replaced files: whatever changes, answers that are there are not asked again."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from storage.answers.compact import compact
from storage.answers.read import Answers, read_answers
from storage.answers.replaced import copied_names
from storage.answers.reuse import known_answers
from storage.answers.store import AnswerDirectory
from storage.datasets.folder import image_folder
from storage.datasets.records import ImageRecords
from teacher.extraction import stored as module
from teacher.extraction.finish import finish_plan
from teacher.extraction.plan import ExtractionPlan, plan_extraction
from teacher.extraction.prepare import prepare_directory
from tests.storage.samples import QUESTIONS
from tests.teacher.extraction.asking import ask_all
from tests.teacher.extraction.test_comparison import CountingFolder
from tests.teacher.extraction.test_plan import TEACHER, Engine

IMAGES, SIZE = 12, 2
ASKED = len(QUESTIONS)


class Killed(Exception):
    pass


class Runs:
    """Extractions of one folder of images into one store; records are columns."""

    def __init__(self, place: Path) -> None:
        self.folder, self.store = place / "images" / "train" / "a", place / "store"
        self.folder.mkdir(parents=True)
        for number in range(1, IMAGES + 1):
            self.draw(number)

    def draw(self, number: int, colour: int | None = None) -> None:
        path = self.folder / f"{number:02}.png"
        Image.new("L", (4, 4), number if colour is None else colour).save(path)
        seconds = 1e9 + number + (0 if colour is None else 1000)
        os.utime(path, (seconds, seconds))

    def plan(self) -> ExtractionPlan:
        found = image_folder(self.folder.parents[1], name="images")
        dataset = CountingFolder(**{**vars(found), "records": ImageRecords.of(found.records)})
        return plan_extraction(dataset, ["train"], QUESTIONS, TEACHER, str(self.store), shard_size=SIZE)

    def extract(self, *, killed_after: int | None = None) -> tuple[int, int]:
        """The answers asked, and the images that were read for them; killed after some shards."""
        plan, engine, known = self.plan(), Engine(), None
        if plan.missing:
            rows = plan.known_rows(copied=True)
            known = known_answers(str(self.store), ["images"], TEACHER.fingerprint, QUESTIONS.reuse_keys, rows)
            prepare_directory(plan)
            ask_all(plan, plan.comparison.dataset, TEACHER, engine, known, plan.missing[:killed_after])
        if killed_after is not None:
            return engine.asked, 0
        finish_plan(plan, {}, known)
        assert isinstance(plan.comparison.dataset, CountingFolder)
        return engine.asked, plan.comparison.dataset.reads.total()

    @property
    def directory(self) -> AnswerDirectory:
        return AnswerDirectory.at(str(next(self.store.rglob("questions=*/"))))

    def answers(self) -> Answers:
        return read_answers(self.directory)


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    made = Runs(tmp_path)
    assert made.extract()[0] == IMAGES * ASKED
    assert made.extract() == (0, 0)
    return made


@pytest.fixture
def compacted(runs: Runs) -> Runs:
    assert compact(runs.directory) == (6, 2)
    return runs


def test_nothing_is_asked_or_read_after_compacting(compacted: Runs) -> None:
    before = compacted.answers()
    assert compacted.extract() == (0, 0)
    assert compacted.directory.shard_files() == ["part-00000-00004.parquet", "part-00005.parquet"]
    np.testing.assert_array_equal(compacted.answers().yes, before.yes)


def test_added_images_leave_a_compacted_file_alone(compacted: Runs) -> None:
    for number in (IMAGES + 1, IMAGES + 2, IMAGES + 3):
        compacted.draw(number)
    assert compacted.extract() == (3 * ASKED, 3)
    files = ["part-00000-00004.parquet", "part-00005.parquet", "part-00006.parquet", "part-00007.parquet"]
    assert compacted.directory.shard_files() == files
    assert compacted.extract() == (0, 0)


def test_a_changed_image_divides_a_compacted_file(compacted: Runs) -> None:
    compacted.draw(6, colour=200)
    plan = compacted.plan()
    assert [shard.index for shard in plan.missing] == [2]
    assert {name: [shard.index for shard in parts] for name, parts in plan.divided.items()} == {
        "part-00000-00004.parquet": [0, 1, 3, 4]
    }
    before = compacted.answers()
    asked, read = compacted.extract()
    assert (asked, read) == (ASKED, 3)  # the changed one twice, and the one beside it
    assert compacted.directory.shard_files() == [f"part-{number:05}.parquet" for number in range(6)]
    after = compacted.answers()
    np.testing.assert_array_equal(np.delete(after.yes, 5, 0), np.delete(before.yes, 5, 0))
    assert compacted.extract()[0] == 0


@pytest.mark.parametrize("files", ["single", "compacted"])
@pytest.mark.parametrize("killed_after", [None, 0, 1, 3])
def test_an_image_that_moves_everything_is_the_only_one_asked_about(
    runs: Runs, files: str, killed_after: int | None
) -> None:
    if files == "compacted":
        compact(runs.directory)
    before = runs.answers()
    runs.draw(0)
    asked = 0
    if killed_after is not None:
        asked, _ = runs.extract(killed_after=killed_after)
    asked += runs.extract()[0]
    assert asked == ASKED
    np.testing.assert_array_equal(runs.answers().yes[1:], before.yes)
    assert copied_names(runs.directory) == []
    assert list(runs.store.rglob(".replaced-*")) == []


def test_swapped_images_are_not_asked_again(runs: Runs) -> None:
    """The answers about one are in a shard that the other's replaces."""
    before = runs.answers()
    runs.draw(1, colour=11)
    runs.draw(11, colour=1)
    assert runs.extract(killed_after=1)[0] == 0
    assert runs.extract()[0] == 0
    np.testing.assert_array_equal(runs.answers().yes[[10, 0]], before.yes[[0, 10]])


@pytest.mark.parametrize("moment", [1, 3, 5])
def test_a_kill_while_a_file_is_divided_loses_nothing(
    compacted: Runs, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    compacted.draw(6, colour=200)
    before, calls = compacted.answers(), []
    for name in ("write_shard", "remove_file"):
        whole = getattr(AnswerDirectory, name)

        def counted(self: AnswerDirectory, *given: object, whole: Callable[..., None] = whole) -> None:
            calls.append(given)
            if len(calls) == moment:
                raise Killed
            whole(self, *given)

        monkeypatch.setattr(AnswerDirectory, name, counted)
    with pytest.raises(Killed):
        prepare_directory(compacted.plan())
    monkeypatch.undo()
    assert compacted.extract()[0] == ASKED
    np.testing.assert_array_equal(np.delete(compacted.answers().yes, 5, 0), np.delete(before.yes, 5, 0))


def test_few_files_are_in_memory_at_once(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AHEAD", 2)
    loaded, kept = [0], list[int]()
    load = AnswerDirectory.load_if_whole

    def counted(self: AnswerDirectory, name: str) -> object:
        loaded[0] += 1
        return load(self, name)

    monkeypatch.setattr(AnswerDirectory, "load_if_whole", counted)
    compare = module.StoreComparison._compare

    def noted(self: module.StoreComparison, *given: object) -> None:
        kept.append(loaded[0] - len(self.stored))
        compare(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(module.StoreComparison, "_compare", noted)
    plan = runs.plan()
    assert max(kept) <= 3
    assert all(file.answers is None for file in plan.stored.values())
