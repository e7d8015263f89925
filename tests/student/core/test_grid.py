from __future__ import annotations

import dataclasses
from pathlib import Path

import polars as pl
import pytest

from student.classification.config import StudentConfig
from student.classification.grid import StudentGrid
from student.classification.recipes import recipe_settings
from student.classification.runs import RunDescription
from student.core.grid import Cell
from student.core.results import summarise
from student.core.setting_errors import ConfigInvalid
from tests.student.grids import grid_of


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


def test_grids_that_cannot_be_are_one_line(config: StudentConfig, tmp_path: Path) -> None:
    for seeds in ([], [1, 1]):
        with pytest.raises(ConfigInvalid, match="give at least one, each once"):
            grid_of(config, seeds).cells(tmp_path)
    with pytest.raises(ConfigInvalid, match="grid setting 'method' has no values"):
        grid_of(config, [0], method=[]).cells(tmp_path)
    with pytest.raises(ConfigInvalid, match="student setting 'alhpa' is unknown; did you mean alpha"):
        grid_of(config, [0], alhpa=[1.0]).cells(tmp_path)
    with pytest.raises(ConfigInvalid, match="learns from a KD teacher, but none is given"):
        grid_of(config, [0], method=["kd"]).cells(tmp_path)


def test_a_frozen_grid_trains_equal_methods_once_and_says_what_freeze_leaves_out(tmp_path: Path) -> None:
    methods = ["base", "self-training", "makd-deep", "recommended-without-answers", "recommended"]
    grid = StudentGrid(recipe=recipe_settings("probe"), settings={}, axes={"method": methods}, seeds=[0])
    cells = {cell.name: cell.config for cell in grid.cells(tmp_path)}
    assert list(cells) == ["base", "self-training", "makd", "recommended"]
    assert grid.twin(cells["recommended"]) == cells["self-training"]
    assert grid.left_out_notes(tmp_path) == [
        "with freeze the terms of makd-deep, recommended-without-answers, recommended at inner stages are not trained; "
        "makd-deep is trained as makd; recommended-without-answers is trained as self-training; "
        "aspects do not change the class outputs unless there is a hidden layer (--set hidden=512)"
    ]
    deep = dataclasses.replace(grid, settings={"hidden": 8}, axes={"method": ["base", "makd"]})
    assert deep.left_out_notes(tmp_path) == []
    trained = dataclasses.replace(grid, settings={"freeze": False})
    assert {cell.name: cell.config for cell in trained.cells(tmp_path)}.keys() == cells.keys()
    assert trained.left_out_notes(tmp_path) == [
        "without inner_stages=true the terms of makd-deep, recommended-without-answers, recommended at inner stages "
        "are not trained; makd-deep is trained as makd; recommended-without-answers is trained as self-training"
    ]
    everywhere = dataclasses.replace(grid, settings={"freeze": False, "inner_stages": True})
    assert [cell.name for cell in everywhere.cells(tmp_path)] == methods
    assert everywhere.left_out_notes(tmp_path) == []


def test_cells_are_named_for_what_varies(config: StudentConfig) -> None:
    cell = Cell.of(config.replace(backbone="torchvision:resnet18"), ("backbone", "epochs"))
    assert cell.name == "backbone=torchvision:resnet18,epochs=3"


def test_cells_of_one_name_are_refused_and_long_names_shortened(config: StudentConfig, tmp_path: Path) -> None:
    folders = [str(tmp_path / name) for name in ("a/x.pth", "a-x.pth")]
    with pytest.raises(ConfigInvalid, match=r"two combinations of the grid have the name 'base,weights=.*a-x\.pth'"):
        grid_of(config, [0], method=["base"], weights=folders).cells(tmp_path)
    long = [f"{'weights/' * 40}{name}" for name in ("é" * 30, "b")]
    names = [cell.name for cell in grid_of(config, [0], method=["base"], weights=long).cells(tmp_path)]
    assert len(set(names)) == 2
    assert all(len(name.encode()) < 100 for name in names)
    assert names[0].startswith("base,weights=weights-weights-")


def test_a_baseline_is_that_of_the_settings_that_were_asked_for(config: StudentConfig, tmp_path: Path) -> None:
    # The labels alone have no number of questions, the baseline has; and no network, from which the baseline learns.
    grids = [
        dataclasses.replace(
            grid_of(config, [0], method=["base", "makd"], question_count=[1, 2]), baseline={"method": "makd"}
        ),
        dataclasses.replace(grid_of(config, [0], method=["base", "kd"]), baseline={"method": "kd"}, network={}),
    ]
    for grid, baseline in zip(grids, ("makd,question_count=1", "kd"), strict=True):
        cells = grid.cells(tmp_path)
        rows = [{"cell": cell.name, "seed": 0, "top1": number} for number, cell in enumerate(cells)]
        found = {one.cell: one for one in summarise(pl.DataFrame(rows), cells, grid, ["top1"])}
        assert found["base"].baseline == baseline
        assert found["base"].gain is not None


def test_the_cells_of_an_experiment_fit_too(tmp_path: Path) -> None:
    grid = StudentGrid(
        recipe=recipe_settings("small"),
        settings={},
        axes={"epochs": [1, 30], "method": ["base"]},
        seeds=[0],
        network={"epochs": 2, "backbone": "resnet34"},
    )
    assert [cell.config.warmup for cell in grid.cells(tmp_path) if cell.varied["epochs"] == 1] == [0]
    assert [cell.config.warmup for cell in grid.cells(tmp_path) if cell.varied["epochs"] == 30] == [2]
    assert (larger := grid.kd_teacher()) is not None
    assert (larger.warmup, larger.epochs, larger.method) == (1, 2, "base")


def test_all_cells_are_untrained_without_a_folder(config: StudentConfig, tmp_path: Path) -> None:
    grid = grid_of(config, [0], method=["makd", "base"])
    for folder in (None, tmp_path):
        assert list(grid.untrained_cells(folder, RunDescription, lambda *_: None)) == list(grid.cells(Path()))
