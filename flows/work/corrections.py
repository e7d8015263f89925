"""Apply people's corrections to what students are trained and evaluated on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

from storage.datasets.base import ImageDataset

if TYPE_CHECKING:  # torch takes seconds
    from flows.parameters.student import UseCorrections
    from student.classification.examples import TeacherAnswers


def apply_corrections(
    say: Callable[[str], None], use: UseCorrections, store: str, images: ImageDataset, teacher_answers: TeacherAnswers
) -> tuple[ImageDataset, TeacherAnswers]:
    """Return the images with corrected labels, and the answers with corrected ones, calibrated where `use` says so, and
    report how many. Unchanged where `use` is "ignore". Raises CorrectionInvalid, VersionUnsupported and
    StorageUnavailable."""
    if use == "ignore":
        return images, teacher_answers
    from storage.corrections import CorrectionFolder, current_corrections
    from storage.corrections.apply import correct_answers, correct_class_answers, correct_labels, digests_of

    current = current_corrections(CorrectionFolder.open(store, images.name).read())
    if not current:
        say(f"store {store} has no corrections of dataset '{images.name}'")
        return images, teacher_answers
    images, applied = correct_labels(images, current, digests_of(teacher_answers.given))
    answers, calibrated = teacher_answers.image, ""
    if answers is not None:
        given = answers
        if use == "calibrate":
            from storage.corrections.calibration import fit_calibration
            from storage.corrections.queue import Queue

            calibration = fit_calibration(Queue.of(given), current)
            answers = calibration.apply(given) if calibration.corrected else given
            calibrated = f"; p(yes) calibrated by {calibration.corrected:,} answers of the queue"
        answers, changed = correct_answers(answers, current)
        applied += changed
    said = f"{applied}{calibrated}"
    say(f"corrections: {said}")
    classes = teacher_answers.classes
    if classes is not None:
        classes = correct_class_answers(classes, images)
    return images, dataclasses.replace(teacher_answers, image=answers, classes=classes, corrections=said)
