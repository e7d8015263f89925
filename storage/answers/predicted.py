"""Predicted p(yes) of pairs that a teacher was not asked, apart from what it answered.

They are stored next to the manifest, as `questions=<set fingerprint>.predicted` (Parquet: image_id, then one float32
column for each question, named by its key; null where the teacher has answered). The manifest has the digest of the
file, and in `budget` how far the values are from what the teacher would answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import ValidationError

from storage.answers.damage import AnswersDamaged, damage
from storage.answers.header import StoredFields, first_problem
from storage.answers.read import Answers
from storage.answers.store import AnswerDirectory
from storage.answers.writing import write_patiently
from storage.filesystem import read_file, write_whole

LEAST = 1e-4  # p(yes) is kept this far from 0 and 1: its logarithm is finite


class BudgetFacts(StoredFields):
    """The field `budget` of a manifest: an extraction that asked some of the pairs.

    `asked` of all `pairs` of image and question have an answer. `error` is the mean |p(yes) - predicted p(yes)| of the
    `sample` pairs that were asked for the comparison alone. With a probability of `confidence`, for all pairs that were
    not asked it is at most `bound`, and at most a share of `flips_bound` has a predicted answer, yes or no, that is not
    the teacher's.
    """

    pairs: int
    asked: int
    error: float
    bound: float
    flips_bound: float
    sample: int
    confidence: float
    predicted: str

    def lines(self) -> list[str]:
        """Return lines for display."""
        return [
            f"{self.asked:,} of {self.pairs:,} pairs of image and question ({self.asked / self.pairs:.1%}) have an "
            "answer, the others are predicted",
            f"the predicted p(yes) are wrong by at most {self.bound:.3f} on average, and at most "
            f"{self.flips_bound:.1%} of the predicted answers are not the teacher's, with {self.confidence:.0%} "
            f"confidence ({self.error:.3f} on {self.sample:,} pairs asked for the comparison)",
        ]


def budget_of(manifest: Mapping[str, Any]) -> BudgetFacts | None:
    """Return the facts about the budget; None where every pair was asked. Raises ValueError."""
    if "budget" not in manifest:
        return None
    try:
        return BudgetFacts.model_validate(manifest["budget"])
    except ValidationError as error:
        raise ValueError(first_problem(error)) from error


def write_predicted(
    directory: AnswerDirectory, image_ids: Sequence[str], keys: Sequence[str], p_yes: NDArray[np.float32]
) -> str:
    """Replace the predicted values [I, Q], NaN where there is none; return the digest of the file.

    Raises StorageUnavailable.
    """
    columns = [pa.array(image_ids, pa.string())]
    columns += [pa.array(np.ascontiguousarray(p_yes[:, place]), from_pandas=True) for place in range(len(keys))]
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.table(columns, ["image_id", *keys]), buffer, compression="zstd", write_page_checksum=True)
    data = bytes(buffer.getvalue().to_pybytes())
    path = directory.predicted_path
    write_patiently(lambda: write_whole(directory.filesystem, path, data), path)
    return digest_of(data)


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def fill_answers(directory: AnswerDirectory, answers: Answers) -> Answers:
    """Return the `answers` of a directory with the predicted values of pairs that were not asked; the same answers
    where every pair was asked.

    Raises AnswersDamaged, VersionUnsupported and StorageUnavailable.
    """
    with damage(f"manifest {directory.manifest_path}", "rebuild"):
        facts = budget_of(directory.manifest() or {})
    if facts is None:
        return answers
    path = directory.predicted_path
    try:
        data = read_file(directory.filesystem, path)
    except FileNotFoundError as error:
        raise AnswersDamaged(f"{path} is missing; run 'aspects extract' again to replace it") from error
    with damage(path, "replace"):
        if digest_of(data) != facts.predicted:
            raise ValueError("it is not the file that the manifest is about")
        table = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True).read()
        if tuple(table["image_id"].to_pylist()) != answers.image_ids:
            raise ValueError("its images are not those of the answers")
        p_yes = np.stack([table[key].to_numpy() for key in answers.questions.keys], axis=1)
    p_yes = np.clip(p_yes, LEAST, 1 - LEAST)
    asked = ~np.isnan(answers.yes)
    yes, no = (
        np.where(asked, known, values)
        for known, values in ((answers.yes, np.log(p_yes)), (answers.no, np.log1p(-p_yes)))
    )
    return replace(answers, yes=yes.astype(np.float32), no=no.astype(np.float32))
