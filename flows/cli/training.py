"""The commands about students: `aspects train`, `experiment` and `evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from flows.cli import evaluation, execution, options
from flows.cli.boxes import refuse_boxes
from flows.cli.model_options import with_models
from flows.option_values import OptionInvalid
from flows.parameters import (
    AnswersParameters,
    BoxParameters,
    BoxQuestions,
    CommonSettings,
    DetectorTrainingParameters,
    Experiment,
    StoreParameters,
    TaskParameters,
    TrainingParameters,
)
from storage.parameters import Only, Overrides

if TYPE_CHECKING:
    from student.core.results import Results

# Options that override values of an experiment's file.
REPLACEABLE = (
    *("dataset", "store", "teacher", "class_teacher", "recipe", "seeds", "split", "group_by", "metric", "runs"),
    *("settings", "report"),
)
INSTEAD = dict.fromkeys(("source", "store", "recipe", "seeds", "split", "runs"), "Instead of the file's.")
SCORED = {"store": "Score the aspects too, on these answers."}

app = typer.Typer()


@app.command(epilog="Example: aspects train -d data/scenes -s store --recipe small --epochs 60 --seeds 0,1,2")
@with_models
def train(
    asked: TrainingParameters,
    boxes: Annotated[BoxParameters, Only(("view",))],
    about_boxes: BoxQuestions,
    common: CommonSettings,
    chosen: TaskParameters,
) -> None:
    """Train students by the labels alone, a method and its twin without answers; compare them on the test split."""
    from flows.cli.report import print_results
    from storage.filesystem import open_store

    asked = asked.model_copy(update={"student": asked.student.changed_by(common)})
    open_store(asked.store)
    if chosen.task == "classification":
        refuse_boxes(about_boxes.box_questions, boxes)
        print_results(_train_students(asked))
        return
    if asked.class_teacher is not None:
        raise OptionInvalid("--class-teacher is for --task classification; leave it out")
    same = {name: getattr(asked, name) for name in (*AnswersParameters.model_fields, "report")}
    same["teacher"] = asked.only_teacher()
    print_results(
        _train_detectors(DetectorTrainingParameters(**same, **dict(about_boxes), boxes=boxes, detector=asked.student))
    )


def _train_students(asked: TrainingParameters) -> Results:
    from flows.work.inputs import Inputs
    from flows.work.training import read_stored_answers, train_student

    inputs = Inputs()
    read_stored_answers(inputs, asked, asked.student.config())
    return execution.carry_out(train_student, inputs, asked)


def _train_detectors(asked: DetectorTrainingParameters) -> Results:
    from flows.work.detection import evaluation_split, read_stored_answers, student_for, train_detectors
    from flows.work.inputs import Inputs

    inputs = Inputs()
    student_for(asked.detector, asked.questions, asked.box_questions).detector_config()
    evaluation_split(inputs.boxed(asked.dataset))
    read_stored_answers(inputs, asked)
    return execution.carry_out(train_detectors, inputs, asked)


@app.command(epilog="Example: aspects experiment experiments/alpha.yaml --runs runs/alpha")
@with_models
def experiment(
    file: Annotated[
        Path, typer.Argument(help="YAML file (docs/students.md), or a bundled one: alpha.", metavar="FILE")
    ],
    replaced: Annotated[dict[str, Any], Overrides(Experiment, REPLACEABLE, INSTEAD)],
    common: Annotated[CommonSettings, Only(("epochs",))],
) -> None:
    """Train a grid of students - methods, backbones, any settings, seeds - and compare them in pairs.

    After an interruption or a change of the file, the same command trains the missing students only.
    """
    from flows.cli.report import print_results
    from flows.work.experiment import check_experiment, read_experiment, run_experiment
    from flows.work.inputs import Inputs

    settings = replaced.pop("settings", {}) | common.changes()
    asked = read_experiment(file, replaced, settings)
    inputs = Inputs()
    check_experiment(asked, inputs)
    print_results(execution.carry_out(run_experiment, inputs, asked))


@app.command(epilog="Example: aspects evaluate runs/recommended/seed-0 -d data/scenes -s store")
@with_models
def evaluate(
    run: options.RunDir,
    asked: Annotated[AnswersParameters, Only(("dataset", "questions", "teacher"))],
    boxes: Annotated[BoxParameters, Only(("view",))],
    about_boxes: BoxQuestions,
    scored_on: Annotated[dict[str, Any], Overrides(StoreParameters, ("store",), SCORED)],
    split: Annotated[str, typer.Option(help="The split to evaluate on.")] = "test",
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Fit the temperature of the class probabilities on this split.")
    ] = False,
    group_by: Annotated[
        list[str] | None,
        typer.Option(
            help="Key or text of a question; may be repeated. The accuracy of each group, class x yes or no, by the "
            "answers in --store, or the right ones of rendered scenes.",
            metavar="QUESTION",
        ),
    ] = None,
    corrections: Annotated[
        Literal["ignore", "use"], typer.Option(help="use: evaluate on the labels and answers corrected in the store.")
    ] = "ignore",
) -> None:
    """Measure the accuracy of one trained student, or the mAP of a detector, and how well it predicts its teacher."""
    from storage.filesystem import open_store

    store = scored_on.get("store")
    if corrections == "use" and not store:
        raise OptionInvalid("--corrections use reads them from a store; give --store too")
    if store:
        open_store(store)
        asked = asked.model_copy(update={"store": store})
    from student.core.progress import note
    from student.detection.runs import is_detector_run

    scored = bool(store)
    if is_detector_run(run):
        for option, given in {
            "corrections": corrections == "use",
            "group-by": group_by,
            "calibrate": calibrate,
        }.items():
            if given:
                raise OptionInvalid(f"--{option} is for classifiers, and {run} is the run of a detector; leave it out")
        notes = evaluation.evaluate_detector(run, asked, about_boxes.box_questions, boxes, split, scored=scored)
    else:
        why = f"is for the run of a detector, and {run} is none; leave it out"
        refuse_boxes(about_boxes.box_questions, boxes, why)
        notes = evaluation.evaluate_classifier(
            run, asked, split, scored=scored, calibrate=calibrate, corrections=corrections, group_by=group_by
        )
    for line in notes:
        note(line)
