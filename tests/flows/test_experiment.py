"""The ready files under experiments/, and what a file may say."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from flows.work.experiment import ExperimentInvalid, read_experiment
from tests.conftest import PROJECT

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
    assert [cell.config.alpha for cell in others] == [1, 4, 10, 30, 100] * 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"grid": None}, "grid: input should be a valid dictionary"),
        ({"grid": {}}, "grid: dictionary should have at least 1 item"),
        ({"seed": [1]}, "seed: extra inputs are not permitted"),
        ({"seeds": ["a"]}, "seeds.0: input should be a valid integer"),
    ],
)
def test_a_file_that_says_something_else_is_one_line(tmp_path: Path, change: dict[str, object], message: str) -> None:
    document = {"dataset": {"source": "photos"}, "grid": {"alpha": [1]}, "runs": "runs"} | change
    file = tmp_path / "experiment.yaml"
    file.write_text(yaml.safe_dump(document))
    with pytest.raises(ExperimentInvalid, match=message) as caught:
        read_experiment(file, {}, {})
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)
