"""The commands about students: `aspects train`, `experiment`, `evaluate` and `export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli import evaluation, execution, options
from flows.cli.boxes import refuse_boxes
from flows.cli.markup import echo
from flows.cli.model_options import with_models
from flows.option_values import OptionInvalid, assignments, runs_folder, seed_numbers
from flows.parameters import (
    BoxParameters,
    CommonSettings,
    DatasetParameters,
    StoreParameters,
    StudentParameters,
)
from storage.parameters import Only

if TYPE_CHECKING:
    from student.core.results import Results

STUDENTS = StudentParameters.panel
INSTEAD = "Instead of the file's."

app = typer.Typer()


@app.command(epilog="Example: aspects train -d data/scenes -s store --recipe small --epochs 60 --seeds 0,1,2")
@with_models
def train(
    dataset: DatasetParameters,
    place: StoreParameters,
    boxes: Annotated[BoxParameters, Only(("view",))],
    student: StudentParameters,
    common: CommonSettings,
    questions: options.AnyQuestions = None,
    box_questions: options.BoxQuestions = None,
    task: options.Task = "classification",
    teacher: options.AnswersBy = None,
    class_teacher: options.ClassAnswersBy = None,
) -> None:
    """Train students by the labels alone, a method and its twin without answers; compare them on the test split."""
    from flows.cli.report import print_results
    from storage.filesystem import open_store

    student = student.changed_by(common)
    open_store(place.store)
    asked = options.file_name(questions)
    if task == "detection":
        if class_teacher is not None:
            raise OptionInvalid("--class-teacher is for --task classification; leave it out")
        about_boxes = options.file_name(box_questions)
        results = _train_detectors(dataset, place.store, teacher, asked, about_boxes, boxes, student)
    else:
        refuse_boxes(box_questions, boxes)
        results = _train_students(dataset, place.store, teacher, asked, class_teacher, student)
    print_results(results)


def _train_students(
    dataset: DatasetParameters,
    store: str,
    teacher: str | None,
    questions: str | None,
    class_teacher: str | None,
    student: StudentParameters,
) -> Results:
    from flows.work.inputs import Inputs
    from flows.work.training import load_teacher_answers, train_student

    inputs = Inputs()
    needed = bool(student.config().objective.answer_terms)
    named = (teacher, questions, class_teacher)
    load_teacher_answers(store, inputs.images(dataset).name, *named, needed=needed, read=inputs.answers)
    return execution.carry_out(
        train_student,
        inputs,
        dataset=dataset,
        store=store,
        teacher=teacher,
        questions=questions,
        class_teacher=class_teacher,
        student=student,
    )


def _train_detectors(
    dataset: DatasetParameters,
    store: str,
    teacher: str | None,
    questions: str | None,
    box_questions: str | None,
    boxes: BoxParameters,
    detector: StudentParameters,
) -> Results:
    from flows.work.detection import evaluation_split, load_detection_answers, student_for, train_detectors
    from flows.work.inputs import Inputs

    inputs = Inputs()
    student_for(detector, questions, box_questions).detector_config()
    boxed = inputs.boxed(dataset)
    evaluation_split(boxed)
    load_detection_answers(store, boxed, teacher, questions, box_questions, boxes, inputs.answers)
    return execution.carry_out(
        train_detectors,
        inputs,
        dataset=dataset,
        store=store,
        teacher=teacher,
        questions=questions,
        box_questions=box_questions,
        boxes=boxes,
        detector=detector,
    )


@app.command(epilog="Example: aspects experiment experiments/alpha.yaml --runs runs/alpha")
@with_models
def experiment(
    file: Annotated[
        Path, typer.Argument(help="YAML file (docs/students.md), or a bundled one: alpha.", metavar="FILE")
    ],
    dataset: Annotated[
        DatasetParameters | None, Only(("source", "name", "root", "download"), help={"source": INSTEAD})
    ],
    common: Annotated[CommonSettings, Only(("epochs",))],
    store: Annotated[str | None, typer.Option("--store", "-s", help=INSTEAD)] = None,
    teacher: options.AnswersBy = None,
    class_teacher: options.ClassAnswersBy = None,
    recipe: Annotated[str | None, typer.Option(help=INSTEAD, rich_help_panel=STUDENTS)] = None,
    seeds: Annotated[str | None, typer.Option(help=INSTEAD, rich_help_panel=STUDENTS)] = None,
    split: Annotated[str | None, typer.Option(help=INSTEAD, rich_help_panel=STUDENTS)] = None,
    runs: Annotated[str | None, typer.Option(help=INSTEAD, metavar="DIR", rich_help_panel=STUDENTS)] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Any setting of the students, NAME=VALUE; may be repeated.", rich_help_panel=STUDENTS
        ),
    ] = None,
) -> None:
    """Train a grid of students - methods, backbones, any settings, seeds - and compare them in pairs.

    It can be started again at any time: finished students are kept, and what the file has more is trained.
    """
    from flows.cli.report import print_results
    from flows.work.experiment import read_experiment, run_experiment
    from flows.work.inputs import Inputs

    replaced = {
        "dataset": dataset,
        "store": store,
        "teacher": teacher,
        "class_teacher": class_teacher,
        "recipe": recipe,
        "seeds": None if seeds is None else seed_numbers(seeds),
        "split": split,
        "runs": None if runs is None else runs_folder(runs),
    }
    changed = assignments("--set", settings) | common.model_dump(exclude_none=True)
    asked = read_experiment(file, {name: value for name, value in replaced.items() if value is not None}, changed)
    inputs = Inputs()
    asked.check(inputs)
    print_results(execution.carry_out(run_experiment, inputs, asked))


@app.command(epilog="Example: aspects evaluate runs/recommended/seed-0 -d data/scenes -s store")
@with_models
def evaluate(
    run: options.RunDir,
    dataset: DatasetParameters,
    boxes: Annotated[BoxParameters, Only(("view",))],
    split: Annotated[str, typer.Option(help="The split to evaluate on.")] = "test",
    store: Annotated[str | None, typer.Option("--store", "-s", help="Score the aspects too, on these answers.")] = None,
    questions: options.AnyQuestions = None,
    teacher: options.AnswersBy = None,
    box_questions: options.BoxQuestions = None,
) -> None:
    """Accuracy of one trained student, or mAP of a detector, per class as well; how well it repeats its teacher."""
    from storage.filesystem import open_store

    if store:
        open_store(store)
    from student.core.progress import note
    from student.detection.runs import is_detector_run

    asked = options.file_name(questions)
    if is_detector_run(run):
        about_boxes = options.file_name(box_questions)
        notes = evaluation.evaluate_detector(run, dataset, split, store, teacher, asked, about_boxes, boxes)
    else:
        refuse_boxes(box_questions, boxes, f"is for the run of a detector, and {run} is none; leave it out")
        notes = evaluation.evaluate_classifier(run, dataset, split, store, teacher, asked)
    for line in notes:
        note(line)


@app.command(epilog="Example: aspects export runs/recommended/seed-0 exported --format safetensors --format onnx")
def export(
    run: options.RunDir,
    out: Annotated[Path, typer.Argument(help="Folder to write.", metavar="DIR")],
    formats: Annotated[list[str] | None, typer.Option("--format", help="safetensors or onnx; may be repeated.")] = None,
    keep_aspects: Annotated[bool, typer.Option("--keep-aspects", help="Keep the aspect outputs too.")] = False,
) -> None:
    """Write a trained student as safetensors, a classifier with its timm config, and as ONNX (checked with
    onnxruntime)."""
    from student.classification.export import export as export_run
    from student.detection.export import export_detector
    from student.detection.runs import is_detector_run

    write = export_detector if is_detector_run(run) else export_run
    written = write(run, out, tuple(formats or ("safetensors", "onnx")), keep_aspects)
    for file in written.files:
        echo(str(written.folder / file))
    if written.onnx_difference is not None:
        echo(f"onnxruntime and torch differ by at most {written.onnx_difference:.1g}")
