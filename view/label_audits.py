"""Label audits of the page: computed beside the requests, kept in memory and in the cache of the answers."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotReady
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from scipy.special import logit

if TYPE_CHECKING:  # torch takes seconds, and no other page needs it
    from student.classification.label_audit import LabelAudit
    from student.classification.out_of_fold import OutOfFold
    from view.sources import OpenAnswers

LAYOUT = 1  # of audits in the cache
KEPT = 4  # audits in memory


class LabelAudits:
    """Audits of sets of answers, with the newest out-of-fold students below the folders of `runs`. A request waits for
    `wait_seconds` before its page says that the audit is computed."""

    wait_seconds = 2.0

    def __init__(self, runs: Sequence[Path]) -> None:
        self._runs = tuple(runs)
        self._lock = threading.Lock()
        self._workers = ThreadPoolExecutor(1, thread_name_prefix="label-audit")
        self._found: OrderedDict[Path, Future[LabelAudit]] = OrderedDict()

    def get(self, found: OpenAnswers, class_names: tuple[str, ...]) -> LabelAudit | None:
        """The audit of these answers; None while it is computed. Raises ExamplesInvalid where labels cannot be
        judged."""
        from student.classification.label_audit import require_about_images
        from student.classification.out_of_fold import find_out_of_fold

        about = found.columns.header.teacher
        level = "class" if about.get("about") == "classes" or about.get("format") == "lavid" else "image"
        require_about_images(level, found.columns.header.teacher_fingerprint)
        students = find_out_of_fold(self._runs, found.found.dataset)
        stamp = "" if students is None else f"{students} {students.stat().st_mtime_ns}"
        digest = hashlib.sha256(repr((LAYOUT, class_names, stamp)).encode()).hexdigest()[:16]
        path = found.columns.folder / f"labels-{digest}.parquet"
        with self._lock:
            if path not in self._found:
                self._found[path] = self._workers.submit(_read_or_judge, path, found, class_names, students)
            self._found.move_to_end(path)
            while len(self._found) > KEPT:
                self._found.popitem(last=False)
            future = self._found[path]
        try:
            return future.result(self.wait_seconds)
        except NotReady:
            if future.done():  # the audit itself has raised it
                raise
            return None


def _read_or_judge(path: Path, found: OpenAnswers, class_names: tuple[str, ...], students: Path | None) -> LabelAudit:
    from student.classification.label_audit_files import read_label_audit, write_label_audit
    from student.classification.out_of_fold import read_out_of_fold

    kept = read_label_audit(path)
    if kept is None:
        kept = judge_columns(found, class_names, None if students is None else read_out_of_fold(students.parent))
        write_label_audit(path, kept)
    return kept


def judge_columns(found: OpenAnswers, class_names: tuple[str, ...], students: OutOfFold | None) -> LabelAudit:
    """Judge the labels in the store by its answers, and by students of the same classes."""
    from student.classification.label_audit import AskedQuestions, judge_labels
    from student.classification.label_audit_table import AuditedImages

    columns = found.columns
    places = {name: place for place, name in enumerate(class_names)}
    labels = columns.rows["label_name"].replace_strict(places, default=-1, return_dtype=pl.Int64)
    unlabelled = (columns.rows["split"] == "unlabelled").to_numpy()
    images = AuditedImages(
        image_ids=columns.rows["image_id"].to_list(),
        splits=columns.rows["split"].to_list(),
        labels_N=np.where(unlabelled, -1, labels.to_numpy()),
        class_names=class_names,
    )
    asked = AskedQuestions(questions=columns.header.questions, log_odds_NQ=logit(columns.p_yes.T))
    if students is not None and students.class_names != class_names:
        students = None
    return judge_labels(images, asked, students)
