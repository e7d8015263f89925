"""What the commands of `flows/cli/app.py` do where a task decides: from options to parameters, checks, and the flow.

Options come as `given`, by the names that they have as arguments of the command.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.cli import direct, options
from flows.parameters import SMALL_STUDENT, BoxParameters, DatasetParameters, StudentParameters

if TYPE_CHECKING:
    from student.core.results import Results

DETECTION = "detection"


def ask(given: dict[str, Any], student: StudentParameters | None = None) -> Results | None:
    """Ask about images, then train `student` where there is one: its results."""
    _check_store(given["store"])
    if given["task"] == DETECTION:
        return _ask_about_boxes(given, student)
    options.refuse_boxes(given)
    questions = _questions(given)
    from flows.work.extraction import check_inputs, extract_aspects
    from flows.work.inputs import Inputs

    if student is not None:
        student.config()
    asked, inputs = options.asking_parameters(given), Inputs()
    with direct.terminal().working("checking dataset and questions"):
        check_inputs(inputs, asked["dataset"], questions, asked["splits"], asked["teacher"], asked["engine"])
        asked["teacher"].answering(asked["dataset"])
    train = student is not None
    trained = student or SMALL_STUDENT
    return direct.carry_out(extract_aspects, inputs, questions=questions, train=train, student=trained, **asked).results


def forecast(given: dict[str, Any]) -> list[str]:
    """What `ask` would ask, in lines for people; nothing is asked and no model loaded."""
    _check_store(given["store"])
    from flows.work.detection import to_ask
    from flows.work.extraction import forecast_about
    from storage.questions import load_questions

    asked = options.asking_parameters(given)
    if given["task"] == DETECTION:
        shown = to_ask(asked["dataset"].open_detection(), _boxes(given), *question_files(given))
    else:
        options.refuse_boxes(given)
        shown = {"images": (asked["dataset"].open(), _questions(given))}
    resolved = (
        asked["teacher"].answering(asked["dataset"]).resolve(asked["engine"].choose()[0], asked["engine"].settings())
    )
    place = (asked["splits"], resolved, asked["store"], asked["shard_size"])
    forecasts = [
        forecast_about(images, load_questions(Path(file).expanduser()), *place, verify=asked["verify"])
        for images, file in shown.values()
    ]
    return [line for told in forecasts for line in told.lines()]


def _ask_about_boxes(given: dict[str, Any], student: StudentParameters | None) -> Results | None:
    from flows.work.detection import check_detection_inputs, detect_aspects, evaluation_split, student_for
    from flows.work.inputs import Inputs

    questions, box_questions = question_files(given)
    boxes, asked, inputs = _boxes(given), options.asking_parameters(given), Inputs()
    if student is not None:
        student_for(student, questions, box_questions).detector_config()
    with direct.terminal().working("checking dataset and questions"):
        about = {name: asked[name] for name in ("dataset", "splits", "teacher", "engine")}
        check_detection_inputs(inputs, questions=questions, box_questions=box_questions, boxes=boxes, **about)
        if student is not None:
            evaluation_split(inputs.boxed(asked["dataset"]))
        asked["teacher"].answering(asked["dataset"])
    _, results = direct.carry_out(
        detect_aspects,
        inputs,
        questions=questions,
        box_questions=box_questions,
        boxes=boxes,
        train=student is not None,
        detector=student or SMALL_STUDENT,
        **asked,
    )
    return results


def train(given: dict[str, Any], student: StudentParameters) -> Results:
    """Train on answers that the store has."""
    _check_store(given["store"])
    from flows.work.inputs import Inputs

    images, inputs = _dataset(given), Inputs()
    questions, box_questions = question_files(given)
    if given["task"] == DETECTION:
        if given["class_teacher"] is not None:
            raise options.OptionInvalid("--class-teacher is for --task classification; leave it out")
        from flows.work.detection import evaluation_split, load_detection_answers, student_for, train_detectors

        student_for(student, questions, box_questions).detector_config()
        boxed, boxes = inputs.boxed(images), BoxParameters(view=given["box_view"])
        evaluation_split(boxed)
        named = (given["teacher"], questions, box_questions)
        load_detection_answers(given["store"], boxed, *named, boxes, inputs.answers)
        return direct.carry_out(
            train_detectors,
            inputs,
            dataset=images,
            store=given["store"],
            teacher=given["teacher"],
            questions=questions,
            box_questions=box_questions,
            boxes=boxes,
            detector=student,
        )
    options.refuse_boxes(given)
    from flows.work.training import load_teacher_answers, train_student

    needed = bool(student.config().objective.answer_terms)
    named = (given["teacher"], questions, given["class_teacher"])
    load_teacher_answers(given["store"], inputs.images(images).name, *named, needed=needed, read=inputs.answers)
    return direct.carry_out(
        train_student,
        inputs,
        dataset=images,
        store=given["store"],
        teacher=given["teacher"],
        questions=questions,
        class_teacher=given["class_teacher"],
        student=student,
    )


def evaluate(given: dict[str, Any]) -> None:
    """Print the scores of a classifier's run or a detector's, and why aspects are not among them."""
    if given["store"]:
        _check_store(given["store"])
    from student.core.progress import note
    from student.detection.runs import is_detector_run

    lines = _evaluate_detector(given) if is_detector_run(given["run"]) else _evaluate_classifier(given)
    for line in lines:
        note(line)


def _evaluate_classifier(given: dict[str, Any]) -> list[str]:
    options.refuse_boxes(given, f"is for the run of a detector, and {given['run']} is none; leave it out")
    from flows.cli.report import print_evaluation
    from flows.work.training import find_teacher_answers
    from student.classification.evaluate import evaluate as evaluate_run
    from student.classification.runs import RunDescription
    from student.core.evaluation import why_unscored
    from student.core.runs import read_description
    from student.core.settings import present_accelerator

    run, split, store = (given[name] for name in ("run", "split", "store"))
    learned = read_description(run, RunDescription).aspects
    images = _dataset(given).open()
    questions, _ = question_files(given)
    answers = find_teacher_answers(store, images.name, given["teacher"], questions) if store else None
    scores = evaluate_run(run, images, answers, split, accelerator=present_accelerator(), progress=True)
    print_evaluation(scores)
    return why_unscored(learned, scores.aspects, scores.images, split) if store else []


def _evaluate_detector(given: dict[str, Any]) -> list[str]:
    from flows.cli.report import print_detection_evaluation
    from flows.work.detection import load_detection_answers
    from student.core.evaluation import why_unscored
    from student.core.runs import read_description
    from student.core.settings import present_accelerator
    from student.detection.evaluate import evaluate_detector
    from student.detection.runs import DetectorDescription

    run, split, store = (given[name] for name in ("run", "split", "store"))
    learned = read_description(run, DetectorDescription)
    photos, boxes = _dataset(given).open_detection(), BoxParameters(view=given["box_view"])
    questions, box_questions = question_files(given)
    known = None
    if store:
        known = load_detection_answers(store, photos, given["teacher"], questions, box_questions, boxes)
    found = evaluate_detector(run, photos, known, split, accelerator=present_accelerator(), progress=True)
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


def _check_store(store: str) -> None:
    """Raises StoreUnreachable and StorageUnavailable, before anything that takes seconds to import."""
    from storage.filesystem import open_store

    open_store(store)


def question_files(given: dict[str, Any]) -> tuple[str | None, str | None]:
    """The question sets about images and about boxes."""
    images, boxes = (str(given[name]) if given[name] else None for name in ("questions", "box_questions"))
    return images, boxes


def _questions(given: dict[str, Any]) -> str:
    if given["questions"] is None:
        raise options.OptionInvalid(
            "--questions is missing; name a YAML file or a bundled set, e.g. --questions scenes"
        )
    return str(given["questions"])


def _boxes(given: dict[str, Any]) -> BoxParameters:
    return BoxParameters(view=given["box_view"], margin=given["box_margin"], smallest=given["smallest_box"])


def _dataset(given: dict[str, Any]) -> DatasetParameters:
    root: Path | None = given["root"]
    return options.dataset_parameters(given["dataset"], given["name"], root, given["download"])
