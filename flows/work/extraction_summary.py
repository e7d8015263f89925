"""The results of an extraction, and how they are displayed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flows.cli.report import listed
from storage.answers.predicted import BudgetFacts
from storage.errors import RunFailed
from teacher.extraction.failures import is_for_now
from teacher.extraction.ledger import Ledger

if TYPE_CHECKING:
    from student.core.results import Results


@dataclass(frozen=True, kw_only=True)
class ExtractionSummary:
    """The results of an extraction, and the error of each image without answers.

    `ledger` is None if nothing was asked, `budget` if every pair is. `results` are the students, if any were trained.
    """

    directory: str
    images: int
    questions: int
    shards: int
    shards_kept: int
    failures: Mapping[str, str]
    about: str = "images"
    ledger: Ledger | None = None
    budget: BudgetFacts | None = None
    results: Results | None = None

    @property
    def asked(self) -> int:
        """The number of answers asked of the teacher."""
        return self.ledger.questions if self.ledger else 0

    @property
    def for_now(self) -> list[str]:
        """The images without answers that will be asked about again."""
        return [image_id for image_id, error in self.failures.items() if is_for_now(error)]

    @property
    def reused(self) -> int:
        """The number of answers from other directories of the store."""
        return self.ledger.reused if self.ledger else 0


class ImagesUnanswered(RunFailed):
    """Images temporarily have no answers; the message says how many and what to do."""


def require_all(summaries: Iterable[ExtractionSummary]) -> None:
    """Raise ImagesUnanswered if images temporarily have no answers."""
    if waiting := [image_id for summary in summaries for image_id in summary.for_now]:
        raise ImagesUnanswered(
            f"{len(waiting)} images could not be read now and have no answers yet, e.g. {waiting[0]}; all other "
            "answers are kept: run the same command again when these images can be read"
        )


def describe(summary: ExtractionSummary) -> list[str]:
    """Return the summary as lines for display."""
    return [
        f"{summary.images} {summary.about} x {summary.questions} questions: {summary.asked} answers asked, "
        f"{summary.reused} reused, {summary.shards_kept} of {summary.shards} shards were already there",
        *(summary.ledger.lines(summary.about) if summary.ledger else []),
        *(summary.budget.lines() if summary.budget else []),
        f"answers: {summary.directory}",
        *listed(f"{summary.about} without answers", dict(summary.failures)),
        *([f"to be asked about again: {len(summary.for_now)}"] if summary.for_now else []),
    ]
