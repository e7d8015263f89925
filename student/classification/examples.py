"""Training examples: images joined with their labels and the teacher's answers."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from storage.answers.probes import ProbeAnswers
from storage.answers.read import Answers
from storage.datasets.base import UNKNOWN, UNLABELLED, ImageDataset, ImageRecord, select, training_splits
from student.classification.calibrated import answer_weights, probe_log_odds
from student.classification.config import StudentConfig
from student.classification.groups import soft_groups
from student.classification.label_free import learned_class_log_odds, require_class_answers
from student.classification.methods import method_about_classes
from student.classification.splits import choose_fraction, choose_validation, digest_of_seen_labels, visible_labels
from student.classification.targets import ImageLabels, Values, class_mean, only_labelled
from student.classification.terms import AspectTerm, ClassTerm, Level
from student.core.aspects import Aspect
from student.core.examples import ExamplesInvalid, chosen_questions, log_odds_of


@dataclass(frozen=True, kw_only=True)
class Examples:
    """N training images by their index in the image cache, which of them are only validated on, and what is learned.

    `labels_N` are -1 where the label is not known. `train_indices` is one epoch: for methods that learn nothing from
    images without a label, labelled ones are repeated in their place, so that all have the same number of updates.
    `targets` are made of the answers, one tensor [N, K] for each term that learns from them, NaN where there is none;
    `weights` [N, Q] are those of the answers, by the number of the term; `aspects` are the outputs beside the classes.
    `groups` has the shares of groups [N, G] (see groups.py), None where none are balanced. `left_out` is the number of
    images that are not used at all, without an answer or outside `train_fraction`, `seen_labels` the digest of the
    labels that are known.
    """

    train_indices: Tensor
    val_indices: Tensor
    labels_N: Tensor
    targets: tuple[Tensor, ...]
    aspects: tuple[Aspect, ...]
    groups: Tensor | None = None
    weights: Mapping[int, Tensor] = field(default_factory=dict)
    left_out: int = 0
    seen_labels: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherAnswers:
    """What teachers have answered about a dataset's images: about each image, about its class, or both.

    Where a method wants answers about the class and there are none, it takes the mean answers of the class's training
    images; where it wants answers about the image and there are none, those about its class. Answers about a class are
    those of its images by their label, none where that is hidden. Answers of a teacher that was asked about classes are
    about classes. `corrections` says what people have corrected here. `probes` are for methods that use them.
    """

    image: Answers | None = None
    classes: Answers | None = None
    corrections: str | None = None
    probes: ProbeAnswers | None = None

    def __post_init__(self) -> None:
        if self.image is not None and self.image.level == "class":
            if self.classes is not None:
                raise ExamplesInvalid(
                    f"teachers {self.image.teacher} and {self.classes.teacher} both answered about classes; name one"
                )
            object.__setattr__(self, "classes", self.image)
            object.__setattr__(self, "image", None)

    @property
    def given(self) -> tuple[Answers, ...]:
        return tuple(answers for answers in (self.image, self.classes) if answers is not None)

    @property
    def about_classes_alone(self) -> bool:
        return self.classes is not None and self.image is None

    @property
    def teacher(self) -> str | None:
        """The teachers' fingerprints."""
        return "+".join(answers.teacher for answers in self.given) or None

    def of(self, level: Level) -> Answers:
        wanted = self.image if level == "image" else self.classes
        return wanted or self.given[0]


def fit_to_answers(config: StudentConfig, teacher_answers: TeacherAnswers) -> StudentConfig:
    """The config with the method that suits what teachers were asked about, and with the keys of the questions whose
    groups are balanced. Raises as `balanced_keys`."""
    if config.balance is not None:
        config = config.replace(balance=balanced_keys(config.balance, teacher_answers))
    if not teacher_answers.about_classes_alone or config.labels_per_class == 0:
        return config
    return config.replace(method=method_about_classes(config.method))


def training_records(dataset: ImageDataset) -> Sequence[ImageRecord]:
    """The images of the splits `train` and `unlabelled`, which may be the only one. Raises DatasetInvalid."""
    return select(dataset, training_splits(dataset))


def join_examples(
    config: StudentConfig,
    dataset: ImageDataset,
    records: Sequence[ImageRecord],
    teacher_answers: TeacherAnswers,
    features: Callable[[], NDArray[np.float32]] | None = None,
) -> Examples:
    """Join the cached `records` with their answers by image_id and cut off the validation images.

    `features` computes those of the pretrained backbone [N, D]; it is called where the method uses them and labels are
    hidden.

    Images without an answer are left out whatever the method learns, so that all methods see the same images; images
    without a label teach by their answers alone. The only image of a class is trained on. Raises ExamplesInvalid for
    answers of another dataset, for images without answers unless the config drops them, for a method that learns from
    answers where there are none, and where there is neither a label nor what takes the place of labels.
    """
    if len(dataset.class_names) < 2:
        raise ExamplesInvalid(f"dataset '{dataset.name}' has a single class; a classifier needs two or more")
    about_images = _answered(dataset, records, teacher_answers.image)
    labels = visible_labels(config, records, about_images)
    about_classes = _answered(dataset, records, teacher_answers.classes) | (labels == UNKNOWN)
    waits_for_no_label = np.array([record.split == UNLABELLED or record.label == UNKNOWN for record in records])
    _refuse_unanswered(config, dataset, records, (about_images | waits_for_no_label) & about_classes)
    answered = np.flatnonzero(about_images & about_classes)
    used = choose_fraction(labels, answered, config.train_fraction, seed=[config.seed, 4])
    labelled = used[labels[used] != UNKNOWN]
    about_each_class = learned_class_log_odds(config, dataset, teacher_answers.image, teacher_answers.classes)
    if len(labelled) == 0:
        require_class_answers(config, dataset, teacher_answers.given, about_each_class)
    is_val = choose_validation(config, labels[labelled])
    hidden = bool((labels[used] == UNKNOWN).any())
    left_out = ~np.isin(np.arange(len(records)), used)
    known = None
    if features is not None and config.objective.uses_features and hidden:
        known = _without(features(), left_out)
    images = ImageLabels(
        labels=labels,
        trained=np.isin(np.arange(len(records)), labelled[~is_val]),
        classes=len(dataset.class_names),
        seed=config.seed,
        features=known,
        class_log_odds=about_each_class,
    )
    if config.objective.uses_probes:
        asked, probes = teacher_answers.of("image").questions, teacher_answers.probes
        images = replace(images, probes=probe_log_odds(config, dataset, records, asked, probes))
    targets, weights = _learn_what(config, dataset, records, teacher_answers, images, left_out)
    epoch = np.setdiff1d(used, labelled[is_val])
    if not _learns_without_labels(config, targets, used[labels[used] == UNKNOWN]):
        epoch = np.resize(labelled[~is_val], len(epoch))
    return Examples(
        train_indices=torch.from_numpy(epoch),
        val_indices=torch.from_numpy(labelled[is_val]),
        labels_N=torch.from_numpy(labels),
        targets=targets,
        weights=weights,
        aspects=aspects_of(config, teacher_answers),
        groups=_balanced_groups(config, dataset, records, teacher_answers, images),
        left_out=int(left_out.sum()),
        seen_labels=digest_of_seen_labels(records, labels.tolist()),
    )


def _balanced_groups(
    config: StudentConfig,
    dataset: ImageDataset,
    records: Sequence[ImageRecord],
    teacher_answers: TeacherAnswers,
    images: ImageLabels,
) -> Tensor | None:
    """The share of each image in each group [N, G], None where none are balanced."""
    if config.balance is None:
        return None
    keys = balanced_keys(config.balance, teacher_answers)
    answers = teacher_answers.of("image").only(keys)
    return torch.from_numpy(soft_groups(log_odds_of(dataset, records, answers), images))


def balanced_keys(balance: Sequence[str], teacher_answers: TeacherAnswers) -> tuple[str, ...]:
    """The keys of the questions that are named by key or text, each once. Raises ExamplesInvalid where there are no
    answers about images, and QuestionsInvalid for a question that was not asked."""
    answers = teacher_answers.image
    if answers is None:
        given = "they are about classes" if teacher_answers.classes is not None else "there are none"
        raise ExamplesInvalid(
            f"balance needs answers about the training images, and {given}; ask a teacher with 'aspects extract', or "
            f"leave balance out"
        )
    return tuple(dict.fromkeys(answers.questions.named(name).key for name in balance))


def aspects_of(config: StudentConfig, teacher_answers: TeacherAnswers) -> tuple[Aspect, ...]:
    """The outputs beside the classes that the config's student has."""
    found: dict[str, Aspect] = {}
    for term in config.objective.aspect_terms:
        answers = teacher_answers.of(term.level)
        for column in chosen_questions(config, answers.questions):
            question = answers.questions.questions[column]
            others = (f"{question.key}_{end}" for end in itertools.chain([term.level], itertools.count(2)))
            key = next(name for name in itertools.chain([question.key], others) if name not in found)
            found[key] = Aspect(key=key, text=question.text, link=term.link)
    return tuple(found.values())


def _learn_what(
    config: StudentConfig,
    dataset: ImageDataset,
    records: Sequence[ImageRecord],
    teacher_answers: TeacherAnswers,
    images: ImageLabels,
    left_out: NDArray[np.bool_],
) -> tuple[tuple[Tensor, ...], dict[int, Tensor]]:
    method = config.objective
    if method.answer_terms and not teacher_answers.given:
        raise ExamplesInvalid(
            f"method '{config.method}' learns from answers, but there are none; ask a teacher, or take method base"
        )

    def log_odds(level: Level) -> Values:
        answers = teacher_answers.of(level)
        values = log_odds_of(dataset, records, answers)[:, chosen_questions(config, answers.questions)]
        if answers is teacher_answers.classes:  # they were looked up by the label: where that is hidden, there are none
            values = only_labelled(values, images)
        return _without(values, left_out)

    known, terms = teacher_answers.classes is not None, method.target_terms
    learned = tuple(_target(term, log_odds, images, about_classes=known) for term in terms)
    return learned, answer_weights(terms, log_odds, images)


def _target(
    term: AspectTerm | ClassTerm, log_odds: Callable[[Level], Values], images: ImageLabels, *, about_classes: bool
) -> Tensor:
    """[N, K] for one term; `about_classes` says whether there are answers about classes."""
    by_answers = isinstance(term, AspectTerm) or term.answers
    values: Values = log_odds(term.level) if by_answers else np.zeros((len(images.labels), 0), dtype=np.float32)
    for transform in term.chain:
        values = transform(values, images)
    if by_answers and term.level == "class" and not about_classes:
        values = class_mean(values, images)
    return torch.from_numpy(values.astype(np.float32))


def _without(values: Values, left_out: NDArray[np.bool_]) -> Values:
    """`values` [N, K] with NaN for the images `left_out` [N], which nothing may be learned from."""
    return np.where(left_out[:, None], np.float32(np.nan), values) if left_out.any() else values


def digest_of(dataset: ImageDataset, records: Sequence[ImageRecord], teacher_answers: TeacherAnswers) -> str:
    """Digest of a training set: ids, labels, class names and answers, in order. Images of the split `unlabelled` have
    no label."""
    digest = hashlib.sha256(repr((dataset.name, tuple(dataset.class_names))).encode())
    labels = [UNKNOWN if record.split == UNLABELLED else record.label for record in records]
    digest.update(repr([(record.image_id, label) for record, label in zip(records, labels, strict=True)]).encode())
    for answers in teacher_answers.given:
        digest.update(repr(answers.questions.keys).encode())
        digest.update(log_odds_of(dataset, records, answers).tobytes())
    if teacher_answers.probes is not None:
        digest.update(teacher_answers.probes.digest())
    return digest.hexdigest()[:16]


def _answered(dataset: ImageDataset, records: Sequence[ImageRecord], answers: Answers | None) -> NDArray[np.bool_]:
    """Which images have an answer [N]; all, where there are no answers at all."""
    if answers is None:
        return np.ones(len(records), dtype=bool)
    return np.asarray(~np.isnan(log_odds_of(dataset, records, answers)).all(axis=1))


def _learns_without_labels(config: StudentConfig, targets: Sequence[Tensor], unlabelled: NDArray[np.int64]) -> bool:
    """Whether an image of the `unlabelled`, by their index, teaches anything: by a target, its views, or a network."""
    if config.objective.network_terms or config.objective.consistency_terms:
        return True
    return any(not bool(target[unlabelled].isnan().all()) for target in targets)


def _refuse_unanswered(
    config: StudentConfig, dataset: ImageDataset, records: Sequence[ImageRecord], answered: NDArray[np.bool_]
) -> None:
    missing = np.flatnonzero(~answered).tolist()
    if not missing or (config.missing_answers == "drop" and answered.any()):
        return
    named = ", ".join(records[index].image_id for index in missing[:3])
    more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
    raise ExamplesInvalid(
        f"{len(missing)} of {len(records)} training images of dataset '{dataset.name}' have no answer: {named}{more}; "
        f"ask the teacher about them, or leave them out by --set missing_answers=drop"
    )
