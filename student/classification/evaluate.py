"""Evaluate a trained student: class outputs on the labels, aspects against the teacher."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from storage.answers.read import Answers
from storage.datasets.base import ImageDataset
from student.classification.calibration import read_calibration, require_held_out, write_calibration
from student.classification.confused_classes import ClassMeans, ConfusedPair, most_confused
from student.classification.confusion import (
    ClassScore,
    Reliability,
    confusion_matrix,
    macro,
    reliability,
    score_classes,
    write_confusion,
)
from student.classification.examples import TeacherAnswers, digest_of
from student.classification.group_scores import WORST_GROUP, GroupScore, ImageGroups, score_groups
from student.classification.images import evaluation_cache, normalized_batches
from student.classification.metrics import METRICS, score_labels
from student.classification.model import Logits, Student
from student.classification.predictions import prediction_table, write_aspects, write_predictions
from student.classification.runs import TrainedStudent, load_run
from student.core.aspects import yes_probability
from student.core.backbones import to_channels_last
from student.core.evaluation import (
    EVALUATION_FILE,
    AspectScore,
    mean_of_known,
    read_scores,
    require_same_classes,
    score_shared_aspects,
    select_labelled,
)
from student.core.examples import ExamplesInvalid, log_odds_of
from student.core.files import only_user, parse, write_json
from student.core.images import Images
from student.core.progress import ImageBar
from student.core.settings import Accelerator


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Scores of one student on one split, all shares in 0..1. Class scores use the class outputs alone."""

    dataset: str
    split: str
    digest: str  # of the split's ids, labels and answers
    images: int
    dropped_images: int
    best_epoch: int
    top1: float
    top5: float
    macro_accuracy: float
    loss: float
    per_class: tuple[ClassScore, ...]
    aspects: tuple[AspectScore, ...]
    aspect_auroc: float | None  # mean over the questions that have one
    aspect_ece: float | None
    others: Mapping[str, float] = dataclasses.field(default_factory=dict)  # metrics without a field of their own
    # Evaluations of earlier releases have none of the following.
    macro_precision: float | None = None
    macro_f1: float | None = None
    reliability: Reliability | None = None  # of the class probabilities
    calibrated: Reliability | None = None  # of those at the temperature of the calibration, if there is one
    confused: tuple[ConfusedPair, ...] = ()  # the pairs of classes that are confused most
    # Of the groups of images that were asked for, if any.
    groups: tuple[GroupScore, ...] = ()
    worst_group: float | None = None  # lowest top-1 of a group
    grouping: str | None = None  # digest of the answers that make the groups
    predictions: str | None = None  # SHA-256 of the file of predictions, None where an older release wrote none

    @property
    def metrics(self) -> dict[str, float | None]:
        """Every metric of metrics.py by its name; None for one that is newer than this evaluation."""
        return {name: getattr(self, name, self.others.get(name)) for name in METRICS}

    def to_dict(self) -> dict[str, Any]:
        values = dataclasses.asdict(self)
        return {name: value for name, value in values.items() if value not in (None, (), {}) or name not in OPTIONAL}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Evaluation:
        """Raises RunInvalid where the fields are not those of an evaluation."""
        return parse(cls, values, Path(EVALUATION_FILE))


OPTIONAL = frozenset({"others", "groups", "worst_group", "grouping"})  # written where there are any
OWN_FIELDS = frozenset(field.name for field in dataclasses.fields(Evaluation))


def evaluate(
    run_dir: Path,
    dataset: ImageDataset,
    answers: Answers | None = None,
    split: str = "test",
    *,
    images: Images | None = None,
    features: Tensor | None = None,
    accelerator: Accelerator = "cpu",
    batch_size: int = 256,
    progress: bool = False,
    calibrate: bool = False,
    groups: ImageGroups | None = None,
) -> Evaluation:
    """Evaluate the weights of the finished run in `run_dir` on `split`; write `predictions-SPLIT.parquet` and, for a
    student with aspects, `aspects-SPLIT.parquet` (see predictions.py), `confusion-SPLIT.csv` and
    `evaluation-SPLIT.json` there. With `calibrate` the class probabilities are calibrated on this split before (see
    calibration.py).

    Computed in fp32. Aspects are scored where the student has them and `answers` cover images of this split; `images`
    are the split's where they are decoded already, `features` [N, D] those of a frozen backbone where they are known.
    The top-1 of each of the `groups` is scored too.
    Raises ValueErrors of one line: no finished run, no such split, other classes than the run's, images that cannot be
    read.
    """
    run = load_run(run_dir)
    config, description = run.description.config, run.description
    records = select_labelled(dataset, split)
    require_same_classes(dataset, description, run_dir)
    if calibrate:
        require_held_out(split)
    decoded = evaluation_cache(config, dataset, records, run_dir, progress=progress)
    with only_user(run_dir), decoded if images is None else nullcontext(images) as images:
        if features is None:
            logits = predict_logits(run.load(), images, accelerator, batch_size=batch_size, progress=progress)
        else:
            with torch.no_grad():
                logits = run.load().classify(features)
        if calibrate:
            write_calibration(run_dir, logits.class_logits_BC, images.labels, dataset=dataset.name, split=split)
        evaluation = Evaluation(
            dataset=dataset.name,
            split=split,
            digest=digest_of(dataset, records, TeacherAnswers(image=answers)),
            images=len(images),
            dropped_images=len(images.dropped),
            best_epoch=run.best_epoch,
            **_aspect_fields(_score_aspects(run, dataset, images, logits, answers)),
            **_metric_fields(score_labels(logits.class_logits_BC, images.labels)),
            **_class_fields(run, split, logits, images, _class_means(run, dataset, images, logits, answers)),
            **_group_fields(groups, logits, images, description.class_names),
            predictions=_write_tables(run, split, logits, images),
        )
    write_json(run_dir / EVALUATION_FILE.format(split=split), evaluation.to_dict())
    return evaluation


def _aspect_fields(aspects: tuple[AspectScore, ...]) -> dict[str, Any]:
    """The fields of an evaluation about aspects."""
    return {
        "aspects": aspects,
        "aspect_auroc": mean_of_known([score.auroc for score in aspects]),
        "aspect_ece": mean_of_known([score.ece for score in aspects]),
    }


def _metric_fields(scores: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an evaluation about the metrics of metrics.py."""
    own = {name: value for name, value in scores.items() if name in OWN_FIELDS}
    return {**own, "others": {name: value for name, value in scores.items() if name not in OWN_FIELDS}}


def _write_tables(run: TrainedStudent, split: str, logits: Logits, images: Images) -> str:
    """Write the tables of predictions.py, and return the digest of the predictions."""
    description, image_ids = run.description, [record.image_id for record in images.records]
    if description.aspects:
        p_yes = yes_probability(logits.aspect_logits_BQ, description.aspects)
        write_aspects(run.run_dir, split, image_ids, p_yes, description.aspect_keys)
    table = prediction_table(image_ids, logits.class_logits_BC, images.labels, description.class_names)
    return write_predictions(run.run_dir, split, table)


def _class_fields(
    run: TrainedStudent, split: str, logits: Logits, images: Images, means: ClassMeans | None
) -> dict[str, Any]:
    """The fields of an evaluation about single classes and the reliability of their probabilities; writes the confusion
    matrix."""
    class_logits_NC, labels_N = logits.class_logits_BC, images.labels
    names, calibration = run.description.class_names, read_calibration(run.run_dir)
    matrix = confusion_matrix(class_logits_NC, labels_N)
    write_confusion(run.run_dir, split, matrix, names)
    per_class, calibrated = score_classes(matrix, names), None
    if calibration is not None:
        calibrated = reliability(class_logits_NC, labels_N, calibration.temperature)
    return {
        "per_class": per_class,
        "macro_precision": macro(per_class, "precision"),
        "macro_f1": macro(per_class, "f1"),
        "reliability": reliability(class_logits_NC, labels_N),
        "calibrated": calibrated,
        "confused": most_confused(matrix, names, means),
    }


def _group_fields(
    groups: ImageGroups | None, logits: Logits, images: Images, class_names: Sequence[str]
) -> dict[str, Any]:
    """The fields of an evaluation about groups of images."""
    if groups is None:
        return {}
    image_ids = [record.image_id for record in images.records]
    scores = score_groups(groups, image_ids, logits.class_logits_BC, images.labels, class_names)
    worst = min((score.top1 for score in scores), default=None)
    return {"groups": scores, WORST_GROUP: worst, "grouping": groups.digest(image_ids)}


def _class_means(
    run: TrainedStudent, dataset: ImageDataset, images: Images, logits: Logits, answers: Answers | None
) -> ClassMeans | None:
    """By which questions classes differ: in the answers where there are any, else in the student's aspects."""
    class_names, aspects = run.description.class_names, run.description.aspects
    if answers is not None:
        return ClassMeans.of_answers(dataset, answers)
    if not aspects:
        return None
    p_yes = yes_probability(logits.aspect_logits_BQ, aspects)
    return ClassMeans.of_student(p_yes, images.labels, aspects, len(class_names))


def _score_aspects(
    run: TrainedStudent, dataset: ImageDataset, images: Images, logits: Logits, answers: Answers | None
) -> tuple[AspectScore, ...]:
    """Of the aspects that the student has and `answers` are about; none without answers. Raises ExamplesInvalid for
    answers to other questions."""
    description = run.description
    if answers is None or not description.aspects:
        return ()
    learned = [key for key in answers.questions.keys if key in description.aspect_keys]
    if not learned:
        raise ExamplesInvalid(
            f"the answers are to other questions than the run in {run.run_dir} learned; "
            f"give those of teacher {description.teacher}"
        )
    teacher_NQ = torch.from_numpy(log_odds_of(dataset, images.records, answers)).sigmoid()
    student_NQ = yes_probability(logits.aspect_logits_BQ, description.aspects)
    return score_shared_aspects(student_NQ, teacher_NQ, description.aspect_keys, answers.questions.keys)


def read_evaluation(run_dir: Path, split: str) -> Evaluation | None:
    """What `evaluate` wrote for `split`, None where it has not, or where the file is damaged."""
    return read_scores(Evaluation, run_dir, split)


@torch.no_grad()
def predict_logits(
    student: Student, images: Images, accelerator: Accelerator = "cpu", *, batch_size: int = 256, progress: bool
) -> Logits:
    """Class and aspect logits of all `images` of an evaluation cache, float32 on the CPU, in their order."""
    device = torch.device(accelerator)
    student = to_channels_last(student.to(device)).eval()
    class_logits: list[Tensor] = []
    aspect_logits: list[Tensor] = []
    with ImageBar("evaluating", len(images), shown=progress) as bar:
        for batch in normalized_batches(images, student.mean, student.std, device, batch_size=batch_size):
            logits = student(batch)
            class_logits.append(logits.class_logits_BC.float().cpu())
            aspect_logits.append(logits.aspect_logits_BQ.float().cpu())
            bar.advance(len(batch))
    return Logits(torch.cat(class_logits), torch.cat(aspect_logits))
