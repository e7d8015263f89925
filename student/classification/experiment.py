"""Many classifiers side by side, compared in pairs of one seed.

Results are of a split of the dataset. Where it has none of the name `validation`, that name stands for the images that
each student has held out of its own training images, to choose settings by without looking at the test split.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from storage.answers.read import Answers
from storage.datasets.base import ImageDataset, ImageRecord, select
from student.classification.calibration import VALIDATION
from student.classification.config import StudentConfig
from student.classification.evaluate import Evaluation, evaluate, read_evaluation
from student.classification.examples import TeacherAnswers, digest_of, training_records
from student.classification.features import SharedFeatures, evaluation_features, features_key
from student.classification.grid import StudentGrid
from student.classification.group_scores import WORST_GROUP, ImageGroups
from student.classification.images import evaluation_cache, training_cache
from student.classification.kd_teacher import NETWORK, SEED_PLACE, learns_from
from student.classification.metrics import COMPARED
from student.classification.predictions import image_scores, read_predictions
from student.classification.runs import EpochLog, TrainedStudent
from student.classification.splits import all_labelled
from student.classification.task import TrainingImages
from student.classification.training import train
from student.core.cache import SharedCaches
from student.core.examples import ExamplesInvalid
from student.core.experiment import Evaluated, Measured, epochs_of, experiment_folder, run_cells
from student.core.grid import Cell
from student.core.images import Images
from student.core.results import Results
from student.core.runs import is_begun, is_finished
from student.core.setting_errors import ConfigInvalid


def run_experiment(
    grid: StudentGrid,
    dataset: ImageDataset,
    teacher_answers: TeacherAnswers,
    run_dir: Path,
    *,
    split: str = "test",
    progress: bool = True,
    on_epoch: Callable[[str, int, EpochLog], None] | None = None,
    groups: ImageGroups | None = None,
    metric: str | None = None,
) -> Results:
    """Train and evaluate every cell with every seed in `run_dir/CELL/seed-N`, seed by seed.

    With `groups` the accuracy of the worst of them is a metric too. Gains are in `metric`, by default the first one.
    Finished runs are not trained again, so an interrupted experiment resumes, and one that has grown trains what is
    new. Writes results.parquet, a row for each student, after every one of them, and results.json at the end. Raises
    what `train` and `evaluate` raise.
    """
    grid = dataclasses.replace(grid, labelled=all_labelled(training_records(dataset)))
    grid.cells(run_dir)  # raises for impossible settings before a folder is made
    require_split(grid, dataset, run_dir, split)
    metrics = compared_metrics(dataset, split, grouped=groups is not None, first=metric)
    with ExitStack() as stack:
        stack.enter_context(experiment_folder(run_dir))
        experiment = StudentExperiment(
            grid=grid,
            dataset=dataset,
            teacher_answers=teacher_answers,
            run_dir=run_dir,
            split=split,
            caches=SharedCaches(run_dir, stack),
            features=SharedFeatures(),
            progress=progress,
            on_epoch=on_epoch,
            groups=groups,
        )
        on = Evaluated(dataset=dataset.name, split=split, metrics=metrics)
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
    features: SharedFeatures
    progress: bool
    on_epoch: Callable[[str, int, EpochLog], None] | None
    groups: ImageGroups | None = None

    @property
    def on_own_validation(self) -> bool:
        return is_own_validation(self.dataset, self.split)

    def measure(self, cell: Cell[StudentConfig], seed: int) -> Measured:
        config, place = cell.config.replace(seed=seed), cell.directory(self.run_dir, seed)
        if config.objective.network_terms:
            config = config.replace(network=self._kd_teacher(config, place))
        run = self._train(config, place, epochs_of(cell, seed, self.on_epoch))
        if self.on_own_validation:
            if run.val_images == 0:
                raise ExamplesInvalid(
                    f"no training image could be held out for {place}: every class has a single one; "
                    f"compare students on another split"
                )
            return _measured(run, images=run.val_images, scores={})
        evaluation, predictions = self._scores(run, config)
        scores = {**evaluation.metrics, "aspect_auroc": evaluation.aspect_auroc, "aspect_ece": evaluation.aspect_ece}
        if self.groups is not None:
            scores[WORST_GROUP] = evaluation.worst_group
        return _measured(run, images=evaluation.images, scores=scores, image_scores=image_scores(predictions))

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
        images = None if is_finished(place) else self._training_images(config)
        return train(
            config,
            self.dataset,
            self.teacher_answers,
            place,
            progress=self.progress,
            on_epoch=on_epoch,
            images=images,
        )

    def _training_images(self, config: StudentConfig) -> TrainingImages:
        shared = self.caches, config, self.dataset, self.progress
        if not config.freeze:
            return TrainingImages(shown=shared_training_images(*shared), features=self.features)
        augmented = shared_training_images(*shared) if config.views > 1 else None
        shown = self.caches.get(
            ("features", config.shown_size, config.image_size, config.damaged_images),
            lambda folder: evaluation_cache(
                config, self.dataset, training_records(self.dataset), folder, progress=self.progress
            ),
        )
        return TrainingImages(shown=shown, augmented=augmented, features=self.features)

    def _scores(self, run: TrainedStudent, config: StudentConfig) -> tuple[Evaluation, pl.DataFrame]:
        """The stored scores and predictions if they are of these images, labels and answers and have every metric; else
        new ones."""
        answers = learned_answers(self.teacher_answers, run)
        stored = read_evaluation(run.run_dir, self.split)
        records = select(self.dataset, (self.split,))
        digest = digest_of(self.dataset, records, TeacherAnswers(image=answers))
        whole = stored is not None and stored.digest == digest and None not in stored.metrics.values()
        if stored is not None and whole and self._has_groups(stored, records):
            predictions = read_predictions(run.run_dir, self.split, stored.predictions)
            if predictions is not None:
                return stored, predictions
        images = shared_evaluation_images(self.caches, config, self.dataset, self.split, self.progress)
        features = None
        if config.freeze:
            features = self.features.get(
                features_key(config, self.split),
                lambda: evaluation_features(run.load(), config, images, progress=self.progress),
            )
        device = config.accelerator
        found = evaluate(
            run.run_dir,
            self.dataset,
            answers,
            self.split,
            images=images,
            features=features,
            accelerator=device,
            groups=self.groups,
        )
        predictions = read_predictions(run.run_dir, self.split, found.predictions)
        assert predictions is not None
        return found, predictions

    def _has_groups(self, stored: Evaluation, records: Sequence[ImageRecord]) -> bool:
        """Whether the scores are of the groups that are asked for; damaged images are in no group."""
        if self.groups is None or stored.dropped_images:
            return self.groups is None
        return stored.grouping == self.groups.digest([record.image_id for record in records])


def compared_metrics(dataset: ImageDataset, split: str, *, grouped: bool, first: str | None) -> tuple[str, ...]:
    """The metrics that cells are compared by on `split`, `first` before all others where it is given. Raises
    ConfigInvalid where it is none of them."""
    known = ("val_top1",) if is_own_validation(dataset, split) else (*COMPARED, *([WORST_GROUP] if grouped else []))
    if first is None:
        return known
    if first not in known:
        needs = "; worst_group needs group_by, a question that has answers about the split" * (first == WORST_GROUP)
        raise ConfigInvalid(f"metric '{first}' is not measured on split '{split}'; take {', '.join(known)}{needs}")
    return (first, *(name for name in known if name != first))


def is_own_validation(dataset: ImageDataset, split: str) -> bool:
    """Whether `split` stands for the images that each student holds out of its training images."""
    return split == VALIDATION and all(record.split != VALIDATION for record in dataset.records)


def require_split(grid: StudentGrid, dataset: ImageDataset, run_dir: Path, split: str) -> None:
    """Raises DatasetInvalid for a split that `dataset` does not have, and ExamplesInvalid where students of the grid
    are to be compared on their own validation images and hold none out."""
    if not is_own_validation(dataset, split):
        select(dataset, (split,))
    elif any(cell.config.held_out == 0 for cell in grid.cells(run_dir)):
        raise ExamplesInvalid(
            f"students cannot be compared on split '{VALIDATION}': dataset '{dataset.name}' has no such split, and "
            f"val_fraction is 0, so that no training images are held out; give --set val_fraction=0.2"
        )


def learned_answers(teacher_answers: TeacherAnswers, run: TrainedStudent) -> Answers | None:
    """Those of the given answers that the run's aspects can be scored on: the ones about the image first."""
    keys = set(run.description.aspect_keys)
    return next((answers for answers in teacher_answers.given if keys.intersection(answers.questions.keys)), None)


def shared_training_images(
    caches: SharedCaches, config: StudentConfig, dataset: ImageDataset, progress: bool
) -> Images:
    return caches.get(
        ("train", config.stored_size, config.damaged_images, *(["draft"] if config.draft else [])),
        lambda folder: training_cache(config, dataset, training_records(dataset), folder, progress=progress),
    )


def shared_evaluation_images(
    caches: SharedCaches, config: StudentConfig, dataset: ImageDataset, split: str, progress: bool
) -> Images:
    return caches.get(
        (split, config.shown_size, config.image_size, config.damaged_images),
        lambda folder: evaluation_cache(config, dataset, select(dataset, (split,)), folder, progress=progress),
    )


def _measured(
    run: TrainedStudent, *, images: int, scores: Mapping[str, float | None], image_scores: pl.DataFrame | None = None
) -> Measured:
    row = {
        "best_epoch": run.best_epoch,
        "train_images": run.train_images,
        "val_top1": run.val_top1,
        "val_loss": run.epochs[run.best_epoch - 1].val_loss,
        **scores,
    }
    return Measured(
        row=row,
        epochs=run.epochs,
        images=images,
        train_images=run.train_images,
        val_images=run.val_images,
        image_scores=image_scores,
    )
