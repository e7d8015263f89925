"""bench/table.py: the table of students that were trained elsewhere."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from bench.flowers import describe, top1
from bench.table import main, merge, read_students
from storage.datasets import FileDataset
from storage.errors import InputInvalid
from student.classification.config import StudentConfig
from student.classification.examples import TeacherAnswers
from student.classification.experiment import run_experiment
from student.core.results import Results
from tests.conftest import PROJECT
from tests.student.grids import grid_of

PUBLISHED = sorted((PROJECT / "bench" / "results").glob("*.parquet"))
Train = Callable[..., Results]
Table = Callable[..., list[dict[str, object]]]


@pytest.fixture
def trained(config: StudentConfig, dataset: FileDataset, teacher_answers: TeacherAnswers, tmp_path: Path) -> Train:
    """Trains an experiment with two labels of each class in a folder of a name."""
    config = config.replace(epochs=1, warmup=0, labels_per_class=2, val_fraction=0.0, keep="last")

    def train(name: str, seeds: list[int], methods: list[str], epochs: int = 1) -> Results:
        grid = grid_of(config.replace(epochs=epochs), seeds, method=methods)
        return run_experiment(grid, dataset, teacher_answers, tmp_path / name, progress=False)

    return train


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Table:
    """What the command prints for a file after folders are added to it."""

    def run(file: str, *folders: str) -> list[dict[str, object]]:
        added = ["--add", *(str(tmp_path / folder) for folder in folders)] if folders else []
        monkeypatch.setattr(sys, "argv", ["table.py", str(tmp_path / file), *added])
        main()
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return run


def test_it_is_that_of_the_experiment(trained: Train, table: Table, tmp_path: Path) -> None:
    results = trained("whole", [0, 3], ["base", "recommended-without-answers", "makd", "recommended"])
    printed = table("kept/whole.parquet", "whole")
    assert table("kept/whole.parquet") == printed  # without the run folders
    assert table("kept/whole.parquet", "whole") == printed  # each student once
    for line, summary in zip(printed, results.metric("top1"), strict=True):
        wanted = json.loads(json.dumps(top1(summary)))
        assert line["method"] == summary.cell
        assert (line["top1"], line["top1_mean"], line["top1_std"]) == tuple(list(wanted.values())[1:])
        assert line["seeds"] == [0, 3]
        assert line["over_base"] == describe(summary.gain)
        assert (line["twin"], line["over_twin"]) == (summary.twin, describe(summary.answers_gain))
    assert printed[-1]["over_twin"] is not None
    assert printed[2]["recommended_over_it"] == describe(results.difference("recommended", "makd"))


def test_differences_are_over_the_seeds_that_both_methods_have(trained: Train, table: Table) -> None:
    trained("first", [0], ["base", "recommended-without-answers"])
    trained("second", [3], ["base", "recommended"])
    base, twin, best = table("both.parquet", "first", "second")
    assert [line["seeds"] for line in (base, twin, best)] == [[0, 3], [0], [3]]
    assert (best["twin"], best["over_twin"], twin["recommended_over_it"]) == (twin["method"], None, None)
    whole = trained("whole", [3], ["base", "recommended"])
    assert best["over_base"] == describe(whole.metric("top1")[1].gain)
    trained("third", [3], ["base", "recommended-without-answers"])
    *_, best = table("both.parquet", "third")
    assert isinstance(best["over_twin"], dict)
    assert len(best["over_twin"]["by_seed"]) == 1


def test_students_that_cannot_be_compared_are_refused(trained: Train, table: Table, tmp_path: Path) -> None:
    trained("one", [0], ["base"])
    trained("longer", [0], ["makd"], epochs=2)
    before = table("one.parquet", "one")
    with pytest.raises(InputInvalid, match="students differ in epochs: 1 and 2; keep these in a file of their own"):
        table("one.parquet", "longer")
    assert table("one.parquet") == before
    pl.read_parquet(tmp_path / "one.parquet").with_columns(dataset=pl.lit("other")).write_parquet(
        tmp_path / "o.parquet"
    )
    with pytest.raises(InputInvalid, match="students differ in dataset: other and "):
        table("o.parquet", "one", "longer")
    older = pl.read_parquet(tmp_path / "one.parquet")
    stored = {name: value for name, value in json.loads(older["settings"][0]).items() if name != "label_smoothing"}
    older.with_columns(settings=pl.lit(json.dumps(stored))).write_parquet(tmp_path / "older.parquet")
    assert table("older.parquet", "one") == before  # a setting that is newer than the file has its default
    with pytest.raises(SystemExit, match="there is no file"):
        table("missing.parquet")
    with pytest.raises(InputInvalid, match="holds no finished experiment"):
        table("new.parquet", "one/base")
    with pytest.raises(InputInvalid, match=r"results\.json is no table of students"):
        table("one/results.json")
    assert not (tmp_path / "new.parquet").exists()


@pytest.mark.parametrize("file", PUBLISHED, ids=lambda path: path.stem)
def test_documentation_has_the_means_of_the_published_students(file: Path) -> None:
    students = merge([read_students(file)])
    page = (PROJECT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert f"bench/results/{file.name}" in page
    right = students.with_columns(top1=pl.col("ranks").list.eval(pl.element() == 1).list.mean())
    for cell, mean in right.group_by("cell").agg(pl.col("top1").mean()).iter_rows():
        assert f"{100 * mean:.1f}" in page, cell
    assert not any("/" in text for text in students["settings"])  # no path of a machine
