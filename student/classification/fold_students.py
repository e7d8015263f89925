"""Train students by k-fold cross-validation, each to predict the images whose labels it was not trained on.

Changed labels get students of their own: the folder of the students is named by the digest of the images and labels.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from storage.datasets.base import ImageDataset
from student.classification.config import StudentConfig
from student.classification.evaluate import predict_logits
from student.classification.examples import TeacherAnswers, digest_of
from student.classification.features import SharedFeatures
from student.classification.images import evaluation_cache, training_cache
from student.classification.label_features import label_features
from student.classification.out_of_fold import (
    OUT_OF_FOLD,
    OutOfFold,
    audited_records,
    read_out_of_fold,
    without_label,
    write_out_of_fold,
)
from student.classification.runs import TrainedStudent
from student.classification.task import TrainingImages
from student.classification.training import train
from student.core.examples import ExamplesInvalid
from student.core.files import only_user, remove_leftovers
from student.core.images import Images
from student.core.progress import titled
from student.core.runs import is_finished
from student.core.setting_errors import ConfigInvalid

OpenCache = Callable[..., AbstractContextManager[Images]]


def train_out_of_fold(
    config: StudentConfig,
    dataset: ImageDataset,
    runs: Path,
    *,
    folds: int = 5,
    splits: Sequence[str] | None = None,
    teacher_answers: TeacherAnswers | None = None,
    features: SharedFeatures | None = None,
    progress: bool = True,
) -> OutOfFold:
    """Train a student for each of `folds` folds of the labelled images of all `splits`, stratified by class, and let it
    predict the images of its fold.

    A student treats the images of its fold as images without a label. Finished students and
    finished epochs are kept, so that an interrupted call resumes. `features` are shared by calls about the same images.
    Raises what `train` raises, and ExamplesInvalid for fewer labelled images than folds.
    """
    given = teacher_answers or TeacherAnswers()
    _refuse_what_knows_labels(config)
    records = audited_records(dataset, splits)
    folds_N = stratified_folds(np.array([record.label for record in records]), folds, config.seed)
    _require_folds(dataset.name, folds, int((folds_N >= 0).sum()))
    whole = dataset.subset(records)
    digest = digest_of(whole, records, given)
    folder = runs / f"{digest}-{folds}-folds"
    identity = json.dumps({"dataset": dataset.name, "digest": digest, "folds": folds, "config": config.identity()})
    with ExitStack() as stack:
        stack.enter_context(only_user(folder))
        remove_leftovers(folder)
        stored = read_out_of_fold(folder)
        if stored is not None and _is_same(stored.identity, identity):
            return stored
        training = _FoldTraining(
            config=config,
            dataset=whole,
            teacher_answers=given,
            folder=folder,
            folds_N=folds_N,
            features=features or SharedFeatures(),
            progress=progress,
            stack=stack,
        )
        log_p_NC = training.all_log_probabilities(folds)
        found = OutOfFold(
            image_ids=tuple(record.image_id for record in records),
            class_names=tuple(dataset.class_names),
            log_p_NC=log_p_NC,
            folds_N=folds_N,
            identity=identity,
        )
        write_out_of_fold(folder / OUT_OF_FOLD, found)
    return found


def _require_folds(dataset: str, folds: int, labelled: int) -> None:
    if labelled < folds:
        raise ExamplesInvalid(
            f"dataset '{dataset}' has {labelled} labelled images, and {folds} folds need {folds} or more; take fewer "
            "folds"
        )


def stratified_folds(labels_N: NDArray[np.int64], folds: int, seed: int) -> NDArray[np.int64]:
    """The fold [N] of each image, 0 .. folds - 1, -1 without a label (-1). The images of a class are spread evenly over
    the folds, and folds differ by one image at most."""
    generator = np.random.default_rng([seed, 7])
    known = generator.permutation(np.flatnonzero(labels_N >= 0))
    order = known[np.argsort(labels_N[known], kind="stable")]
    found = np.full(len(labels_N), -1, dtype=np.int64)
    found[order] = np.arange(len(order)) % folds
    return found


def _is_same(stored: str, wanted: str) -> bool:
    """Whether two identities name the same training. Settings that a release has gained since have their defaults."""
    found, sought = json.loads(stored), json.loads(wanted)
    try:
        found["config"] = StudentConfig.from_stored(found["config"]).identity()
    except (KeyError, TypeError, ConfigInvalid):
        return False
    return bool(found == sought)


@dataclass(frozen=True, kw_only=True)
class _FoldTraining:
    """What the students of all folds share."""

    config: StudentConfig
    dataset: ImageDataset
    teacher_answers: TeacherAnswers
    folder: Path
    folds_N: NDArray[np.int64]
    features: SharedFeatures
    progress: bool
    stack: ExitStack

    def all_log_probabilities(self, folds: int) -> NDArray[np.float32]:
        """[N, C], NaN for images that could not be read."""
        places = [self.folder / f"fold-{fold}" for fold in range(folds)]
        images = None
        if self.config.freeze or not all(is_finished(place) for place in places):
            images = self._open_images()
        sums = np.zeros((len(self.folds_N), len(self.dataset.class_names)), dtype=np.float32)
        for fold, place in enumerate(places):
            with titled(f"fold {fold + 1} of {folds}"):
                run = self._train(fold, place, images)
                judged_N = (self.folds_N == fold) | (self.folds_N < 0)
                shares_N = np.where(self.folds_N < 0, 1 / folds, 1.0)[judged_N, None]
                sums[judged_N] += shares_N * self._predict(run, place, judged_N, images)
        return sums

    def _open_images(self) -> TrainingImages:
        def decoded(cache: OpenCache) -> Images:
            opened = cache(self.config, self.dataset, self.dataset.records, self.folder, progress=self.progress)
            return self.stack.enter_context(opened)

        if not self.config.freeze:
            return TrainingImages(shown=decoded(training_cache), features=self.features)
        augmented = decoded(training_cache) if self.config.views > 1 else None
        return TrainingImages(shown=decoded(evaluation_cache), augmented=augmented, features=self.features)

    def _train(self, fold: int, place: Path, images: TrainingImages | None) -> TrainedStudent:
        records = [
            without_label(record) if hidden else replace(record, split="train")
            for record, hidden in zip(self.dataset.records, (self.folds_N == fold) | (self.folds_N < 0), strict=True)
        ]
        own = None
        if images is not None and not is_finished(place):
            by_id = {record.image_id: record for record in records}
            shown = tuple(by_id[record.image_id] for record in images.shown.records)
            own = replace(images, shown=images.shown.with_records(shown))
        subset = self.dataset.subset(records)
        return train(self.config, subset, self.teacher_answers, place, progress=self.progress, images=own)

    def _predict(
        self, run: TrainedStudent, place: Path, judged_N: NDArray[np.bool_], images: TrainingImages | None
    ) -> NDArray[np.float32]:
        """Log-probabilities [M, C] of the judged images, NaN where an image cannot be read."""
        judged = [record for record, wanted in zip(self.dataset.records, judged_N, strict=True) if wanted]
        if self.config.freeze:
            assert images is not None
            features = torch.from_numpy(label_features(self.config, images, progress=self.progress))
            rows = {record.image_id: row for row, record in enumerate(images.shown.records)}
            read = [record.image_id for record in judged if record.image_id in rows]
            with torch.no_grad():
                logits = run.load().classify(features[[rows[image_id] for image_id in read]]).class_logits_BC
        else:
            with evaluation_cache(self.config, self.dataset, judged, place, progress=self.progress) as shown:
                read = [record.image_id for record in shown.records]
                logits = predict_logits(
                    run.load(), shown, self.config.accelerator, progress=self.progress
                ).class_logits_BC
        found = dict(zip(read, logits.float().log_softmax(dim=1).numpy(), strict=True))
        unread = np.full(len(self.dataset.class_names), np.nan, dtype=np.float32)
        return np.stack([found.get(record.image_id, unread) for record in judged])


def _refuse_what_knows_labels(config: StudentConfig) -> None:
    """Raises ConfigInvalid for a network to learn from, which was trained on all labels."""
    if config.objective.network_terms:
        raise ConfigInvalid(
            f"method '{config.method}' learns from a network that has seen all labels, so that its students cannot "
            f"judge them; take another method, e.g. --set method=base"
        )
