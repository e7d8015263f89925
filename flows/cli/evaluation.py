"""What `aspects evaluate` prints: the scores of a trained classifier or detector."""

from __future__ import annotations

from pathlib import Path

from flows.parameters import BoxParameters, DatasetParameters


def evaluate_classifier(
    run: Path, dataset: DatasetParameters, split: str, store: str | None, teacher: str | None, questions: str | None
) -> list[str]:
    """Print the scores. Returns why aspects are not among them, a line each."""
    from flows.cli.report import print_evaluation
    from flows.work.training import find_teacher_answers
    from student.classification.evaluate import evaluate
    from student.classification.runs import RunDescription
    from student.core.evaluation import why_unscored
    from student.core.runs import read_description
    from student.core.settings import present_accelerator

    learned = read_description(run, RunDescription).aspects
    images = dataset.open()
    answers = find_teacher_answers(store, images.name, teacher, questions) if store else None
    scores = evaluate(run, images, answers, split, accelerator=present_accelerator(), progress=True)
    print_evaluation(scores)
    return why_unscored(learned, scores.aspects, scores.images, split) if store else []


def evaluate_detector(
    run: Path,
    dataset: DatasetParameters,
    split: str,
    store: str | None,
    teacher: str | None,
    questions: str | None,
    box_questions: str | None,
    boxes: BoxParameters,
) -> list[str]:
    """As `evaluate_classifier`."""
    from flows.cli.report import print_detection_evaluation
    from flows.work.detection import load_detection_answers
    from student.core.evaluation import why_unscored
    from student.core.runs import read_description
    from student.core.settings import present_accelerator
    from student.detection.evaluate import evaluate_detector as evaluate_run
    from student.detection.runs import DetectorDescription

    learned = read_description(run, DetectorDescription)
    images, known = dataset.open_detection(), None
    if store:
        known = load_detection_answers(store, images, teacher, questions, box_questions, boxes)
    found = evaluate_run(run, images, known, split, accelerator=present_accelerator(), progress=True)
    print_detection_evaluation(found)
    if known is None:
        return []
    if known.images is None and known.boxes is None:
        return ["no aspects are scored; name what was asked with --questions or --box-questions"]
    lines = []
    if known.images is not None:
        lines += why_unscored(learned.image_aspects, found.image_aspects, found.images, split)
    if known.boxes is not None:
        lines += why_unscored(learned.box_aspects, found.box_aspects, found.boxes, split, what="boxes")
    return lines
