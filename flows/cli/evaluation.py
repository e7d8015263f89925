"""What `aspects evaluate` prints: the scores of a trained classifier or detector."""

from __future__ import annotations

from pathlib import Path

from flows.parameters import AnswersParameters, BoxParameters


def evaluate_classifier(run: Path, asked: AnswersParameters, split: str, *, scored: bool) -> list[str]:
    """Print the scores, those of the aspects too if `scored`. Returns why aspects are missing, one line each."""
    from flows.cli.report import print_evaluation
    from storage.answers.read import find_teacher_answers
    from student.classification.evaluate import evaluate
    from student.classification.runs import RunDescription
    from student.core.evaluation import why_unscored
    from student.core.runs import read_description
    from student.core.settings import present_accelerator

    learned = read_description(run, RunDescription).aspects
    images = asked.dataset.open()
    named = (images.name, asked.teacher, asked.questions)
    answers = find_teacher_answers(asked.store, *named) if scored else None
    scores = evaluate(run, images, answers, split, accelerator=present_accelerator(), progress=True)
    print_evaluation(scores)
    return why_unscored(learned, scores.aspects, scores.images, split) if scored else []


def evaluate_detector(
    run: Path,
    asked: AnswersParameters,
    box_questions: str | None,
    boxes: BoxParameters,
    split: str,
    *,
    scored: bool,
) -> list[str]:
    """As `evaluate_classifier`."""
    from flows.cli.report import print_detection_evaluation
    from student.core.evaluation import why_unscored
    from student.core.runs import read_description
    from student.core.settings import present_accelerator
    from student.detection.evaluate import evaluate_detector as evaluate_run
    from student.detection.runs import DetectorDescription
    from student.detection.stored_answers import load_detection_answers

    learned = read_description(run, DetectorDescription)
    images, known = asked.dataset.open_detection(), None
    if scored:
        named = (asked.teacher, asked.questions, box_questions)
        known = load_detection_answers(asked.store, images, *named, boxes.view)
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
