"""The corrections in effect: the last one of each label and answer that is not undone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from storage.corrections.rows import Correction


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentCorrections:
    """Corrections of labels by image id, and of answers by image id and text of the question."""

    labels: Mapping[str, Correction] = field(default_factory=dict)
    answers: Mapping[tuple[str, str], Correction] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels) + len(self.answers)

    @property
    def rows(self) -> list[Correction]:
        """Return all of them, in the order of recording."""
        return sorted((*self.labels.values(), *self.answers.values()), key=lambda row: (row.at, row.correction))


def current_corrections(rows: Iterable[Correction]) -> CurrentCorrections:
    """Return the corrections in effect, from all rows in the order of recording. An answer that a queue has drawn stays
    drawn when it is corrected again."""
    rows = list(rows)
    undone = {row.undoes for row in rows if row.undoes is not None}
    labels: dict[str, Correction] = {}
    answers: dict[tuple[str, str], Correction] = {}
    for row in rows:
        if row.undoes is not None or row.correction in undone:
            continue
        if row.kind == "label":
            labels[row.image_id] = row
        else:
            before = answers.get((row.image_id, row.text or ""))
            if before is not None and before.probability is not None and row.probability is None:
                row = replace(row, probability=before.probability, pool=before.pool)
            answers[row.image_id, row.text or ""] = row
    return CurrentCorrections(labels=labels, answers=answers)
