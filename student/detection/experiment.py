"""Many detectors side by side, compared in pairs of one seed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from storage.datasets.base import select
from storage.datasets.detection import DetectionDataset
from student.core.cache import ImageCache
from student.core.experiment import Cell, Grid, Measured, Results, for_results, measure_cells, tell
from student.core.runs import is_finished
from student.detection.config import DetectorConfig
from student.detection.evaluate import DetectionEvaluation, evaluate_detector, read_detection_evaluation
from student.detection.examples import DetectionAnswers, detection_cache, detection_digest
from student.detection.runs import DetectorLog, TrainedDetector
from student.detection.training import TRAIN, train_detector

# What the table has of every detector; the first one counts. Classes of boxes that a split has none of are left out.
METRICS = ("map", "map50", "map75", "small", "medium", "large")


def run_detection_experiment(
    grid: Grid,
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
    cells = grid.cells_of(DetectorConfig, run_dir)
    shown_digest = detection_digest(dataset, select(dataset, (split,)), teacher_answers)
    with ExitStack() as stack:
        stack.enter_context(for_results(run_dir))
        caches: dict[tuple[str, int], ImageCache] = {}

        def decoded(config: DetectorConfig, of: str) -> ImageCache:
            key = of, config.image_size
            if key not in caches:
                path = run_dir / f"images-{of}-{config.image_size}-pixels.uint8"
                cache = detection_cache(config, dataset, select(dataset, (of,)), path, progress=progress)
                caches[key] = stack.enter_context(cache)
            return caches[key]

        def measure(cell: Cell[DetectorConfig], seed: int) -> Measured:
            config, place = cell.config.replace(seed=seed), cell.directory(run_dir, seed)
            run = train_detector(
                config,
                dataset,
                teacher_answers,
                place,
                progress=progress,
                on_epoch=tell(on_epoch, cell.name, seed),
                images=None if is_finished(place) else decoded(config, TRAIN),
            )
            found = read_detection_evaluation(place, split)
            if found is None or found.digest != shown_digest:
                shown = decoded(config, split)
                found = evaluate_detector(
                    place, dataset, teacher_answers, split, images=shown, accelerator=config.accelerator
                )
            return Measured(row=_row(run, found), epochs=run.epochs, images=found.images, train_images=run.train_images)

        return measure_cells(grid, cells, dataset.name, split, run_dir, METRICS, measure)


def _row(run: TrainedDetector, found: DetectionEvaluation) -> dict[str, Any]:
    return {
        "train_images": run.train_images,
        "boxes": found.boxes,
        **{name: getattr(found.scores, name) for name in (*METRICS, "recall")},
        "box_auroc": found.box_auroc,
        "image_auroc": found.image_auroc,
    }
