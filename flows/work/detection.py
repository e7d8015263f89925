"""Ask about images with boxes, and train detectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flows.parameters import (
    DetectionParameters,
    DetectorTrainingParameters,
    Experiment,
    StudentParameters,
)
from flows.work import checks
from flows.work.asking import TeacherWorkers
from flows.work.checks import (
    ANSWERS_PLACE,
    check_writable,
    require_training_split,
    say_split,
)
from flows.work.extraction import ask_about, check_teacher, find_teacher, splits_to_have
from flows.work.extraction_summary import ExtractionSummary, require_all
from flows.work.grids import say_processor_notes, show_results
from flows.work.host import Host, Reporter
from flows.work.inputs import Inputs
from flows.work.reports import require_report_place, show_report
from storage.datasets.base import ImageDataset, select
from storage.datasets.detection import DetectionDataset, require_boxes
from storage.errors import InputInvalid
from storage.questions import QuestionSet, load_questions
from teacher.extraction.plan import directory_of

if TYPE_CHECKING:  # torch takes seconds to import, and extractions do not need it
    from student.core.results import Results
    from student.detection.config import DetectorConfig
    from student.detection.examples import DetectionAnswers
    from student.detection.experiment import DetectorGrid
    from student.detection.runs import DetectorLog

IMAGES, BOXES = "images", "boxes"
# The default method, by what was asked about (images, boxes): learn from all of it.
METHODS = {(True, True): "both", (True, False): "image", (False, True): "box", (False, False): "base"}


class QuestionsMissing(InputInvalid):
    """There are no questions to ask; the message says what to give."""


def detect_aspects(host: Host, asked: DetectionParameters) -> tuple[Mapping[str, ExtractionSummary], Results | None]:
    """Ask for missing answers, then train detectors with and without the answers unless `train` is false.

    Can be restarted at any time, like `extract-aspects`.
    """
    store = asked.store
    if asked.train:
        require_report_place(asked)
    with host.reporter.working("reading the dataset"):
        images = host.inputs.boxed(asked.dataset)
        splits = asked.splits_of(images)
        resolved = find_teacher(host.reporter, asked)
        sets = {
            what: (shown, load_questions(Path(file).expanduser()))
            for what, (shown, file) in to_ask(images, asked).items()
        }
        if asked.train:
            detector = student_for(asked.detector, asked.questions, asked.box_questions)
            check_detector_training(images, detector, sets, resolved.fingerprint)
        for shown, each in sets.values() if asked.train else ():
            require_training_split(splits_to_have(directory_of(shown, each, resolved, store), splits))
    summaries = {}
    with TeacherWorkers(resolved, asked.engine, host.reporter.say) as workers:
        for what, (shown, each) in sets.items():
            summaries[what] = ask_about(
                host,
                shown,
                each,
                splits,
                workers,
                store,
                asked.shard_size,
                verify=asked.verify,
                keep_answers=asked.train,
                task_runs=asked.task_runs,
            )
    require_all(summaries.values())
    if not asked.train:
        return summaries, None
    training = DetectorTrainingParameters(
        dataset=asked.dataset,
        store=store,
        teacher=resolved.fingerprint,
        questions=asked.questions,
        box_questions=asked.box_questions,
        boxes=asked.boxes,
        detector=asked.detector,
        report=asked.report,
    )
    return summaries, train_detectors(host, training)


def train_detectors(host: Host, asked: DetectorTrainingParameters) -> Results:
    """Train on the complete answers that the store has about the images (`questions`) and the boxes (`box_questions`);
    finished detectors in `detector.runs` are kept."""
    from student.detection.examples import detection_digest

    require_report_place(asked)
    detector = asked.detector
    config = student_for(detector, asked.questions, asked.box_questions).detector_config()
    images = host.inputs.boxed(asked.dataset)
    split = evaluation_split(images)
    say_split(host.reporter, split)
    teacher_answers = read_stored_answers(host.inputs, asked)
    seeds = ", ".join(str(seed) for seed in detector.seeds)
    what = f"{config.detector} on {config.backbone} for {config.epochs} epochs"
    host.reporter.say(f"training {what} by base and {config.method}, seeds {seeds}")
    digest = detection_digest(images, select(images, ("train",)), teacher_answers)
    runs = Path(detector.runs.replace(ANSWERS_PLACE, digest)).expanduser()
    grid = _grid_of(config, detector.seeds)
    results = train_detection_grid(host.reporter, grid, images, teacher_answers, runs, split=split)
    host.reporter.say(f"detectors and report: {runs}")
    show_report(host.reporter, asked, images, teacher_answers.images or teacher_answers.boxes, runs)
    return results


def read_stored_answers(inputs: Inputs, asked: DetectorTrainingParameters | Experiment) -> DetectionAnswers:
    """Load the answers. Raises AnswersMissing like `load_detection_answers`."""
    from student.detection.stored_answers import load_detection_answers

    teacher = asked.only_teacher() if isinstance(asked, Experiment) else asked.teacher
    named = (teacher, asked.questions, asked.box_questions)
    return load_detection_answers(
        asked.store, inputs.boxed(asked.dataset), *named, asked.boxes.view, read=inputs.answers
    )


def train_detection_grid(
    reporter: Reporter,
    grid: DetectorGrid,
    images: DetectionDataset,
    teacher_answers: DetectionAnswers,
    runs: Path,
    *,
    split: str,
) -> Results:
    """Train the missing detectors of the grid; log epochs, and show results on the run's page and in runs/report.md."""
    from student.detection.experiment import run_detection_experiment

    def log_epoch(cell: str, seed: int, log: DetectorLog) -> None:
        watched = "" if log.watched_map50 is None else f", mAP50 {100 * log.watched_map50:.1f} %"
        reporter.detail(f"{cell}, seed {seed}: epoch {log.epoch}, loss {log.loss:.3f}{watched}")

    check_writable(runs)
    grid.check(images, teacher_answers, runs)
    say_processor_notes(reporter, grid.cells(runs)[0].config)
    results = run_detection_experiment(
        grid, images, teacher_answers, runs, split=split, progress=reporter.progress_bars, on_epoch=log_epoch
    )
    show_results(reporter, results, None, runs)
    return results


def _grid_of(config: DetectorConfig, seeds: Sequence[int]) -> DetectorGrid:
    from student.detection.experiment import DetectorGrid

    methods = list(dict.fromkeys(["base", config.method]))
    return DetectorGrid(settings=config.to_dict(), axes={"method": methods}, seeds=seeds)


def check_detector_training(
    images: DetectionDataset,
    detector: StudentParameters,
    asked: Mapping[str, tuple[ImageDataset, QuestionSet]],
    teacher: str,
) -> None:
    """Raise the errors of training detectors on answers to `asked` by `teacher` (its fingerprint) about settings,
    splits, boxes and the runs folder."""
    from student.core.examples import random_answers
    from student.detection.examples import DetectionAnswers

    config = detector.detector_config()
    evaluation_split(images)
    check_writable(Path(detector.runs.partition(ANSWERS_PLACE)[0]).expanduser())
    runs = None if ANSWERS_PLACE in detector.runs else Path(detector.runs).expanduser()
    answers = {what: random_answers(shown, each, teacher) for what, (shown, each) in asked.items()}
    teacher_answers = DetectionAnswers(**answers)
    _grid_of(config, detector.seeds).check(images, teacher_answers, runs)


def student_for(detector: StudentParameters, questions: str | None, box_questions: str | None) -> StudentParameters:
    """Return `detector` with the method that learns from all answers, unless it names one."""
    method = METHODS[questions is not None, box_questions is not None]
    return detector.model_copy(update={"settings": {"method": method, **detector.settings}})


def to_ask(images: DetectionDataset, asked: DetectionParameters) -> dict[str, tuple[ImageDataset, str]]:
    """Return what to ask about, each with its question file. Raises QuestionsMissing if there is none."""
    found: dict[str, tuple[ImageDataset, str]] = {}
    if asked.questions is not None:
        found[IMAGES] = images, asked.questions
    if asked.box_questions is not None:
        found[BOXES] = asked.boxes.of(images), asked.box_questions
    if not found:
        raise QuestionsMissing("nothing to ask; give --questions about images, --box-questions about boxes, or both")
    return found


def check_detection_inputs(inputs: Inputs, asked: DetectionParameters) -> None:
    """Raise the errors of `detect_aspects` about its inputs that can be found without reading images."""
    for shown, file in to_ask(inputs.boxed(asked.dataset), asked).values():
        load_questions(Path(file).expanduser())
        select(shown, asked.splits_of(shown))
    check_teacher(asked)


def evaluation_split(images: DetectionDataset) -> str:
    """Return `test` if there is one, else the dataset's equivalent: val, ...

    Raises DatasetInvalid if there is none, and if it or `train` has no boxes.
    """
    split = checks.evaluation_split(images)
    require_boxes(images, ("train", split))
    return split
