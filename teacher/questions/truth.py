"""Read the ground truth for an audit: a table of right answers to some of the questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from storage.answers.read import Answers
from storage.errors import InputInvalid
from storage.matching import match_images
from storage.questions import QuestionSet
from storage.statistics import calibration_error
from storage.tables import Table, TableInvalid, read_table

Truth = Mapping[str, Mapping[str, bool]]  # by question key and image id


class TruthInvalid(InputInvalid):
    """The table of right answers cannot be used; the message says what, where and what to do."""


def read_truth(path: Path, questions: QuestionSet) -> Truth:
    """Read the right answers from a CSV or Parquet table, see storage/tables.py. Raises TruthInvalid."""
    try:
        return _right_answers(read_table(path), questions)
    except TableInvalid as error:
        raise TruthInvalid(f"cannot read right answers: {error}") from error


def _right_answers(table: Table, questions: QuestionSet) -> dict[str, dict[str, bool]]:
    keys = [key for key in questions.keys if key in table.columns]
    if "image_id" not in table.columns or not keys:
        raise TruthInvalid(
            f"{table.path} needs a column 'image_id' and one named after a question, e.g. {questions.keys[0]}"
        )
    image_ids, values = table.names("image_id"), table.probabilities(keys)
    return {
        key: {
            image_id: bool(value > 0.5)
            for image_id, value in zip(image_ids, column, strict=True)
            if value == value  # NaN: an empty cell
        }
        for key, column in zip(keys, values.T, strict=True)
    }


def match_truth(truth: Truth, image_ids: Sequence[str], path: Path) -> Truth:
    """Map `truth`, read from `path`, to the ids of the audited images; names in the table may lack folders or the
    suffix.

    Raises TruthInvalid if no image matches, and NamesAmbiguous.
    """
    named = {name for answers in truth.values() for name in answers}
    found = match_images(named, image_ids, path)
    if not found:
        raise TruthInvalid(
            f"{path} has right answers for none of the images: it has names like '{min(named, default='')}', the "
            f"dataset's are like '{image_ids[0]}'"
        )
    return {
        key: {image_id: answers[name] for image_id, name in found.items() if name in answers}
        for key, answers in truth.items()
    }


def score_answers(
    answers: Answers, answered: Sequence[int], key: str, right: Mapping[str, bool] | None
) -> tuple[float | None, float | None]:
    """Compare the answers to the question `key`, of the rows `answered`, with those that are `right` by image id.

    Return AUROC (None if all right answers are equal) and expected calibration error over the images with a known
    right answer."""
    known = [row for row in answered if right is not None and answers.image_ids[row] in right]
    if right is None or not known:
        return None, None
    p_yes = answers.p_yes[known, answers.questions.keys.index(key)]
    target = np.array([right[answers.image_ids[row]] for row in known])
    auroc = float(roc_auc_score(target, p_yes)) if 0 < target.sum() < len(target) else None
    return auroc, calibration_error(p_yes, target)
