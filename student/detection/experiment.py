"""Many detectors side by side, compared in pairs of one seed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from storage.datasets.base import select
from storage.datasets.detection import DetectionDataset
from student.core.cache import SharedCaches
from student.core.experiment import Evaluated, Measured, epochs_of, experiment_folder, run_cells
from student.core.grid import Cell, Grid
from student.core.images import Images
from student.core.results import Results
from student.core.runs import is_finished
from student.core.settings import TrainingConfig
from student.detection.config import DetectorConfig
from student.detection.evaluate import DetectionEvaluation, evaluate_detector, read_detection_evaluation
from student.detection.examples import DetectionAnswers, detection_cache, detection_digest, require_answers
from student.detection.runs import DetectorDescription, DetectorLog, TrainedDetector
from student.detection.trainable import require_trainable_detector
from student.detection.training import TRAIN, train_detector

# What the table has of every detector; the first one counts. Classes of boxes that a split has none of are left out.
METRICS = ("map", "map50", "map75", "small", "medium", "large")


@dataclass(frozen=True, kw_only=True)
class DetectorGrid(Grid[DetectorConfig]):
    """A grid of detectors."""

    CONFIG: ClassVar[type[TrainingConfig]] = DetectorConfig

    def twin(self, config: DetectorConfig) -> DetectorConfig | None:
        learns_answers = config.box_alpha > 0 or config.whole_alpha > 0
        return config.replace(method="base").effective() if learns_answers else None

    def check(self, images: DetectionDataset, teacher_answers: DetectionAnswers, run_dir: Path | None) -> None:
        """Raise the errors of training any detector about boxes, answers and folders of other runs, before the first
        one is trained."""
        records = select(images, (TRAIN,))
        for cell in self.cells(run_dir or Path()):
            if cell.config.watch is not None:
                select(images, (cell.config.watch,))

        def describe(config: DetectorConfig, digest: str) -> DetectorDescription:
            return DetectorDescription.of(config, images, teacher_answers, digest)

        for cell in self.untrained_cells(run_dir, DetectorDescription, describe):
            used = teacher_answers.used_by(cell.config)
            require_answers(cell.config, images, records, used)
            used.aspects(cell.config)
            require_trainable_detector(cell.config)


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
    grid.cells(run_dir)  # raises for impossible settings before a folder is made
    digest = detection_digest(dataset, select(dataset, (split,)), teacher_answers)
    with ExitStack() as stack:
        stack.enter_context(experiment_folder(run_dir))
        experiment = DetectorExperiment(
            dataset=dataset,
            teacher_answers=teacher_answers,
            run_dir=run_dir,
            split=split,
            digest=digest,
            caches=SharedCaches(run_dir, stack),
            progress=progress,
            on_epoch=on_epoch,
        )
        on = Evaluated(dataset=dataset.name, split=split, metrics=METRICS)
        return run_cells(grid, run_dir, on, experiment.measure)


@dataclass(frozen=True, kw_only=True)
class DetectorExperiment:
    """Trains and evaluates the detectors of a grid on images that they share. `digest` is that of the split's images,
    boxes and answers."""

    dataset: DetectionDataset
    teacher_answers: DetectionAnswers
    run_dir: Path
    split: str
    digest: str
    caches: SharedCaches
    progress: bool
    on_epoch: Callable[[str, int, DetectorLog], None] | None

    def measure(self, cell: Cell[DetectorConfig], seed: int) -> Measured:
        config, place = cell.config.replace(seed=seed), cell.directory(self.run_dir, seed)
        run = train_detector(
            config,
            self.dataset,
            self.teacher_answers,
            place,
            progress=self.progress,
            on_epoch=epochs_of(cell, seed, self.on_epoch),
            images=None if is_finished(place) else self._images(config, TRAIN),
        )
        found = self._scores(config, place)
        return Measured(row=_row(run, found), epochs=run.epochs, images=found.images, train_images=run.train_images)

    def _scores(self, config: DetectorConfig, place: Path) -> DetectionEvaluation:
        """The stored scores if they are of these images, boxes and answers; else new ones."""
        stored = read_detection_evaluation(place, self.split)
        if stored is not None and stored.digest == self.digest:
            return stored
        return evaluate_detector(
            place,
            self.dataset,
            self.teacher_answers,
            self.split,
            images=self._images(config, self.split),
            accelerator=config.accelerator,
        )

    def _images(self, config: DetectorConfig, split: str) -> Images:
        def decode(folder: Path) -> AbstractContextManager[Images]:
            path, records = folder / "detector-pixels.uint8", select(self.dataset, (split,))
            return detection_cache(config, self.dataset, records, path, progress=self.progress)

        return self.caches.get((split, config.image_size, config.damaged_images), decode)


def _row(run: TrainedDetector, found: DetectionEvaluation) -> dict[str, Any]:
    return {
        "train_images": run.train_images,
        "boxes": found.boxes,
        **{name: getattr(found.scores, name) for name in (*METRICS, "recall")},
        "box_auroc": found.box_auroc,
        "image_auroc": found.image_auroc,
    }
