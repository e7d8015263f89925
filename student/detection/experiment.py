"""Many detectors side by side, compared in pairs of one seed, as `student/experiment.py` does it with classifiers."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import polars as pl

from storage.datasets.base import select
from storage.datasets.detection import DetectionDataset
from student.detection.config import DetectorConfig
from student.detection.evaluate import DetectionEvaluation, evaluate_detector, read_detection_evaluation
from student.detection.examples import DetectionKnowledge, detection_cache, detection_digest
from student.detection.runs import DetectorLog, TrainedDetector
from student.detection.training import TRAIN, train_detector
from student.experiment import Cell, Grid, Results, summarise, tell, write_parquet
from student.images import ImageCache
from student.runs import is_finished, write_json

# What the table has of every detector; the first one counts. Classes of boxes that a split has none of are left out.
METRICS = ("map", "map50", "map75", "small", "medium", "large")


def run_detection_experiment(
    grid: Grid,
    dataset: DetectionDataset,
    knowledge: DetectionKnowledge,
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
    shown_digest = detection_digest(dataset, select(dataset, (split,)), knowledge)
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        photos: dict[tuple[str, int], ImageCache] = {}

        def decoded(config: DetectorConfig, of: str) -> ImageCache:
            key = of, config.image_size
            if key not in photos:
                path = run_dir / f"photos-{of}-{config.image_size}.uint8"
                cache = detection_cache(config, dataset, select(dataset, (of,)), path, progress=progress)
                photos[key] = stack.enter_context(cache)
            return photos[key]

        for seed, cell in itertools.product(grid.seeds, cells):
            config, place = cell.config.replace(seed=seed), cell.directory(run_dir, seed)
            run = train_detector(
                config,
                dataset,
                knowledge,
                place,
                progress=progress,
                on_epoch=tell(on_epoch, cell.name, seed),
                photos=None if is_finished(place) else decoded(config, TRAIN),
            )
            scores = read_detection_evaluation(run.run_dir, split)
            if scores is None or scores.digest != shown_digest:
                shown = decoded(config, split)
                scores = evaluate_detector(
                    run.run_dir, dataset, knowledge, split, photos=shown, accelerator=config.accelerator
                )
            shown_images = scores.images
            rows.append(_row(cell, seed, run, scores, run_dir))
            table = pl.DataFrame(rows, infer_schema_length=None)
            write_parquet(run_dir / "results.parquet", table)
    results = Results(
        dataset=dataset.name,
        split=split,
        images=shown_images,
        train_images=run.train_images,
        val_images=0,
        settings={name: value for name, value in cells[0].config.to_dict().items() if name not in cells[0].varied},
        table=table,
        summary=summarise(table, cells, grid.baseline, [name for name in METRICS if table[name].null_count() == 0]),
    )
    write_json(run_dir / "results.json", results.to_dict())
    return results


def _row(
    cell: Cell[DetectorConfig], seed: int, run: TrainedDetector, scores: DetectionEvaluation, run_dir: Path
) -> dict[str, Any]:
    seconds = sum(log.seconds for log in run.epochs)
    return {
        **cell.columns(seed),
        "train_images": run.train_images,
        "boxes": scores.boxes,
        **{name: getattr(scores.scores, name) for name in (*METRICS, "recall")},
        "box_auroc": scores.box_auroc,
        "image_auroc": scores.image_auroc,
        "seconds": seconds,
        "images_per_second": sum(log.images_per_second * log.seconds for log in run.epochs) / seconds,
        "run": str(run.run_dir.relative_to(run_dir)),
    }
