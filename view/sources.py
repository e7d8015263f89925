"""What the page is about: a store, a dataset's images, run folders and audits, read when they are needed."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from storage.answers.columns import AnswerColumns, read_columns
from storage.answers.directories import answer_directories
from storage.answers.progress import ShardSplits
from storage.answers.store import AnswerDirectory, AnswersMissing
from storage.answers.summary import AnswerSummary, read_summary
from storage.datasets.base import ImageDataset
from storage.datasets.detection import boxes_name
from storage.errors import AspectsError, InputInvalid
from student.core.stored_runs import StoredResults, StoredRun, files_below, find_results, find_runs
from teacher.questions.rounds import ROUNDS_FILE, Record, read_rounds
from view.corrections import Corrections
from view.label_audits import LabelAudits
from view.matches import DetectionMatches
from view.thumbnails import Thumbnails

if TYPE_CHECKING:
    from teacher.questions.audit import Audit

OPEN_SETS = 4  # answer directories whose arrays are kept open
FRESH_SECONDS = 2.0  # files are looked at again after this time
AUDIT_ENDING = ".audit.json"


@dataclass(frozen=True, kw_only=True)
class AnswerSet:
    """One answer directory of the store, by the names of its folders. `id` is what addresses have."""

    directory: AnswerDirectory
    dataset: str
    teacher: str
    questions: str

    @classmethod
    def of(cls, directory: AnswerDirectory) -> AnswerSet:
        dataset, teacher, questions = (part.partition("=")[2] for part in directory.path.split("/")[-3:])
        return cls(directory=directory, dataset=dataset, teacher=teacher, questions=questions)

    @cached_property
    def id(self) -> str:
        return hashlib.sha256("/".join((self.dataset, self.teacher, self.questions)).encode()).hexdigest()[:8]


@dataclass(frozen=True, kw_only=True)
class SetState:
    """What an answer directory says about itself without reading its answers. `problem` is the error of one that cannot
    be read; `images` of one that is not complete is the number of its shards times the size of the first."""

    complete: bool = False
    images: int = 0
    errors: int = 0
    questions: int | None = None
    model: str | None = None
    splits: tuple[str, ...] = ()
    shard_size: int = 0
    problem: str | None = None

    @property
    def size(self) -> int:
        """The number of answers."""
        return self.images * (self.questions or 0)


@dataclass(frozen=True, kw_only=True)
class Improvement:
    """The rounds of an improved question set; `name` is its folder."""

    name: str
    record: Record


@dataclass(frozen=True, kw_only=True)
class OpenAnswers:
    """An answer directory that was read."""

    found: AnswerSet
    columns: AnswerColumns
    summary: AnswerSummary


class Sources:
    """A store at the address `store`, folders of `runs`, the images of `dataset` and `question_files` with audits.

    Everything is read on demand and kept until its files change. `cache` is a folder for arrays and thumbnails.
    """

    def __init__(
        self,
        store: str,
        cache: Path,
        *,
        runs: Sequence[Path] = (),
        dataset: ImageDataset | None = None,
        question_files: Sequence[Path] = (),
    ) -> None:
        self.store = store
        self.runs = tuple(runs)
        self.corrections = Corrections(store, runs)
        self.label_audits = LabelAudits(runs)
        self.matches = DetectionMatches()
        self.thumbnails = None if dataset is None else Thumbnails(dataset, cache / "thumbnails")
        self.fresh_seconds = FRESH_SECONDS
        self._cache = cache / "answers"
        self._question_files = tuple(question_files)
        self._lock = threading.RLock()
        self._listed: tuple[float, list[AnswerSet]] = (-FRESH_SECONDS, [])
        self._open: OrderedDict[str, tuple[object, OpenAnswers]] = OrderedDict()
        self._looked: dict[str, float] = {}
        self._states: dict[str, tuple[object, SetState]] = {}
        self._splits = ShardSplits()

    @property
    def dataset(self) -> ImageDataset | None:
        return None if self.thumbnails is None else self.thumbnails.dataset

    def answer_sets(self) -> list[AnswerSet]:
        """The answer directories of the store, complete or not: those of the open dataset first."""
        with self._lock:
            looked, found = self._listed
            if time.monotonic() - looked >= self.fresh_seconds:
                found = [AnswerSet.of(directory) for directory in answer_directories(self.store)]
                found.sort(key=lambda one: not self.shows(one.dataset))
                self._listed = time.monotonic(), found
            return found

    def state(self, one: AnswerSet) -> SetState:
        """What the directory says about itself; an error is part of it, so that one does not hide the others."""
        with self._lock:
            try:
                stamp = directory_state(one.directory)
                kept = self._states.get(one.id)
                if kept is None or kept[0] != stamp:
                    kept = stamp, _set_state(one.directory, self._splits)
                    self._states[one.id] = kept
                return kept[1]
            except AspectsError as error:
                return SetState(problem=str(error))

    def experiments(self) -> list[StoredResults]:
        """The experiments below the folders of runs."""
        return find_results(self.runs)

    def student_runs(self) -> list[StoredRun]:
        """The runs below the folders of runs."""
        return find_runs(self.runs)

    def improvements(self) -> list[Improvement]:
        """The improvements of question sets below the folders of runs; those that cannot be read are left out."""
        paths = [(path, folder) for folder in self.runs for path in files_below(folder, ROUNDS_FILE)]
        return [
            Improvement(name=str(path.parent.relative_to(folder.parent)), record=record)
            for path, folder in paths
            if (record := read_rounds(path)) is not None
        ]

    def shows(self, dataset: str) -> bool:
        """Whether images of this dataset of the store, or the images of its boxes, can be shown."""
        if self.dataset is None:
            return False
        own = self.dataset.name
        return dataset in (own, boxes_name(own, "crop"), boxes_name(own, "drawn"))

    def find(self, answers_id: str | None) -> AnswerSet:
        """The answer directory with this id, by default the largest one, of the open dataset if it has any.

        Raises AnswersMissing.
        """
        found = self.answer_sets()
        if answers_id:
            for one in found:
                if one.id == answers_id:
                    return one
            raise AnswersMissing(f"store {self.store} has no answers '{answers_id}'; choose them on the overview")
        states = {one.id: self.state(one) for one in found}
        known = [one for one in found if states[one.id].images or states[one.id].problem]
        if known:
            return max(known, key=lambda one: (self.shows(one.dataset), states[one.id].size))
        raise AnswersMissing(f"store {self.store} holds no answers; run 'aspects extract' or check the store's name")

    def answers(self, answers_id: str | None = None) -> OpenAnswers:
        """The answers with this id, or the first ones. Raises AnswersMissing, and the errors of `read_columns`."""
        one = self.find(answers_id)
        with self._lock:
            kept = self._open.get(one.id)
            if kept is not None and time.monotonic() - self._looked[one.id] < self.fresh_seconds:
                self._open.move_to_end(one.id)
                return kept[1]
            state = directory_state(one.directory)
            if kept is None or kept[0] != state:
                columns = read_columns(one.directory, self._cache)
                kept = state, OpenAnswers(found=one, columns=columns, summary=read_summary(columns))
            self._open[one.id] = kept
            self._open.move_to_end(one.id)
            self._looked[one.id] = time.monotonic()
            while len(self._open) > OPEN_SETS:
                self._open.popitem(last=False)
            return kept[1]

    def audit(self, questions_fingerprint: str) -> Audit | None:
        """The audit of a question set among the question files; unreadable ones are left out."""
        from teacher.questions.audit_files import AuditUnreadable, read_audit  # with scikit-learn: seconds to import

        for path in self._audit_files():
            try:
                found = read_audit(path)
            except (AuditUnreadable, InputInvalid):
                continue
            if found is not None and found.fingerprint == questions_fingerprint:
                return found
        return None

    def _audit_files(self) -> list[Path]:
        """The question files beside which there is an audit."""
        found = []
        for place in self._question_files:
            if place.is_dir():
                audits = sorted(place.glob(f"*{AUDIT_ENDING}"))
                found += [audit.with_name(audit.name.removesuffix(AUDIT_ENDING) + ".yaml") for audit in audits]
            else:
                found.append(place)
        return found


def _set_state(directory: AnswerDirectory, splits: ShardSplits) -> SetState:
    manifest = directory.manifest()
    if manifest is None:
        shards = directory.shard_files()
        if not shards:
            return SetState()
        first = directory.load_shard(shards[0], ())
        return SetState(
            images=len(first.answers.records) * len(shards),
            shard_size=len(first.answers.records),
            questions=len(first.header.questions),
            model=str(first.header.teacher.get("model", "")) or None,
            splits=splits.of(directory),
        )
    return SetState(
        complete=True,
        images=manifest["images"],
        errors=manifest["errors"],
        questions=len(manifest["questions"]),
        model=str(manifest["teacher"].get("model", "")) or None,
        splits=tuple(manifest["splits"]),
    )


def directory_state(directory: AnswerDirectory) -> object:
    """A value that changes with the files of an answer directory."""
    info = directory.filesystem.get_file_info(directory.manifest_path)
    if info.is_file:
        return info.size, info.mtime_ns
    return tuple(directory.stamps().items())


def audited_questions() -> list[Path]:
    """The question files whose audits are shown by default: the folder `questions`, where there is one."""
    return [place for place in (Path("questions"),) if place.is_dir()]


def default_cache() -> Path:
    """The folder for thumbnails and arrays: ASPECTS_CACHE, or `aspects` in the user's cache folder."""
    if named := os.environ.get("ASPECTS_CACHE"):
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "aspects"
