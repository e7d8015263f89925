"""What a trained student gets right: on the labels by its class outputs, on the questions against its teacher."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc, multiclass_accuracy

from storage.answers.read import Answers
from storage.datasets.base import UNKNOWN, ImageDataset, select
from student.classification.augment import normalize_pixels
from student.classification.examples import ExamplesInvalid, TeacherAnswers, digest_of, log_odds_of
from student.core.cache import ImageCache, evaluation_cache
from student.core.files import RunInvalid, only_user, parse, read_json, write_json
from student.core.model import Aspect, Logits, Student, to_channels_last, yes_probability
from student.core.progress import ImageBar, note
from student.core.runs import load_run
from student.core.settings import Accelerator

CALIBRATION_BINS = 15
EVALUATION_FILE = "evaluation-{split}.json"


Scores = TypeVar("Scores")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassScore:
    """Top-1 among one class's images, None where the split has none of them."""

    class_name: str
    images: int
    top1: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AspectScore:
    """How well a student repeats its teacher on one question.

    `auroc`: chance that an image with a teacher's yes (p > 0.5) ranks above one with a no (p < 0.5); None where the
    teacher says the same everywhere. `ece`: mean gap between the student's p(yes) and the teacher's, over 15 bins of
    the student's, weighted by images.
    """

    key: str
    images: int
    auroc: float | None
    ece: float


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

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Evaluation:
        """Raises RunInvalid for what is no evaluation."""
        return parse(cls, values, Path(EVALUATION_FILE))


def evaluate(
    run_dir: Path,
    dataset: ImageDataset,
    answers: Answers | None = None,
    split: str = "test",
    *,
    images: ImageCache | None = None,
    accelerator: Accelerator = "cpu",
    batch_size: int = 256,
    progress: bool = False,
) -> Evaluation:
    """Evaluate the weights of the finished run in `run_dir` on `split`, and write `evaluation-SPLIT.json` there.

    Computed in fp32. Aspects are scored where the student has them and `answers` cover images of this split; `images`
    are the split's where somebody has decoded them already. Raises ValueErrors of one line: no finished run, no such
    split, other classes than the run's, images that cannot be read.
    """
    run = load_run(run_dir)
    config, description = run.description.config, run.description
    records = select(dataset, (split,))
    if any(record.label == UNKNOWN for record in records):
        raise ExamplesInvalid(f"images of split '{split}' of dataset '{dataset.name}' have no label to evaluate on")
    if tuple(dataset.class_names) != description.class_names:
        raise ExamplesInvalid(
            f"dataset '{dataset.name}' has other classes than the run in {run_dir} was trained on; "
            f"evaluate it on '{description.dataset}'"
        )
    decoded = evaluation_cache(config, dataset, records, run_dir, progress=progress)
    with only_user(run_dir), decoded if images is None else nullcontext(images) as images:
        logits = predict_logits(run.load(), images, accelerator, batch_size=batch_size, progress=progress)
        aspects: tuple[AspectScore, ...] = ()
        if answers is not None and description.aspects:
            learnt = [key for key in answers.questions.keys if key in description.aspect_keys]
            if not learnt:
                raise ExamplesInvalid(
                    f"the answers are to other questions than the run in {run_dir} learned; "
                    f"give those of teacher {description.teacher}"
                )
            teacher_NQ = torch.from_numpy(log_odds_of(dataset, images.records, answers)).sigmoid()
            student_NQ = yes_probability(logits.aspect_logits_BQ, description.aspects)
            aspects = score_aspects(
                student_NQ[:, [description.aspect_keys.index(key) for key in learnt]],
                teacher_NQ[:, [answers.questions.keys.index(key) for key in learnt]],
                learnt,
            )
        evaluation = Evaluation(
            dataset=dataset.name,
            split=split,
            digest=digest_of(dataset, records, TeacherAnswers(image=answers)),
            images=len(images),
            dropped_images=len(images.dropped),
            best_epoch=run.best_epoch,
            per_class=score_classes(logits.class_logits_BC, images.labels, description.class_names),
            aspects=aspects,
            aspect_auroc=_mean([score.auroc for score in aspects]),
            aspect_ece=_mean([score.ece for score in aspects]),
            **score_labels(logits.class_logits_BC, images.labels),
        )
    write_json(run_dir / EVALUATION_FILE.format(split=split), evaluation.to_dict())
    return evaluation


def why_unscored(
    learnt: Sequence[Aspect], scored: Sequence[AspectScore], images: int, split: str, *, what: str = "images"
) -> list[str]:
    """A line about aspects that answers were given for but that are not scored, or not on all of so many `images`;
    none where there is nothing to say."""
    ask = f"ask about them with 'aspects extract --splits {split}'"
    if not learnt:
        return [f"no aspects of {what} are scored: this student learnt none"]
    if not scored:
        return [f"no aspects of {what} are scored: the store has no answers about {what} of split '{split}'; {ask}"]
    if len(scored) < len(learnt):
        return [f"{len(scored)} of {len(learnt)} aspects of {what} are scored: the store has no answers to the others"]
    fewest = min(score.images for score in scored)
    if what == "images" and fewest < images:  # boxes that are too small are never asked about
        return [f"aspects are scored on {fewest} of {images} images: the store has no answers about the others; {ask}"]
    return []


def read_evaluation(run_dir: Path, split: str) -> Evaluation | None:
    """What `evaluate` wrote for `split`, None where it has not, or where the file is damaged."""
    return read_scores(Evaluation, run_dir, split)


def read_scores(kind: type[Scores], run_dir: Path, split: str) -> Scores | None:
    """The same of any kind of evaluation. Raises VersionUnsupported for one of a newer release, StorageUnavailable for
    one that cannot be read right now."""
    path = run_dir / EVALUATION_FILE.format(split=split)
    try:
        return parse(kind, read_json(path), path)
    except FileNotFoundError:
        return None
    except RunInvalid:  # the student is there, so its scores are found out again
        note(f"{path} is damaged; evaluating again")
        return None


@torch.no_grad()
def predict_logits(
    student: Student, images: ImageCache, accelerator: Accelerator = "cpu", *, batch_size: int = 256, progress: bool
) -> Logits:
    """Class and aspect logits of all `images` of an evaluation cache, float32 on the CPU, in their order."""
    device = torch.device(accelerator)
    student = to_channels_last(student.to(device)).eval()
    class_logits: list[Tensor] = []
    aspect_logits: list[Tensor] = []
    with ImageBar("evaluating", len(images), shown=progress) as bar:
        for batch in normalized_batches(student, images, device, batch_size=batch_size):
            logits = student(batch)
            class_logits.append(logits.class_logits_BC.float().cpu())
            aspect_logits.append(logits.aspect_logits_BQ.float().cpu())
            bar.advance(len(batch))
    return Logits(torch.cat(class_logits), torch.cat(aspect_logits))


def normalized_batches(
    student: Student, images: ImageCache, device: torch.device | None = None, *, batch_size: int = 256
) -> Iterator[Tensor]:
    """Pixels [B, 3, H, W] of all `images` of an evaluation cache as `student` was shown its own, in their order."""
    for start in range(0, len(images), batch_size):
        pixels = images.stack(slice(start, start + batch_size)).to(device)
        yield normalize_pixels(pixels, student.mean, student.std).contiguous(memory_format=torch.channels_last)


def score_labels(class_logits_NC: Tensor, labels_N: Tensor) -> dict[str, float]:
    """top1, top5 (top C where there are fewer classes), macro_accuracy over the classes present, and loss."""
    classes = class_logits_NC.shape[1]
    correct = class_logits_NC.argmax(dim=1) == labels_N
    if classes > 1:
        top5 = multiclass_accuracy(class_logits_NC, labels_N, classes, average="micro", top_k=min(5, classes)).item()
    else:
        top5 = 1.0
    present = labels_N.unique()
    return {
        "top1": correct.double().mean().item(),
        "top5": top5,
        "macro_accuracy": torch.stack([correct[labels_N == label].double().mean() for label in present]).mean().item(),
        "loss": torch.nn.functional.cross_entropy(class_logits_NC, labels_N).item(),
    }


def score_classes(class_logits_NC: Tensor, labels_N: Tensor, class_names: Sequence[str]) -> tuple[ClassScore, ...]:
    """One score per class, in the classes' order."""
    correct = (class_logits_NC.argmax(dim=1) == labels_N).double()
    scores = []
    for label, class_name in enumerate(class_names):
        members = correct[labels_N == label]
        top1 = members.mean().item() if len(members) else None
        scores.append(ClassScore(class_name=class_name, images=len(members), top1=top1))
    return tuple(scores)


def score_aspects(student_NQ: Tensor, teacher_NQ: Tensor, keys: Sequence[str]) -> tuple[AspectScore, ...]:
    """From p(yes) of both, one score per question that the teacher answered for at least one of the images (NaN: no
    answer)."""
    scores = []
    for key, student_N, teacher_N in zip(keys, student_NQ.T, teacher_NQ.T, strict=True):
        answered = ~teacher_N.isnan()
        if not answered.any():
            continue
        yes_prob, teacher = student_N[answered], teacher_N[answered]
        # Exactly 0.5 is neither yes nor no: bf16 teachers say it often.
        decided = teacher != 0.5
        wanted = (teacher[decided] > 0.5).long()
        auroc = binary_auroc(yes_prob[decided], wanted).item() if 0 < wanted.sum() < len(wanted) else None
        ece = calibration_error(yes_prob, teacher)
        scores.append(AspectScore(key=key, images=int(answered.sum()), auroc=auroc, ece=ece))
    return tuple(scores)


def calibration_error(yes_prob_N: Tensor, teacher_N: Tensor) -> float:
    """Expected calibration error against soft labels: sum over bins of share * |mean student - mean teacher|."""
    bins = (yes_prob_N * CALIBRATION_BINS).long().clamp(max=CALIBRATION_BINS - 1)
    gaps = torch.zeros(CALIBRATION_BINS, dtype=torch.float64)
    gaps.index_add_(0, bins, (yes_prob_N - teacher_N).double())
    return (gaps.abs().sum() / len(yes_prob_N)).item()


def _mean(values: Sequence[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return float(np.mean(present)) if present else None
