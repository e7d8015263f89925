"""Which images and shards are read again by a run with nothing to do, or with a little."""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from storage.answers.image_stamps import VERSION_KEY, read_image_stamps
from storage.answers.reuse import known_answers
from storage.answers.store import AnswerDirectory
from storage.datasets.base import FileDataset
from storage.datasets.folder import image_folder
from storage.questions import QuestionSet
from teacher.extraction.finish import finish_plan
from teacher.extraction.plan import ExtractionPlan, plan_extraction
from teacher.extraction.prepare import prepare_directory
from tests.storage.samples import QUESTIONS
from tests.teacher.extraction.asking import ask_all
from tests.teacher.extraction.test_plan import TEACHER, Engine
from tests.teacher.images import write_images

IMAGES, HOUR_NS = 8, 3600 * 10**9
FIRST = "train/a/00.png"


@dataclass(frozen=True, kw_only=True)
class CountingFolder(FileDataset):
    """An image folder that counts what is read of it; `errors` are raised instead."""

    reads: Counter[str] = field(default_factory=Counter)
    errors: dict[str, Exception] = field(default_factory=dict)

    def read(self, image_id: str) -> bytes:
        self.reads[image_id] += 1
        if image_id in self.errors:
            raise self.errors[image_id]
        return super().read(image_id)


@dataclass
class Runs:
    """Extractions of one folder into one store."""

    folder: Path
    store: Path
    errors: dict[str, Exception] = field(default_factory=dict)

    def plan(self, questions: QuestionSet = QUESTIONS, *, verify: bool = False) -> tuple[ExtractionPlan, Counter[str]]:
        found = image_folder(self.folder)
        dataset = CountingFolder(**{**vars(found), "errors": self.errors})
        plan = plan_extraction(dataset, ["train"], questions, TEACHER, str(self.store), shard_size=3, verify=verify)
        return plan, dataset.reads

    def extract(self, questions: QuestionSet = QUESTIONS, *, verify: bool = False) -> tuple[int, int]:
        """Images read by the comparison with the store, and answers asked."""
        plan, reads = self.plan(questions, verify=verify)
        compared, engine, known = reads.total(), Engine(), None
        if plan.missing:
            read = plan.known_rows(copied=True)
            known = known_answers(str(self.store), ["photos"], TEACHER.fingerprint, questions.texts, read)
            prepare_directory(plan)
            ask_all(plan, plan.comparison.dataset, TEACHER, engine, known)
        finish_plan(plan, {}, known)
        return compared, engine.asked

    @property
    def stamps_file(self) -> Path:
        return next(self.store.rglob("*.stamps"))


def age(path: Path, nanoseconds: int = HOUR_NS) -> None:
    """Set the modification time so far back."""
    changed = path.stat().st_mtime_ns - nanoseconds
    os.utime(path, ns=(changed, changed))


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    folder = write_images(tmp_path / "photos", good=IMAGES)
    for path in folder.rglob("*.png"):
        age(path)
    return Runs(folder, tmp_path / "store")


@pytest.fixture
def extracted(runs: Runs) -> Runs:
    assert runs.extract() == (0, IMAGES * 3)
    return runs


def test_an_unchanged_image_is_not_read_again(extracted: Runs) -> None:
    assert extracted.extract() == (0, 0)
    assert extracted.extract(verify=True) == (IMAGES, 0)
    assert extracted.extract() == (0, 0)


def test_another_time_has_an_image_read_once_and_recorded(extracted: Runs) -> None:
    age(extracted.folder / FIRST)
    assert extracted.extract() == (1, 0)
    assert extracted.extract() == (0, 0)


def test_a_changed_image_is_asked_about_again(extracted: Runs) -> None:
    Image.new("RGB", (9, 9), "red").save(extracted.folder / FIRST)
    age(extracted.folder / FIRST, HOUR_NS // 2)
    assert extracted.extract() == (1, 3)
    assert extracted.extract() == (0, 0)


def test_only_verify_finds_a_change_that_keeps_size_and_time(extracted: Runs) -> None:
    path = extracted.folder / FIRST
    before, data = path.stat(), path.read_bytes()
    path.write_bytes(data[:-1] + b"\0")  # behind the end of the pixels
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert extracted.extract() == (0, 0)
    assert extracted.extract(verify=True) == (IMAGES, 3)
    assert extracted.extract(verify=True) == (IMAGES, 0)


def test_a_deleted_image_is_noticed(extracted: Runs) -> None:
    plan, _ = extracted.plan()
    (extracted.folder / FIRST).unlink()
    dataset = plan.comparison.dataset
    again = plan_extraction(dataset, ["train"], QUESTIONS, TEACHER, str(extracted.store), shard_size=3)
    assert [shard.index for shard in again.missing] == [0]


@pytest.mark.parametrize("seconds", [0, 1, -60])
def test_a_time_that_is_not_clearly_past_is_not_trusted(runs: Runs, seconds: int) -> None:
    path = runs.folder / FIRST
    runs.plan()
    os.utime(path)
    age(path, seconds * 10**9)
    assert runs.extract() == (0, IMAGES * 3)
    assert runs.extract() == (1, 0)


def newer(path: Path) -> None:
    table = pq.read_table(path)
    with path.open("wb") as file:
        pq.write_table(table.replace_schema_metadata({VERSION_KEY: b"2"}), file)


def without_a_column(path: Path) -> None:
    table = pq.read_table(path)
    with path.open("wb") as file:
        pq.write_table(table.drop_columns(["mtime_ns"]), file)


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)


SPOILS: dict[str, Callable[[Path], object]] = {
    "gone": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("stamps"),
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "newer": newer,
    "other columns": without_a_column,
    "one bit": flipped,
}


@pytest.mark.parametrize("how", SPOILS)
def test_without_valid_stamps_every_image_is_read(extracted: Runs, how: str) -> None:
    SPOILS[how](extracted.stamps_file)
    assert extracted.extract() == (IMAGES, 0)
    assert extracted.extract() == (0, 0)


def test_stamps_of_another_machine_are_replaced(extracted: Runs, tmp_path: Path) -> None:
    elsewhere = Runs(write_images(tmp_path / "elsewhere" / "photos", good=IMAGES), extracted.store)
    for path in elsewhere.folder.rglob("*.png"):
        age(path, 2 * HOUR_NS)
    assert elsewhere.extract() == (IMAGES, 0)
    assert elsewhere.extract() == (0, 0)
    assert extracted.extract() == (IMAGES, 0)


def test_an_image_that_could_not_be_read_has_no_stamp(extracted: Runs) -> None:
    """Its digest is that of another file, perhaps: nothing must say that it is unchanged."""
    extracted.errors[FIRST] = PermissionError(errno.EACCES, "Permission denied")
    age(extracted.folder / FIRST)
    assert extracted.extract() == (1, 0)
    Image.new("RGB", (9, 9), "red").save(extracted.folder / "train/a/01.png")
    age(extracted.folder / "train/a/01.png")
    assert extracted.extract() == (2, 3)  # both are in one shard, which is asked about again
    directory = AnswerDirectory.at(str(next(extracted.store.rglob("questions=*/"))))
    recorded = read_image_stamps(directory, image_folder(extracted.folder).records)
    assert np.flatnonzero(recorded.stamps.view).tolist() == list(range(1, IMAGES))
    extracted.errors.clear()
    assert extracted.extract() == (1, 0)
    assert extracted.extract() == (0, 0)


def test_another_question_set_about_the_same_images_knows_their_stamps(extracted: Runs) -> None:
    few = QuestionSet(QUESTIONS.questions[:2])
    changed, unreadable = FIRST, "train/a/01.png"
    extracted.errors[unreadable] = PermissionError(errno.EACCES, "Permission denied")
    for image_id in (changed, unreadable):
        Image.new("RGB", (9, 9), "red").save(extracted.folder / image_id)
        age(extracted.folder / image_id, HOUR_NS // 2)
    assert extracted.extract(few) == (0, 2)
    # The unreadable one has the answers about what it was: its stamp must not say that it still is.
    extracted.errors.clear()
    assert extracted.extract(few) == (1, 0)  # the same pixels as the other changed one
    assert extracted.extract(few) == (0, 0)


def test_each_shard_is_read_once_and_the_manifest_left_alone(extracted: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    (manifest,) = extracted.store.glob("answers/*/*/*.json")
    before, loads = manifest.stat(), Counter[str]()
    load = AnswerDirectory.load_shard

    def counted(directory: AnswerDirectory, name: str, *texts: list[str]) -> object:
        loads[name] += 1
        return load(directory, name, *texts)

    monkeypatch.setattr(AnswerDirectory, "load_shard", counted)
    assert extracted.extract() == (0, 0)
    assert loads == {"part-00000.parquet": 1, "part-00001.parquet": 1, "part-00002.parquet": 1}
    assert (manifest.stat().st_ino, manifest.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    # With a shard to ask: those that are kept are read once as well, also for what is known.
    loads.clear()
    for shard in extracted.store.rglob("part-00001.parquet"):
        shard.unlink()
    assert extracted.extract() == (0, 9)
    assert loads == {"part-00000.parquet": 1, "part-00001.parquet": 1, "part-00002.parquet": 1}
    assert manifest.stat().st_ino != before.st_ino
