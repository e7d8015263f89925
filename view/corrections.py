"""The corrections that the page shows and records."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.answers.read import read_answers
from storage.corrections import Correction, CorrectionFolder, CorrectionInvalid, CurrentCorrections
from storage.corrections import current_corrections as find_current
from storage.corrections.queue import Item, Queue
from storage.corrections.rows import NO, YES
from storage.text import printable
from student.classification.out_of_fold import expected_answers, find_out_of_fold, read_out_of_fold

if TYPE_CHECKING:
    from view.sources import OpenAnswers, Sources

UNSURE = "unsure"


class Corrections:
    """Folders of corrections and queues of a store, opened when they are needed and kept. The newest out-of-fold
    students below the folders of `runs` take part in the order of a queue."""

    def __init__(self, store: str, runs: Sequence[Path] = ()) -> None:
        self._store, self._runs = store, tuple(runs)
        self._lock = threading.RLock()
        self._folders: dict[str, CorrectionFolder] = {}
        self._current: dict[str, tuple[list[Correction], CurrentCorrections]] = {}
        self._queue: tuple[object, Queue] | None = None

    def folder(self, dataset: str) -> CorrectionFolder:
        with self._lock:
            if dataset not in self._folders:
                self._folders[dataset] = CorrectionFolder.open(self._store, dataset)
            return self._folders[dataset]

    def current(self, dataset: str) -> CurrentCorrections:
        """The corrections that count now. Raises the errors of `CorrectionFolder.read`."""
        rows = self.folder(dataset).read()
        kept = self._current.get(dataset)
        if kept is None or kept[0] is not rows:  # a folder with new rows makes a new list
            kept = rows, find_current(rows)
            self._current[dataset] = kept
        return kept[1]

    def queue(self, found: OpenAnswers) -> Queue:
        """The queue of a set of answers, that of the last one asked for is kept. Raises AnswersMissing for a set that
        is not complete."""
        path = find_out_of_fold(self._runs, found.found.dataset)
        with self._lock:
            # The folder is another one where the answers have changed.
            state = found.columns.folder, path, None if path is None else path.stat().st_mtime_ns
            if self._queue is None or self._queue[0] != state:
                self._queue = None  # two queues would take twice the memory
                answers = read_answers(found.found.directory)
                students = None if path is None else read_out_of_fold(path.parent)
                said = None if students is None else expected_answers(students, answers)
                self._queue = state, Queue.of(answers, said)
            return self._queue[1]


def class_names(sources: Sources, found: OpenAnswers) -> tuple[str, ...]:
    """The classes that a label may have."""
    if sources.dataset is not None and sources.shows(found.found.dataset):
        return tuple(sources.dataset.class_names)
    return found.columns.class_names


def requested(found: OpenAnswers, class_names: Sequence[str], given: Mapping[str, Any]) -> Correction:
    """The correction that a request asks for: `image_id`, `kind` and `value`, for an answer `key` too, and optional
    `note`. An empty value, or unsure for an answer, is None. Raises CorrectionInvalid."""
    image_id, kind, value = (_text(given, name) for name in ("image_id", "kind", "value"))
    row = found.columns.row_of(image_id)
    if row is None:
        raise CorrectionInvalid(f"these answers are not about an image '{printable(image_id, 200)}'")
    about = found.columns.rows.row(row, named=True)
    common = {
        "image_id": image_id,
        "image_sha256": about["image_sha256"],
        "teacher": found.columns.header.teacher_fingerprint,
        "note": _text(given, "note") or None,
    }
    if kind == "label":
        if value and value not in class_names:
            raise CorrectionInvalid(f"the dataset has no class '{printable(value, 100)}'")
        return Correction(kind="label", value=value or None, old=about["label_name"] or None, **common)
    if kind != "answer":
        raise CorrectionInvalid(f"kind is '{printable(kind, 40)}'; use label or answer")
    key = _text(given, "key")
    column = found.columns.question(key)
    if column is None:
        raise CorrectionInvalid(f"the question set has no question '{printable(key, 100)}'")
    p_yes = float(found.columns.p_yes[column, row])
    return Correction(
        kind="answer",
        key=key,
        text=found.columns.header.questions.questions[column].text,
        value=None if value in ("", UNSURE) else value,
        p_yes=None if p_yes != p_yes else p_yes,
        old=None if p_yes != p_yes else YES if p_yes > 0.5 else NO,
        **common,
    )


def _text(given: Mapping[str, Any], name: str) -> str:
    value = given.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise CorrectionInvalid(f"'{name}' is {printable(repr(value), 60)}, not text")
    return value


def as_drawn(correction: Correction, item: Item) -> Correction:
    """The correction of the answer that a queue asked about, with how the answer was drawn."""
    return replace(correction, shown=item.shown, probability=item.probability, pool=item.pool)
