"""Predicted values are kept apart from answers, and are those that the manifest is about."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from storage.answers.choice import StoredChoice, read_choice, write_choice
from storage.answers.damage import AnswersDamaged
from storage.answers.predicted import LEAST, budget_of, fill_answers, write_predicted
from storage.answers.prune import remove
from storage.answers.read import Answers, read_answers
from storage.answers.store import AnswerDirectory
from tests.storage.contract import write_directory

FACTS = {"pairs": 10, "asked": 8, "error": 0.1, "bound": 0.2, "flips_bound": 0.3, "sample": 2, "confidence": 0.95}


@pytest.fixture
def directory(tmp_path: Path) -> AnswerDirectory:
    return write_directory(str(tmp_path))


def with_gaps(directory: AnswerDirectory, digest: str) -> Answers:
    """The answers without those to the first question about two images; the manifest has the digest."""
    path = Path(directory.manifest_path)
    document = json.loads(path.read_text())
    document.pop("field_digests", None)
    path.write_text(json.dumps(document | {"budget": {**FACTS, "predicted": digest}}))
    answers = read_answers(directory)
    yes, no = answers.yes.copy(), answers.no.copy()
    yes[1:3, 0] = no[1:3, 0] = np.nan
    return replace(answers, yes=yes, no=no)


def predicted_for(directory: AnswerDirectory) -> np.ndarray:
    answers = read_answers(directory)
    p_yes = np.full(answers.yes.shape, np.nan, np.float32)
    p_yes[1:3, 0] = 0.25, 0.0
    return p_yes


def test_gaps_are_filled_and_answers_stay(directory: AnswerDirectory) -> None:
    answers = read_answers(directory)
    assert fill_answers(directory, answers) is answers
    digest = write_predicted(directory, answers.image_ids, answers.questions.keys, predicted_for(directory))
    partial = with_gaps(directory, digest)
    filled = fill_answers(directory, partial)
    np.testing.assert_allclose(filled.p_yes[1:3, 0], [0.25, LEAST], rtol=1e-3)
    known = ~np.isnan(partial.yes)
    np.testing.assert_array_equal(filled.yes[known], partial.yes[known])
    assert pl.scan_parquet(directory.path).collect().height == 5  # not among the shards
    assert pl.read_parquet(directory.predicted_path)[answers.questions.keys[0]].null_count() == 3


@pytest.mark.parametrize("damage", ["missing", "other", "cut"])
def test_another_file_is_damage(directory: AnswerDirectory, damage: str) -> None:
    answers, path = read_answers(directory), Path(directory.predicted_path)
    digest = write_predicted(directory, answers.image_ids, answers.questions.keys, predicted_for(directory))
    partial = with_gaps(directory, "0" * 16 if damage == "other" else digest)
    if damage == "missing":
        path.unlink()
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(AnswersDamaged, match=r"\.predicted .*run 'aspects extract' again to replace it"):
        fill_answers(directory, partial)


def test_the_share_and_the_bound_are_printed() -> None:
    facts = budget_of({"budget": {**FACTS, "predicted": "0"}})
    assert facts is not None
    assert "8 of 10 pairs of image and question (80.0%)" in facts.lines()[0]
    assert "at most 0.200 on average, and at most 30.0%" in facts.lines()[1]
    assert budget_of({}) is None
    with pytest.raises(ValueError, match="bound"):
        budget_of({"budget": {**FACTS, "bound": "low", "predicted": "0"}})


def test_a_choice_is_read_back_for_images_in_any_order(directory: AnswerDirectory) -> None:
    names = ["a", "b", "c"]
    chosen = np.random.default_rng(0).random((3, 11)) < 0.5
    assert not read_choice(directory, names, 11).chosen.any()
    write_choice(directory, names, StoredChoice(chosen=chosen, looks=2, certificate={"bound": 0.1}))
    found = read_choice(directory, ["new", "c", "a"], 11)
    np.testing.assert_array_equal(found.chosen, [np.zeros(11), chosen[2], chosen[0]])
    assert (found.looks, found.certificate) == (2, {"bound": 0.1})
    assert not read_choice(directory, names, 12).chosen.any()
    Path(directory.choice_path).write_bytes(b"no Parquet")
    assert not read_choice(directory, names, 11).chosen.any()


def test_pruning_a_directory_removes_both(directory: AnswerDirectory) -> None:
    write_choice(directory, ["a"], StoredChoice(chosen=np.ones((1, 2), np.bool_)))
    write_predicted(directory, ["a"], ["q"], np.zeros((1, 1), np.float32))
    remove([directory])
    assert not Path(directory.choice_path).exists()
    assert not Path(directory.predicted_path).exists()
