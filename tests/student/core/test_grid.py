from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from student.classification.config import StudentConfig
from student.classification.grid import StudentGrid
from student.classification.recipes import recipe_settings
from student.classification.runs import RunDescription
from student.core.grid import Cell
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
