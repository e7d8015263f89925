"""Many classifiers side by side, compared in pairs of one seed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.answers.read import Answers
from storage.datasets.base import ImageDataset, select
from student.classification.config import StudentConfig
from student.classification.evaluate import Evaluation, evaluate, read_evaluation
from student.classification.examples import TeacherAnswers, digest_of, training_records
from student.classification.grid import StudentGrid
from student.classification.images import evaluation_cache, training_cache
from student.classification.kd_teacher import NETWORK, learns_from
from student.classification.metrics import COMPARED
from student.classification.runs import EpochLog, TrainedStudent
from student.classification.training import train
from student.core.cache import ImageCache, SharedCaches
from student.core.experiment import Evaluated, Measured, epochs_of, experiment_folder, run_cells
from student.core.grid import Cell
from student.core.results import Results
from student.core.runs import is_begun, is_finished

SEED_PLACE = "{seed}"  # in a folder that is given for the network


def run_experiment(
    grid: StudentGrid,
    dataset: ImageDataset,
    teacher_answers: TeacherAnswers,
    run_dir: Path,
    *,
    split: str = "test",
    progress: bool = True,
    on_epoch: Callable[[str, int, EpochLog], None] | None = None,
) -> Results:
    """Train and evaluate every cell with every seed in `run_dir/CELL/seed-N`, seed by seed.

    Finished runs are not trained again, so an interrupted experiment resumes, and one that has grown trains what is
    new. Writes results.parquet, a row for each student, after every one of them, and results.json at the end. Raises
    what `train` and `evaluate` raise.
    """
    grid.cells(run_dir)  # refuses what is impossible before a folder is made
    select(dataset, (split,))
    with ExitStack() as stack:
        stack.enter_context(experiment_folder(run_dir))
        experiment = StudentExperiment(
            grid=grid,
            dataset=dataset,
            teacher_answers=teacher_answers,
            run_dir=run_dir,
            split=split,
            caches=SharedCaches(run_dir, stack),
            progress=progress,
            on_epoch=on_epoch,
        )
        on = Evaluated(dataset=dataset.name, split=split, metrics=COMPARED)
        return run_cells(grid, run_dir, on, experiment.measure)


@dataclass(frozen=True, kw_only=True)
class StudentExperiment:
    """What trains and evaluates the students of a grid, with the images that they share."""

    grid: StudentGrid
    dataset: ImageDataset
    teacher_answers: TeacherAnswers
    run_dir: Path
    split: str
    caches: SharedCaches
    progress: bool
    on_epoch: Callable[[str, int, EpochLog], None] | None

    def measure(self, cell: Cell[StudentConfig], seed: int) -> Measured:
        config, place = cell.config.replace(seed=seed), cell.directory(self.run_dir, seed)
        if config.objective.network_terms:
            config = config.replace(network=self._kd_teacher(config, place))
        run = self._train(config, place, epochs_of(cell, seed, self.on_epoch))
        scores = self._scores(run, config)
        return Measured(
            row=_row(run, scores),
            epochs=run.epochs,
            images=scores.images,
            train_images=run.train_images,
            val_images=run.val_images,
        )

    def _kd_teacher(self, config: StudentConfig, place: Path) -> str:
        """The folder of the network that the student in `place` learns from, trained if it is not there yet."""
        if self.grid.network is None:
            return str(config.network).replace(SEED_PLACE, str(config.seed))
        if is_begun(place) and learns_from(place, self.run_dir / NETWORK):
            return str(self.run_dir / NETWORK)
        teacher, name = self.grid.kd_teacher_for(config)
        self._train(teacher, self.run_dir / name, None)
        return str(self.run_dir / name)

    def _train(self, config: StudentConfig, place: Path, on_epoch: Callable[[EpochLog], None] | None) -> TrainedStudent:
        images = (
            None if is_finished(place) else shared_training_images(self.caches, config, self.dataset, self.progress)
        )
        return train(
            config,
            self.dataset,
            self.teacher_answers,
            place,
            progress=self.progress,
            on_epoch=on_epoch,
            images=images,
        )

    def _scores(self, run: TrainedStudent, config: StudentConfig) -> Evaluation:
        """The stored scores if they are of these images, labels and answers and have every metric; else new ones."""
        answers = learned_answers(self.teacher_answers, run)
        stored = read_evaluation(run.run_dir, self.split)
        digest = digest_of(self.dataset, select(self.dataset, (self.split,)), TeacherAnswers(image=answers))
        if stored is not None and stored.digest == digest and None not in stored.metrics.values():
            return stored
        images = shared_evaluation_images(self.caches, config, self.dataset, self.split, self.progress)
        return evaluate(run.run_dir, self.dataset, answers, self.split, images=images, accelerator=config.accelerator)


def learned_answers(teacher_answers: TeacherAnswers, run: TrainedStudent) -> Answers | None:
    """Those of the given answers that the run's aspects can be scored on: the ones about the image first."""
    keys = set(run.description.aspect_keys)
    return next((answers for answers in teacher_answers.given if keys.intersection(answers.questions.keys)), None)


def shared_training_images(
    caches: SharedCaches, config: StudentConfig, dataset: ImageDataset, progress: bool
) -> ImageCache:
    return caches.get(
        ("train", config.stored_size, config.damaged_images),
        lambda folder: training_cache(config, dataset, training_records(dataset), folder, progress=progress),
    )


def shared_evaluation_images(
    caches: SharedCaches, config: StudentConfig, dataset: ImageDataset, split: str, progress: bool
) -> ImageCache:
    return caches.get(
        (split, config.shown_size, config.image_size, config.damaged_images),
        lambda folder: evaluation_cache(config, dataset, select(dataset, (split,)), folder, progress=progress),
    )


def _row(run: TrainedStudent, scores: Evaluation) -> dict[str, Any]:
    return {
        "best_epoch": run.best_epoch,
        "train_images": run.train_images,
        "val_top1": run.val_top1,
        "val_loss": run.epochs[run.best_epoch - 1].val_loss,
        **scores.metrics,
        "aspect_auroc": scores.aspect_auroc,
        "aspect_ece": scores.aspect_ece,
    }
