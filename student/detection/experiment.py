"""Many detectors side by side, compared in pairs of one seed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from storage.datasets.base import select
from storage.datasets.detection import DetectionDataset
from student.core.cache import ImageCache, SharedCaches
from student.core.experiment import Evaluated, Measured, epochs_of, experiment_folder, run_cells
from student.core.grid import Cell, Grid
from student.core.results import Results
from student.core.runs import is_finished
from student.core.settings import TrainingConfig
from student.detection.config import DetectorConfig
from student.detection.evaluate import DetectionEvaluation, evaluate_detector, read_detection_evaluation
from student.detection.examples import DetectionAnswers, detection_cache, detection_digest
from student.detection.runs import DetectorLog, TrainedDetector
from student.detection.training import TRAIN, train_detector

# What the table has of every detector; the first one counts. Classes of boxes that a split has none of are left out.
METRICS = ("map", "map50", "map75", "small", "medium", "large")


@dataclass(frozen=True, kw_only=True)
class DetectorGrid(Grid[DetectorConfig]):
    """A grid of detectors."""

    CONFIG: ClassVar[type[TrainingConfig]] = DetectorConfig


def run_detection_experiment(
    grid: DetectorGrid,
    dataset: DetectionDataset,
    teacher_answers: DetectionAnswers,
    run_dir: Path,
    *,
    split: str = "test",
    progress: bool = True,
    on_epoch: Callable[[str, int, DetectorLog], None] | None = None,
) -> Results:
    """Train and evaluate every cell with every seed in `run_dir/CELL/seed-N`, seed by seed.

    Finished runs are not trained again. Writes results.parquet after every detector, and results.json at the end.
    """
    grid.cells(run_dir)  # refuses what is impossible before a folder is made
    digest = detection_digest(dataset, select(dataset, (split,)), teacher_answers)
    with ExitStack() as stack:
        stack.enter_context(experiment_folder(run_dir))
        caches = SharedCaches(run_dir, stack)

        def decoded(config: DetectorConfig, of: str) -> ImageCache:
            return caches.get(
                (of, config.image_size, config.damaged_images),
                lambda folder: detection_cache(
                    config, dataset, select(dataset, (of,)), folder / "detector-pixels.uint8", progress=progress
                ),
            )

        def measure(cell: Cell[DetectorConfig], seed: int) -> Measured:
            config, place = cell.config.replace(seed=seed), cell.directory(run_dir, seed)
            run = train_detector(
                config,
                dataset,
                teacher_answers,
                place,
                progress=progress,
                on_epoch=epochs_of(cell, seed, on_epoch),
                images=None if is_finished(place) else decoded(config, TRAIN),
            )
            found = read_detection_evaluation(place, split)
            if found is None or found.digest != digest:
                images = decoded(config, split)
                found = evaluate_detector(
                    place, dataset, teacher_answers, split, images=images, accelerator=config.accelerator
                )
            return Measured(row=_row(run, found), epochs=run.epochs, images=found.images, train_images=run.train_images)

        return run_cells(grid, run_dir, Evaluated(dataset=dataset.name, split=split, metrics=METRICS), measure)


def _row(run: TrainedDetector, found: DetectionEvaluation) -> dict[str, Any]:
    return {
        "train_images": run.train_images,
        "boxes": found.boxes,
        **{name: getattr(found.scores, name) for name in (*METRICS, "recall")},
        "box_auroc": found.box_auroc,
        "image_auroc": found.image_auroc,
    }
