import dataclasses
import json
from pathlib import Path

import polars as pl
import pytest
from PIL import Image
from scipy import stats

from storage.answers.read import Answers
from storage.datasets import FileDataset
from storage.questions import AspectQuestion, QuestionSet
from student.classification.config import StudentConfig
from student.classification.examples import TeacherAnswers
from student.classification.experiment import run_experiment
from student.classification.grid import StudentGrid
from student.classification.metrics import COMPARED
from student.classification.plots import plot_features
from student.classification.runs import EpochLog, load_run
from student.core.grid import Cell
from student.core.plots import plot_results
from student.core.results import paired_difference, summarise
from student.core.setting_errors import ConfigInvalid


class Stopped(Exception):
    pass


def grid_of(config: StudentConfig, seeds: list[int], **axes: list) -> StudentGrid:
    return StudentGrid(settings=config.to_dict(), axes=axes or {"method": ["base", "makd"]}, seeds=seeds)


def test_differences_are_paired_by_seed_and_tested_by_student() -> None:
    difference = paired_difference({0: 0.6, 1: 0.9, 2: 0.8}, {2: 0.7, 0: 0.5, 1: 0.7})
    assert difference.values == pytest.approx((0.1, 0.2, 0.1))
    assert difference.mean == pytest.approx(0.4 / 3)
    test = stats.ttest_rel([0.6, 0.9, 0.8], [0.5, 0.7, 0.7])
    assert difference.p == pytest.approx(test.pvalue)
    assert (difference.low, difference.high) == pytest.approx(tuple(test.confidence_interval()))
    alone = paired_difference({0: 0.6}, {0: 0.5})
    assert (alone.std, alone.low, alone.high, alone.p) == (None, None, None, None)
    same = paired_difference({0: 0.5, 1: 0.5}, {0: 0.5, 1: 0.5})
    assert (same.mean, same.std, same.p) == (0.0, 0.0, None)


def test_cells_that_are_the_same_run_are_one(config: StudentConfig, tmp_path: Path) -> None:
    grid = grid_of(config, [0], method=["makd", "base"], alpha=[1.0, 5.0])
    cells = grid.cells(tmp_path)
    assert [cell.name for cell in cells] == ["base", "makd,alpha=1.0", "makd,alpha=5.0"]
    assert [cell.varied["alpha"] for cell in cells] == [None, 1.0, 5.0]
    # The baseline is trained even where the grid does not name it.
    assert [cell.name for cell in grid_of(config, [0], method=["makd"]).cells(tmp_path)] == ["base", "makd"]
    shares = grid_of(config, [0], method=["makd"], train_fraction=[0.5, 1.0]).cells(tmp_path)
    assert [cell.name for cell in shares] == [
        "base,train_fraction=0.5", "makd,train_fraction=0.5", "base,train_fraction=1.0", "makd,train_fraction=1.0",
    ]  # fmt: skip


def test_a_cell_is_compared_with_the_baseline_of_its_own_settings(config: StudentConfig, tmp_path: Path) -> None:
    cells = grid_of(config, [0], method=["makd"], train_fraction=[0.5, 1.0]).cells(tmp_path)
    top1 = {"base,train_fraction=0.5": 0.3, "makd,train_fraction=0.5": 0.4,
            "base,train_fraction=1.0": 0.5, "makd,train_fraction=1.0": 0.7}  # fmt: skip
    rows = [
        {"cell": cell.name, "seed": 0, **dict.fromkeys(("top1", "top5", "macro_accuracy"), top1[cell.name])}
        for cell in cells
    ]
    found = {
        s.cell: s for s in summarise(pl.DataFrame(rows), cells, {"method": "base"}, COMPARED) if s.metric == "top1"
    }
    assert found["base,train_fraction=0.5"].gain is None
    gains = {name: summary.gain.mean for name, summary in found.items() if summary.gain is not None}
    assert gains == pytest.approx({"makd,train_fraction=0.5": 0.1, "makd,train_fraction=1.0": 0.2})


def test_students_are_trained_evaluated_and_written(
    config: StudentConfig, dataset: FileDataset, teacher_answers: TeacherAnswers, tmp_path: Path
) -> None:
    results = run_experiment(grid_of(config, [0, 3]), dataset, teacher_answers, tmp_path, progress=False)
    assert results.table.select("seed", "cell").rows() == [(0, "base"), (0, "makd"), (3, "base"), (3, "makd")]
    assert (results.images, results.train_images, results.val_images) == (12, 18, 6)
    assert [auroc is None for auroc in results.table["aspect_auroc"]] == [True, False, True, False]
    assert pl.read_parquet(tmp_path / "results.parquet").equals(results.table)
    written = json.loads((tmp_path / "results.json").read_text())
    assert [cell["cell"] for cell in written["summary"] if cell["metric"] == "top1"] == ["base", "makd"]
    assert results.difference("makd", "base") == results.metric("top1")[1].gain
    assert {path.name for path in tmp_path.iterdir()} == {"base", "makd", "results.parquet", "results.json"}
    # Text that means a formula, and a character that the font lacks.
    results = dataclasses.replace(results, dataset="$x^{ \U0001f600 [/b]\n")
    plot_results(results, tmp_path / "results.png")
    plot_features(results, dataset, tmp_path, tmp_path / "features.png")
    for name in ("results.png", "features.png"):
        assert Image.open(tmp_path / name).convert("L").getextrema() == (0, 255)


def test_each_student_is_scored_on_the_answers_that_it_learned(
    config: StudentConfig, dataset: FileDataset, answers: Answers, tmp_path: Path
) -> None:
    others = (AspectQuestion(key="of_ice", text="Is it of ice?"), AspectQuestion(key="of_fire", text="Is it of fire?"))
    both = TeacherAnswers(image=answers, classes=dataclasses.replace(answers, questions=QuestionSet(others)))
    results = run_experiment(grid_of(config, [0], method=["makd", "lavid"]), dataset, both, tmp_path, progress=False)
    assert [auroc is None for auroc in results.table["aspect_auroc"]] == [True, False, False]
    scored = {
        name: json.loads((tmp_path / name / "seed-0/evaluation-test.json").read_text()) for name in ("makd", "lavid")
    }
    keys = {name: [aspect["key"] for aspect in evaluation["aspects"]] for name, evaluation in scored.items()}
    assert keys == {"makd": ["is_warm", "is_leafy"], "lavid": ["of_ice", "of_fire"]}


def test_a_stopped_experiment_goes_on_and_a_grown_one_trains_what_is_new(
    config: StudentConfig, dataset: FileDataset, teacher_answers: TeacherAnswers, tmp_path: Path
) -> None:
    def stop_in_second_run(cell: str, seed: int, log: EpochLog) -> None:
        if cell == "makd" and log.epoch == 2:
            raise Stopped

    stopped, whole = tmp_path / "stopped", tmp_path / "whole"
    with pytest.raises(Stopped):
        run_experiment(
            grid_of(config, [0]), dataset, teacher_answers, stopped, progress=False, on_epoch=stop_in_second_run
        )
    assert pl.read_parquet(stopped / "results.parquet")["cell"].to_list() == ["base"]
    trained: list[tuple[str, int, int]] = []

    def note(cell: str, seed: int, log: EpochLog) -> None:
        trained.append((cell, seed, log.epoch))

    went_on = run_experiment(grid_of(config, [0]), dataset, teacher_answers, stopped, progress=False, on_epoch=note)
    assert trained == [("makd", 0, 3)]
    expected = run_experiment(grid_of(config, [0]), dataset, teacher_answers, whole, progress=False)
    measured = ["cell", "seed", "top1", "top5", "val_top1", "loss"]
    assert went_on.table.select(measured).equals(expected.table.select(measured))
    losses = [[log.loss for log in load_run(folder / "makd" / "seed-0").epochs] for folder in (stopped, whole)]
    assert losses[0] == losses[1]
    trained.clear()
    grown = grid_of(config, [0], method=["makd", "class-mean"])
    run_experiment(grown, dataset, teacher_answers, stopped, progress=False, on_epoch=note)
    assert {cell for cell, _, _ in trained} == {"class-mean"}


def test_a_larger_network_is_trained_first_and_learnt_from(
    config: StudentConfig, dataset: FileDataset, teacher_answers: TeacherAnswers, tmp_path: Path
) -> None:
    grid = StudentGrid(
        settings=config.replace(val_fraction=0.0).to_dict(),
        axes={"method": ["kd", "lskd+makd"]},
        seeds=[0],
        network={"backbone": "test_resnet", "epochs": 2},
    )
    results = run_experiment(grid, dataset, teacher_answers, tmp_path, progress=False)
    assert results.table["cell"].to_list() == ["base", "kd", "lskd+makd"]
    assert load_run(tmp_path / "network").description.config.epochs == 2
    logs = {name: load_run(tmp_path / name / "seed-0").epochs[-1] for name in ("base", "kd", "lskd+makd")}
    assert [logs[name].distillation > 0 for name in logs] == [False, True, True]
    assert [logs[name].aspects > 0 for name in logs] == [False, False, True]


def test_grids_that_cannot_be_are_one_line(config: StudentConfig, tmp_path: Path) -> None:
    for seeds in ([], [1, 1]):
        with pytest.raises(ConfigInvalid, match="give at least one, each once"):
            grid_of(config, seeds).cells(tmp_path)
    with pytest.raises(ConfigInvalid, match="grid setting 'method' has no values"):
        grid_of(config, [0], method=[]).cells(tmp_path)
    with pytest.raises(ConfigInvalid, match="student setting 'alhpa' is unknown; did you mean alpha"):
        grid_of(config, [0], alhpa=[1.0]).cells(tmp_path)
    with pytest.raises(ConfigInvalid, match="learns from a larger network, but none is given"):
        grid_of(config, [0], method=["kd"]).cells(tmp_path)


def test_cells_are_named_for_what_varies(config: StudentConfig) -> None:
    cell = Cell.of(config.replace(backbone="torchvision:resnet18"), ("backbone", "epochs"))
    assert cell.name == "backbone=torchvision:resnet18,epochs=3"
