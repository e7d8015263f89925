from __future__ import annotations

from pathlib import Path

import pytest

from storage.datasets import DetectionDataset
from student.detection.config import DetectorConfig
from student.detection.examples import DetectionAnswers
from student.detection.experiment import DetectorGrid, run_detection_experiment


def test_a_second_run_trains_nothing_and_gives_the_same_results(
    scenes: DetectionDataset, detection_answers: DetectionAnswers, detector_config: DetectorConfig, tmp_path: Path
) -> None:
    short = detector_config.replace(epochs=1, warmup=0)
    grid = DetectorGrid(settings=short.to_dict(), axes={"method": ["both"]}, seeds=[0])
    epochs: list[tuple[str, int, int]] = []
    first = run_detection_experiment(
        grid,
        scenes,
        detection_answers,
        tmp_path,
        progress=False,
        on_epoch=lambda cell, seed, log: epochs.append((cell, seed, log.epoch)),
    )
    assert epochs == [("base", 0, 1), ("both", 0, 1)]
    assert first.metrics[0] == "map"
    assert first.table["cell"].to_list() == ["base", "both"]
    # Decoded images are gone.
    assert {path.name for path in tmp_path.iterdir()} == {"base", "both", "results.json", "results.parquet"}
    again = run_detection_experiment(
        grid,
        scenes,
        detection_answers,
        tmp_path,
        progress=False,
        on_epoch=lambda cell, seed, log: pytest.fail("trained again"),
    )
    assert again.table.equals(first.table)
