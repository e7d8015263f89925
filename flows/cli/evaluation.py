"""The output of `aspects evaluate`: the scores of a trained classifier or detector."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.console import Console

from flows.cli.markup import TextTable
from flows.parameters import AnswersParameters, BoxParameters

if TYPE_CHECKING:
    from student.classification.confused_classes import ConfusedPair
    from student.classification.evaluate import Evaluation

RELIABILITY_PLOT = "reliability-{split}.png"
PAIRS_SHOWN = 5


def evaluate_classifier(
    run: Path,
    asked: AnswersParameters,
    split: str,
    *,
    scored: bool,
    calibrate: bool,
    corrections: Literal["ignore", "use"] = "ignore",
    group_by: Sequence[str] | None = None,
) -> list[str]:
    """Print the scores, with those of the aspects if `scored` and those of groups, and plot the reliability of the
    probabilities. Groups are by the questions `group_by`, by default those that the student was balanced by.

    Returns a line for each reason that scores of aspects are missing.
    """
    from flows.cli.report import print_evaluation
    from flows.work.corrections import apply_corrections
    from flows.work.groups import image_groups
    from storage.answers.read import find_teacher_answers
    from student.classification.evaluate import evaluate
    from student.classification.examples import TeacherAnswers
    from student.classification.plots import plot_reliability
    from student.classification.runs import RunDescription
    from student.core.evaluation import why_unscored
    from student.core.progress import note
    from student.core.runs import read_description
    from student.core.settings import present_accelerator

    described = read_description(run, RunDescription)
    learned = described.aspects
    images = asked.dataset.open()
    named = (images.name, asked.teacher, asked.questions)
    answers = find_teacher_answers(asked.store, *named) if scored else None
    images, teacher_answers = apply_corrections(note, corrections, asked.store, images, TeacherAnswers(image=answers))
    answers = teacher_answers.image or teacher_answers.classes
    accelerator = present_accelerator()
    groups = image_groups(note, images, split, teacher_answers.image, group_by, described.config.balance or ())
    scores = evaluate(
        run, images, answers, split, accelerator=accelerator, progress=True, calibrate=calibrate, groups=groups
    )
    plot_reliability(scores, run / RELIABILITY_PLOT.format(split=split))
    print_evaluation(scores)
    print_groups(scores)
    print_confusion(scores)
    return why_unscored(learned, scores.aspects, scores.images, split) if scored else []


def print_groups(evaluation: Evaluation) -> None:
    """The accuracy of the worst group and of each; nothing where there are none."""
    if not evaluation.groups:
        return
    console = Console(highlight=False)
    console.print(f"{'worst group':>16}: {100 * (evaluation.worst_group or 0.0):.2f} %")
    table = TextTable("groups")
    for heading in ("question", "class", "answer", "images", "top-1 %"):
        table.column(heading, number=heading in ("images", "top-1 %"))
    for group in sorted(evaluation.groups, key=lambda group: group.top1):
        table.row(group.text, group.class_name, group.answer, str(group.images), f"{100 * group.top1:.2f}")
    console.print(table)


def print_confusion(evaluation: Evaluation) -> None:
    """Print precision and F1, the reliability of the probabilities, and the most confused classes."""
    console = Console(highlight=False)
    for name, value in (("macro precision", evaluation.macro_precision), ("macro F1", evaluation.macro_f1)):
        if value is not None:
            console.print(f"{name:>16}: {100 * value:.2f} %")
    for name, found in (("ECE", evaluation.reliability), ("calibrated ECE", evaluation.calibrated)):
        if found is not None:
            temperature = f" at temperature {found.temperature:.2f}" if found is evaluation.calibrated else ""
            console.print(f"{name:>16}: {100 * found.ece:.2f} %{temperature}")
    print_confused_pairs(console, "most confused classes", evaluation.confused)


def print_confused_pairs(console: Console, title: str, pairs: Sequence[ConfusedPair]) -> None:
    """Print the first pairs as a table; print nothing if there are none."""
    if not pairs:
        return
    table = TextTable(title)
    for heading in ("classes", "images", "what differs most", "p(yes)"):
        table.column(heading, number=heading == "images")
    for pair in pairs[:PAIRS_SHOWN]:
        question = pair.question
        cells = ("-", "-") if question is None else (question.text, f"{question.first:.2f} / {question.second:.2f}")
        table.row(f"{pair.first} / {pair.second}", str(pair.images), *cells)
    console.print(table)


def evaluate_detector(
    run: Path,
    asked: AnswersParameters,
    box_questions: str | None,
    boxes: BoxParameters,
    split: str,
    *,
    scored: bool,
) -> list[str]:
    """Like `evaluate_classifier`, for detectors."""
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
