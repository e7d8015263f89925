"""Answers by column: the same values as `load_answers`, cached until the directory changes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from storage.answers.browsing import Selection, class_histograms, image_surprise, nearest_rows, select_rows
from storage.answers.columns import AnswerColumns, read_columns
from storage.answers.damage import AnswersDamaged, AnswersMissing
from storage.answers.read import load_answers
from storage.answers.shards import cut_shards
from storage.answers.store import AnswerDirectory
from storage.answers.summary import BINS, SUREST, AnswerSummary, read_summary
from storage.datasets.base import ImageRecord
from storage.statistics import class_information, effective_rank
from tests.storage.samples import HEADER, QUESTIONS, answers_for, box_records

RECORDS = tuple(
    ImageRecord(image_id=f"train/{name}/{number}.png", split="train", label=label, label_name=name)
    for label, name in enumerate("ab")
    for number in range(6)
)


def write(store: Path, records: tuple[ImageRecord, ...] = RECORDS, *, complete: bool = True) -> AnswerDirectory:
    directory = AnswerDirectory.locate(str(store), "sample", HEADER.teacher_fingerprint, QUESTIONS.fingerprint)
    answers = answers_for(records, damaged=4)
    shards = cut_shards(records, 5)
    start = 0
    for shard in shards:
        rows = slice(start, start + len(shard.records))
        parts = {name: getattr(answers, name)[rows] for name in ("image_sha256", "errors", "yes", "no")}
        directory.write_shard(shard, HEADER, dataclasses.replace(answers, records=shard.records, **parts))
        start = rows.stop
    if complete:
        directory.complete(HEADER, shards, {"splits": ["train"]})
    return directory


@pytest.fixture
def columns(tmp_path: Path) -> AnswerColumns:
    return read_columns(write(tmp_path / "store"), tmp_path / "cache")


def test_columns_are_the_answers_of_the_store(tmp_path: Path, columns: AnswerColumns) -> None:
    answers = load_answers(write(tmp_path / "store").path)
    np.testing.assert_allclose(columns.p_yes.T, answers.p_yes, atol=1e-6)
    assert columns.rows["image_id"].to_list() == list(answers.image_ids)
    assert columns.rows["error"].to_list() == list(answers.errors)
    assert (columns.class_names, columns.labels.tolist()) == (("a", "b"), [0] * 6 + [1] * 6)
    assert (columns.complete, columns.splits, columns.row_of("train/b/0.png")) == (True, ("train",), 6)
    assert columns.row_of("train/../b/0.png") is None


def test_the_cache_is_used_and_replaced_where_the_answers_change(tmp_path: Path) -> None:
    directory = write(tmp_path / "store", complete=False)
    first = read_columns(directory, tmp_path / "cache")
    (first.folder / "rows.parquet").touch()
    before = (first.folder / "p_yes.npy").stat().st_mtime_ns
    assert read_columns(directory, tmp_path / "cache").folder == first.folder
    assert (first.folder / "p_yes.npy").stat().st_mtime_ns == before
    second = read_columns(write(tmp_path / "store"), tmp_path / "cache")
    assert (first.complete, second.complete) == (False, True)
    assert [path.name for path in second.folder.parent.iterdir()] == [second.folder.name]


def test_ids_of_boxes_have_their_number(tmp_path: Path) -> None:
    records = box_records(6)
    found = read_columns(write(tmp_path / "store", records), tmp_path / "cache")
    assert found.rows["image_id"].to_list() == [record.image_id for record in records]


def test_missing_and_damaged_shards_are_named(tmp_path: Path) -> None:
    directory = write(tmp_path / "store")
    shard = Path(directory.path) / "part-00001.parquet"
    shard.write_bytes(shard.read_bytes()[:50])
    with pytest.raises(AnswersDamaged, match=r"part-00001\.parquet is damaged"):
        read_columns(directory, tmp_path / "cache")
    shard.unlink()
    with pytest.raises(AnswersDamaged, match=r"part-00001\.parquet is missing"):
        read_columns(directory, tmp_path / "cache")
    empty = AnswerDirectory.locate(str(tmp_path), "sample", "0" * 12, "1" * 12)
    with pytest.raises(AnswersMissing, match="no answers in"):
        read_columns(empty, tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.npy"))


def test_summary_is_that_of_all_answers(columns: AnswerColumns) -> None:
    summary = AnswerSummary.of(columns)
    p_yes = np.asarray(columns.p_yes).T
    names = columns.rows["label_name"].to_list()
    np.testing.assert_allclose(summary.bits, class_information(p_yes, names), rtol=1e-6)
    np.testing.assert_allclose(summary.mean, np.nanmean(p_yes, axis=0), rtol=1e-6)
    np.testing.assert_allclose(summary.class_means[1], p_yes[6:].mean(axis=0), rtol=1e-6)
    assert float(summary.rank) == pytest.approx(effective_rank(p_yes[~np.isnan(p_yes).any(axis=1)]))
    assert summary.class_counts.tolist() == [[5] * 3, [6] * 3]
    assert (summary.class_images.tolist(), int(summary.errors)) == ([6, 6], 1)
    assert summary.histogram.sum(axis=1).tolist() == summary.answered.tolist() == [11] * 3
    assert summary.histogram.shape == (3, BINS)
    order = np.argsort(-np.where(np.isnan(p_yes[:, 0]), -1, p_yes[:, 0]))[:11]
    assert summary.surest_yes[0].tolist() == [*order.tolist(), *[-1] * (SUREST - 11)]
    assert summary.surest_no[0].tolist() == [*order[::-1].tolist(), *[-1] * (SUREST - 11)]
    assert sorted(summary.class_order.tolist()) == [0, 1]


def test_the_question_that_separates_two_classes_has_the_largest_gap(columns: AnswerColumns) -> None:
    summary = AnswerSummary.of(columns)
    means = np.array([[0.1, 0.5, np.nan], [0.2, 0.9, 0.9]])
    assert dataclasses.replace(summary, class_means=means).separating(0, 1) == 1
    assert dataclasses.replace(summary, class_means=means * np.nan).separating(0, 1) is None


def test_summary_is_cached(columns: AnswerColumns) -> None:
    first, second = read_summary(columns), read_summary(dataclasses.replace(columns, p_yes=columns.p_yes * 0))
    np.testing.assert_equal(vars(second), vars(first))


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Selection(), list(range(12))),
        (Selection(label_name="b"), [6, 7, 8, 9, 10, 11]),
        (Selection(split="test"), []),
        (Selection(find="b/1"), [7]),
        (Selection(key="is_red", label_name="a"), [0, 1, 2, 3, 5]),
        (Selection(key="unknown"), []),
    ],
)
def test_images_are_filtered(columns: AnswerColumns, wanted: Selection, expected: list[int]) -> None:
    assert select_rows(columns, AnswerSummary.of(columns), wanted).tolist() == expected


@pytest.mark.parametrize("order", ["yes", "no", "unsure"])
def test_images_are_ordered_by_their_answer(columns: AnswerColumns, order: str) -> None:
    wanted = Selection(key="is_red", order=order, low=0.1, high=0.9)  # type: ignore[arg-type]
    values = columns.p_yes[1][select_rows(columns, AnswerSummary.of(columns), wanted)]
    score = {"yes": -values, "no": values, "unsure": np.abs(values - 0.5)}[order]
    assert len(values) > 5
    assert (np.diff(score) >= 0).all()
    assert ((values >= 0.1) & (values <= 0.9)).all()


@pytest.mark.parametrize("order", ["stored", "yes", "no", "unsure", "surprise"])
@pytest.mark.parametrize("limit", [1, 4, 50])
def test_a_limit_keeps_the_first_rows(columns: AnswerColumns, order: str, limit: int) -> None:
    columns = dataclasses.replace(columns, p_yes=np.round(columns.p_yes, 1))
    summary, wanted = AnswerSummary.of(columns), Selection(key="is_red", order=order)  # type: ignore[arg-type]
    every = select_rows(columns, summary, wanted)
    assert select_rows(columns, summary, wanted, limit).tolist() == every[:limit].tolist()


def test_surprise_is_the_divergence_from_the_rest_of_the_class(columns: AnswerColumns) -> None:
    p_yes = np.array([[0.9, 0.9, 0.9, 0.1, np.nan, 0.9, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]] * 3, np.float32)
    columns = dataclasses.replace(columns, p_yes=p_yes)
    found = image_surprise(columns, AnswerSummary.of(columns), 0)
    assert found[3] == pytest.approx(0.8 * np.log2(9), rel=1e-5)
    assert found[4] == 0
    assert found[6:] == pytest.approx(0, abs=1e-9)
    ordered = select_rows(columns, AnswerSummary.of(columns), Selection(key="is_red", order="surprise"))
    assert ordered[0] == 3
    assert class_histograms(columns, 0).tolist() == [[0, 1, 0, 0, 0, 0, 0, 0, 0, 4], [0, 0, 0, 0, 0, 6, 0, 0, 0, 0]]


def test_nearest_images_have_the_most_similar_answers(columns: AnswerColumns) -> None:
    rows, distances = nearest_rows(columns, 0, 3)
    p_yes = np.asarray(columns.p_yes)
    every = np.abs(p_yes - p_yes[:, :1]).mean(axis=0)
    expected = [row for row in np.argsort(every).tolist() if row not in (0, 4)][:3]
    assert rows.tolist() == expected
    np.testing.assert_allclose(distances, every[expected], rtol=1e-5)
    assert len(nearest_rows(columns, 4, 3)[0]) == 0
    assert len(nearest_rows(columns, 0, 50)[0]) == 10
