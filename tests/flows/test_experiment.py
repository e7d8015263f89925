"""The ready files under experiments/, and what a file may say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.parameters import DatasetParameters, Experiment
from flows.work.experiment import ExperimentInvalid, check_experiment, read_experiment, run_experiment
from flows.work.inputs import Inputs
from storage.errors import InputInvalid
from tests.conftest import PROJECT
from tests.flows.hosts import Notes, plain_host
from tests.student.conftest import write_images

FILES = sorted((PROJECT / "experiments").glob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_ready_file_is_a_grid_that_can_be_trained(file: Path, tmp_path: Path) -> None:
    experiment = read_experiment(file, {}, {})
    cells = experiment.to_grid().cells(tmp_path)
    assert len(cells) > 1
    assert experiment.runs == f"runs/experiments/{file.stem}"
    assert f"aspects experiment experiments/{file.name}" in file.read_text()


def test_the_command_line_replaces_what_the_file_says(tmp_path: Path) -> None:
    experiment = read_experiment(PROJECT / "experiments" / "alpha.yaml", {"seeds": [7], "store": "s"}, {"epochs": 5})
    (base, *others) = experiment.to_grid().cells(tmp_path)
    assert (experiment.seeds, experiment.store, base.config.epochs) == ([7], "s", 5)
    alphas = [1, 4, 10, 30, 100]
    assert [cell.config.alpha for cell in others] == [*alphas, None, *alphas]


def validated(images: Path, runs: Path, **change: Any) -> Experiment:
    """An experiment on a dataset without a split of the name `validation`, which has no answers."""
    settings = {"backbone": "test_resnet", "image_size": 32, "cache_size": 32, "epochs": 1, "warmup": 0, "threads": 1}
    return Experiment(
        dataset=DatasetParameters(source=str(images)),
        store=str(runs / "store"),
        settings={**settings, "val_fraction": 0.25, **change.pop("settings", {})},
        grid={"method": ["base", "labels-deep"]},
        seeds=[0, 1],
        split="validation",
        runs=str(runs),
        **change,
    )


def test_students_are_compared_on_the_images_that_they_hold_out(tmp_path: Path) -> None:
    write_images(tmp_path / "images")
    notes = Notes()
    results = run_experiment(plain_host(notes), validated(tmp_path / "images", tmp_path / "runs"))
    assert (results.split, results.metrics, results.images, results.val_images) == ("validation", ("val_top1",), 6, 6)
    assert [row["method"] for row in notes.tables["results"]] == ["base", "labels-deep"]
    assert "val top-1" in notes.pages["report"]
    assert not list((tmp_path / "runs").glob("**/evaluation-*"))
    assert (tmp_path / "runs" / "results.png").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"settings": {"val_fraction": 0.0}}, "val_fraction is 0, so that no training images are held out"),
        ({"embed": True}, "set embed: false, or another split"),
    ],
)
def test_impossible_uses_of_validation_images_are_one_line(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    write_images(tmp_path / "images")
    with pytest.raises(InputInvalid, match=message):
        check_experiment(validated(tmp_path / "images", tmp_path / "runs", **change), Inputs())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"grid": None}, "grid: input should be a valid dictionary"),
        ({"grid": {}}, "grid: dictionary should have at least 1 item"),
        ({"seed": [1]}, "seed: extra inputs are not permitted"),
        ({"seeds": ["a"]}, "seeds.0: input should be a valid integer"),
    ],
)
def test_an_invalid_experiment_file_is_reported_in_one_line(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    document = {"dataset": {"source": "photos"}, "grid": {"alpha": [1]}, "runs": "runs"} | change
    file = tmp_path / "experiment.yaml"
    file.write_text(yaml.safe_dump(document))
    with pytest.raises(ExperimentInvalid, match=message) as caught:
        read_experiment(file, {}, {})
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)
