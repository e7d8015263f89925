"""Apply corrections to a dataset's labels and to a teacher's answers, and read them as the answers of a teacher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from storage.answers.read import Answers
from storage.corrections.current import CurrentCorrections
from storage.corrections.rows import YES, Correction, CorrectionInvalid
from storage.datasets.base import TRAINING_SPLITS, UNKNOWN, ImageDataset, ImageRecord
from storage.questions import AspectQuestion, QuestionSet
from storage.text import printable

HUMAN = "human"  # the teacher's fingerprint of answers by people
# p(yes) of a person's yes is SURE, not 1: the losses need finite log-probabilities and log-odds (4.6), which are then
# about those of a teacher's sure answers. People err too, in a few percent of their answers.
SURE = 0.99
Images = TypeVar("Images", bound=ImageDataset)


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """How many corrections took effect: changed labels, images that became unlabelled, images left out of splits that
    are evaluated on, changed answers; `ignored` are those about images or questions that are not there or have
    changed."""

    labels: int = 0
    unlabelled: int = 0
    left_out: int = 0
    answers: int = 0
    ignored: int = 0

    def __add__(self, other: Applied) -> Applied:
        return Applied(**{name: getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__})

    def __str__(self) -> str:
        parts = [f"{_count(self.labels, 'label')} and {_count(self.answers, 'answer')} corrected"]
        if self.unlabelled:
            parts.append(f"{_count(self.unlabelled, 'image')} unlabelled")
        if self.left_out:
            parts.append(f"{_count(self.left_out, 'image')} of unsure label left out of the evaluation")
        if self.ignored:
            parts.append(f"{_count(self.ignored, 'correction')} ignored: image or question changed or not there")
        return "; ".join(parts)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def correct_labels(
    dataset: Images, current: CurrentCorrections, digests: Mapping[str, str | None] | None = None
) -> tuple[Images | ImageDataset, Applied]:
    """Return the dataset with corrected labels of all splits. Images of split `unlabelled` that got a label are in
    `train`. Training images of unsure label become unlabelled; those of other splits are left out, since nothing can be
    evaluated on them.

    `digests` are the images' SHA-256, where they are known: a correction of another version of an image is ignored.
    Raises CorrectionInvalid for a class that the dataset does not have.
    """
    known = {record.image_id for record in dataset.records}
    missing = sum(image_id not in known for image_id in current.labels)
    records: list[ImageRecord] = []
    labels = unlabelled = left_out = stale = 0
    numbers = {name: number for number, name in enumerate(dataset.class_names)}
    for record in dataset.records:
        row = current.labels.get(record.image_id)
        if row is None or record.label_name == row.value:
            records.append(record)
        elif is_stale(row, (digests or {}).get(record.image_id)):
            stale += 1
            records.append(record)
        elif row.value is not None:
            labels += 1
            # An image with a label is a training image.
            split = "train" if record.split in TRAINING_SPLITS else record.split
            number = _number(numbers, row, dataset.name)
            records.append(replace(record, split=split, label=number, label_name=row.value))
        elif record.split in TRAINING_SPLITS:
            unlabelled += record.label != UNKNOWN
            records.append(replace(record, label=UNKNOWN, label_name=""))
        else:
            left_out += 1
    applied = Applied(labels=labels, unlabelled=unlabelled, left_out=left_out, ignored=missing + stale)
    if not (labels or unlabelled or left_out):
        return dataset, applied
    return dataset.subset(records), applied


def _number(numbers: Mapping[str, int], row: Correction, dataset: str) -> int:
    if row.value is None or row.value not in numbers:
        raise CorrectionInvalid(
            f"image '{printable(row.image_id, 200)}' was corrected to class '{printable(str(row.value), 100)}', which "
            f"dataset '{dataset}' does not have; correct it again, or 'aspects corrections undo {row.correction}'"
        )
    return numbers[row.value]


def is_stale(row: Correction, digest: str | None) -> bool:
    """Return whether the image has changed since it was corrected, as far as digests are known."""
    return None not in (row.image_sha256, digest) and row.image_sha256 != digest


def correct_answers(answers: Answers, current: CurrentCorrections) -> tuple[Answers, Applied]:
    """Return the answers with people's corrections applied; if a person was unsure, the teacher's answer stays.

    Questions are matched by their text. An image without answers gets those that people have given.
    """
    yes_IQ, applied = human_truth(answers, current)
    changed = ~np.isnan(yes_IQ)
    if not changed.any():
        return answers, applied
    log_yes, log_no = human_log_probabilities(yes_IQ)
    corrected = replace(answers, yes=np.where(changed, log_yes, answers.yes), no=np.where(changed, log_no, answers.no))
    return corrected, applied


def correct_class_answers(answers: Answers, dataset: ImageDataset) -> Answers:
    """Return answers about classes with those of each image's label in `dataset`, which may be a corrected one; NaN for
    a class without answers."""
    names = {record.image_id: record.label_name for record in dataset.records}
    row_of = {name: row for row, name in reversed(list(enumerate(answers.label_names)))}
    labels = [names.get(image_id, name) for image_id, name in zip(answers.image_ids, answers.label_names, strict=True)]
    if labels == list(answers.label_names):
        return answers
    rows = np.array([row_of.get(name, -1) if name else -1 for name in labels])
    rows = np.where(
        [name == old for name, old in zip(labels, answers.label_names, strict=True)], range(len(rows)), rows
    )
    yes, no = (np.where(rows[:, None] >= 0, values[rows], np.nan) for values in (answers.yes, answers.no))
    return replace(answers, label_names=tuple(labels), yes=yes.astype(np.float32), no=no.astype(np.float32))


def human_truth(answers: Answers, current: CurrentCorrections) -> tuple[NDArray[np.float64], Applied]:
    """Return people's corrections of `answers` [I, Q]: 1 yes, 0 no, NaN without a correction or if the person was
    unsure."""
    rows = {image_id: row for row, image_id in enumerate(answers.image_ids)}
    columns = {text: column for column, text in enumerate(answers.questions.texts)}
    found = np.full(answers.yes.shape, np.nan)
    ignored = 0
    for (image_id, text), correction in current.answers.items():
        row, column = rows.get(image_id), columns.get(text)
        if row is None or column is None or is_stale(correction, answers.image_sha256[row]):
            ignored += 1
        elif correction.value is not None:
            found[row, column] = float(correction.value == YES)
    return found, Applied(answers=int((~np.isnan(found)).sum()), ignored=ignored)


def human_log_probabilities(yes: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the log-probabilities of yes and of no in nats for answers of people: 1 yes, 0 no, NaN none."""
    p_yes = np.where(np.isnan(yes), np.nan, np.where(yes > 0.5, SURE, 1 - SURE))
    return np.log(p_yes).astype(np.float32), np.log1p(-p_yes).astype(np.float32)


def human_answers(dataset: ImageDataset, current: CurrentCorrections, questions: QuestionSet | None = None) -> Answers:
    """Return the corrections as answers of a teacher called "human" about the dataset's images with any, in its order.

    NaN where there is no correction. `questions` are by default those that were answered, under the key of their first
    answer. Raises CorrectionInvalid where there is none.
    """
    asked = questions or _answered_questions(current)
    texts = set(asked.texts)
    answered = {image_id for (image_id, text), row in current.answers.items() if text in texts and row.value}
    records = [record for record in dataset.records if record.image_id in answered]
    if not records:
        raise CorrectionInvalid(f"no answer about an image of dataset '{dataset.name}' is corrected; correct one first")
    digests = {image_id: row.image_sha256 for (image_id, _), row in current.answers.items()}
    empty = np.full((len(records), len(asked)), np.nan, np.float32)
    blank = Answers(
        dataset=dataset.name,
        teacher=HUMAN,
        questions=asked,
        image_ids=tuple(record.image_id for record in records),
        image_sha256=tuple(digests.get(record.image_id) for record in records),
        splits=tuple(record.split for record in records),
        label_names=tuple(record.label_name for record in records),
        errors=(None,) * len(records),
        yes=empty,
        no=empty,
    )
    return correct_answers(blank, current)[0]


def _answered_questions(current: CurrentCorrections) -> QuestionSet:
    questions: dict[str, AspectQuestion] = {}
    keys: set[str] = set()
    for row in current.rows:
        if row.kind == "answer" and row.key and row.text and row.text not in questions:
            key, number = row.key, 2
            while key in keys:  # the same key stood for another text
                key, number = f"{row.key}_{number}", number + 1
            keys.add(key)
            questions[row.text] = AspectQuestion(key=key, text=row.text)
    if not questions:
        raise CorrectionInvalid("no answer is corrected; correct one first")
    return QuestionSet(tuple(questions.values()))


def digests_of(given: Sequence[Answers]) -> dict[str, str | None]:
    """Return the SHA-256 of images by id, from answers about them."""
    return {
        image_id: digest
        for answers in given
        for image_id, digest in zip(answers.image_ids, answers.image_sha256, strict=True)
    }
