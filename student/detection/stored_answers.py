"""Read the answers that a detector learns from out of a store."""

from __future__ import annotations

from typing import Literal

from storage.answers.read import ReadAnswers, find_teacher_answers, read_answers
from storage.datasets.detection import DetectionDataset, boxes_name
from student.detection.examples import DetectionAnswers


def load_detection_answers(
    store: str,
    images: DetectionDataset,
    teacher: str | None,
    questions: str | None,
    box_questions: str | None,
    view: Literal["crop", "drawn"],
    read: ReadAnswers = read_answers,
) -> DetectionAnswers:
    """What the store knows. Raises AnswersMissing where there are no answers to one of the question sets, or several to
    choose from."""
    about_boxes = boxes_name(images.name, view)
    names = {"images": (images.name, questions), "boxes": (about_boxes, box_questions)}
    return DetectionAnswers(
        **{
            what: find_teacher_answers(store, name, teacher, file, read)
            for what, (name, file) in names.items()
            if file is not None
        }
    )
