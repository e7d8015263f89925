"""Label audits of the page: computed beside the requests, kept in memory and in the cache of the answers."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotReady
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
from scipy.special import logit

from storage.corrections import CurrentCorrections
from storage.corrections.apply import is_stale

if TYPE_CHECKING:  # scikit-learn takes seconds, and no other page needs it
    from student.classification.label_audit import LabelAudit
    from student.classification.out_of_fold import OutOfFold
    from view.sources import OpenAnswers

LAYOUT = 2  # of audits in the cache
KEPT = 4  # audits in memory, and files of a set of answers
CorrectedLabels = Mapping[int, str | None]  # by row of the answers; None: unsure


@dataclass(frozen=True, kw_only=True)
class FoundAudit:
    """An audit; `current` is False for that of earlier corrections, while the new one is computed."""

    audit: LabelAudit
    current: bool = True


class LabelAudits:
    """Audits of sets of answers, with the newest out-of-fold students below the folders of `runs`. A request waits for
    `wait_seconds` before its page says that the audit is computed."""

    wait_seconds = 2.0

    def __init__(self, runs: Sequence[Path]) -> None:
        self._runs = tuple(runs)
        self._lock = threading.Lock()
        self._workers = ThreadPoolExecutor(1, thread_name_prefix="label-audit")
        self._found: OrderedDict[Path, Future[LabelAudit]] = OrderedDict()

    def get(
        self, found: OpenAnswers, class_names: tuple[str, ...], corrections: CurrentCorrections, *, wait: bool = False
    ) -> FoundAudit | None:
        """The audit of these answers and of the labels as they are corrected; None while the first one is computed,
        unless the caller can `wait`. Raises ExamplesInvalid where labels cannot be judged."""
        from student.classification.label_audit import require_about_images
        from student.classification.out_of_fold import find_out_of_fold

        about = found.columns.header.teacher
        level = "class" if about.get("about") == "classes" or about.get("format") == "lavid" else "image"
        require_about_images(level, found.columns.header.teacher_fingerprint)
        students = find_out_of_fold(self._runs, found.found.dataset)
        corrected = corrected_labels(found, corrections)
        stamp = "" if students is None else f"{students} {students.stat().st_mtime_ns}"
        state = (LAYOUT, class_names, stamp, *([sorted(corrected.items())] if corrected else []))
        path = found.columns.folder / f"labels-{hashlib.sha256(repr(state).encode()).hexdigest()[:16]}.parquet"
        with self._lock:
            earlier = self._earlier(path)
            if path not in self._found:
                work = (path, found, class_names, students, corrected)
                self._found[path] = self._workers.submit(_read_or_judge, *work)
            self._found.move_to_end(path)
            while len(self._found) > KEPT:
                self._found.popitem(last=False)
            future = self._found[path]
        try:
            return FoundAudit(audit=future.result(None if wait else self.wait_seconds))
        except (NotReady, CancelledError):
            if future.done() and not future.cancelled():  # the audit itself has raised it
                raise
            return None if earlier is None else FoundAudit(audit=earlier, current=False)

    def _earlier(self, path: Path) -> LabelAudit | None:
        """The newest finished audit of the same answers. Those that wait for their turn are given up."""
        newest = None
        for other, future in list(self._found.items()):
            if other.parent == path.parent and other != path:
                if future.cancel():
                    del self._found[other]
                elif future.done() and future.exception() is None:
                    newest = future.result()
        return newest


def corrected_labels(found: OpenAnswers, corrections: CurrentCorrections) -> CorrectedLabels:
    """The labels that people have changed; corrections of another version of an image are ignored."""
    rows = found.columns.rows.select("image_id", "image_sha256", "label_name").with_row_index("row")
    rows = rows.filter(pl.col("image_id").is_in(list(corrections.labels)))
    changed = {}
    for row, image_id, digest, label in rows.iter_rows():
        correction = corrections.labels[image_id]
        if not is_stale(correction, digest) and correction.value != (label or None):
            changed[row] = correction.value
    return changed


def _read_or_judge(
    path: Path,
    found: OpenAnswers,
    class_names: tuple[str, ...],
    students: Path | None,
    corrected: CorrectedLabels,
) -> LabelAudit:
    from student.classification.label_audit_files import read_label_audit, write_label_audit
    from student.classification.out_of_fold import read_out_of_fold

    kept = read_label_audit(path)
    if kept is None:
        out_of_fold = None if students is None else read_out_of_fold(students.parent)
        kept = judge_columns(found, class_names, out_of_fold, corrected)
        write_label_audit(path, kept)
        _remove_old(path.parent)
    return kept


def _remove_old(folder: Path) -> None:
    """Delete all but the newest audits of a set of answers: corrections make many."""
    files = [(file.stat().st_mtime_ns, file) for file in folder.glob("labels-*.parquet")]
    for _, file in sorted(files)[:-KEPT]:
        with suppress(FileNotFoundError):  # another process removes it too
            file.unlink()


def judge_columns(
    found: OpenAnswers, class_names: tuple[str, ...], students: OutOfFold | None, corrected: CorrectedLabels
) -> LabelAudit:
    """Judge the labels in the store, some of them `corrected`, by its answers and by students of the same classes."""
    from student.classification.label_audit import AskedQuestions, judge_labels
    from student.classification.label_audit_table import AuditedImages

    columns = found.columns
    places = {name: place for place, name in enumerate(class_names)}
    labels_N = columns.rows["label_name"].replace_strict(places, default=-1, return_dtype=pl.Int64).to_numpy().copy()
    labels_N[(columns.rows["split"] == "unlabelled").to_numpy()] = -1
    for row, name in corrected.items():
        labels_N[row] = -1 if name is None else places.get(name, -1)
    images = AuditedImages(
        image_ids=columns.rows["image_id"].to_list(),
        splits=columns.rows["split"].to_list(),
        labels_N=labels_N,
        class_names=class_names,
    )
    asked = AskedQuestions(questions=columns.header.questions, log_odds_NQ=logit(columns.p_yes.T))
    if students is not None and students.class_names != class_names:
        students = None
    return judge_labels(images, asked, students)
