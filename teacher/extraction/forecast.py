"""Forecasts what an extraction will ask and how long it takes. No model is loaded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from storage.answers.directories import answer_directories, audits_of
from storage.answers.reuse import KnownAnswers
from teacher.extraction.comparison import READERS, UNREADABLE
from teacher.extraction.plan import ExtractionPlan

NEEDED = ("images", "questions", "seconds", "start_seconds", "prefix_tokens", "suffix_tokens")


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """Numbers of answers in finished shards (`kept`), known from elsewhere in the store (`reused`), and to be `asked`
    about `images_asked` images. Only a share of all answers, `budget`, is asked if it is given.

    `seconds` of asking, after `start_seconds` of loading, are estimated from the teacher's last run; None if the store
    has none.
    """

    images: int
    questions: int
    kept: int
    reused: int
    asked: int
    images_asked: int
    seconds: float | None
    start_seconds: float | None
    about: str = "images"
    budget: float | None = None

    def lines(self) -> list[str]:
        """Return lines for display."""
        counted = (
            f"{self.images:,} {self.about} x {self.questions} questions: {self.kept:,} answers are in finished shards, "
            f"{self.reused:,} are reused, {self.asked:,} about {self.images_asked:,} {self.about} are to be asked"
        )
        if self.asked == 0:
            return [counted, "no model is loaded: there is nothing to ask"]
        if self.budget is not None:
            most = round(self.budget * self.images * self.questions)
            counted += f"; the budget is {most:,} answers in all, and the time below is without it"
        if self.seconds is None or self.start_seconds is None:
            return [counted, "the time is not known: this teacher has no finished run in the store yet"]
        return [
            counted,
            f"about {duration(self.seconds)}, after {duration(self.start_seconds)} of loading the teacher",
        ]


def forecast(plan: ExtractionPlan, known: KnownAnswers, store: str) -> Forecast:
    """Forecast a plan. Reads the images of missing shards whose digests are unknown; loads no model."""
    keys = plan.header.questions.reuse_keys
    asked = reused = images_asked = 0
    with ThreadPoolExecutor(READERS) as readers:
        for shard in plan.missing:
            start = plan.start(shard)
            digests = readers.map(plan.comparison.digest, range(start, start + len(shard.records)))
            for record, found_digest in zip(shard.records, digests, strict=True):
                digest = known.digest_of(record) if found_digest == UNREADABLE else found_digest
                if digest is None:
                    continue
                yes = np.full(len(keys), np.nan, np.float32)
                found = known.fill(digest, keys, yes, yes.copy())
                reused += found
                asked += len(keys) - found
                images_asked += found < len(keys)
    missing = sum(len(shard.records) for shard in plan.missing)
    seconds, start_seconds = expected_seconds(
        last_account(store, plan.header.teacher_fingerprint), images=images_asked, questions=asked
    )
    return Forecast(
        images=plan.images,
        questions=len(keys),
        kept=(plan.images - missing) * len(keys),
        reused=reused,
        asked=asked,
        images_asked=images_asked,
        seconds=seconds,
        start_seconds=start_seconds,
        about="classes" if plan.subject == "classes" else "images",
    )


def expected_seconds(
    account: Mapping[str, Any] | None, *, images: int, questions: int
) -> tuple[float | None, float | None]:
    """Return the seconds of asking and of loading, estimated from the ledger of an earlier run of the same teacher.

    Time is proportional to the computed tokens: the shared prefix once per image, and the rest of each question. A
    server reports no such counts, so there time is proportional to the questions.
    """
    if not account or not account.get("questions"):
        return None, None
    asking = max(account["seconds"] - account["start_seconds"], 1e-9)
    shared, own = account["prefix_tokens"], account["suffix_tokens"]
    if shared + own == 0:
        return asking * questions / account["questions"], account["start_seconds"]
    tokens = images * shared / max(1, account["images"]) + questions * own / account["questions"]
    return asking * tokens / (shared + own), account["start_seconds"]


def last_account(store: str, teacher_fingerprint: str) -> Mapping[str, Any] | None:
    """Return the ledger of the teacher's largest run on any dataset: short ones say little about speed."""
    accounts: list[Mapping[str, Any]] = []
    for directory in (*answer_directories(store), *answer_directories(audits_of(store))):
        if f"/teacher={teacher_fingerprint}/" in directory.path:
            accounts.extend(filter(is_ledger, (directory.last_manifest() or {}).get("runs", [])))
    return max(accounts, key=lambda account: account["questions"], default=None)


def is_ledger(run: Any) -> bool:
    """Return whether a ledger has the fields needed for a forecast; others are skipped."""
    values = [run.get(name) for name in NEEDED] if isinstance(run, Mapping) else [None]
    return all(isinstance(value, int | float) and 0 <= value < math.inf for value in values)


def duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
