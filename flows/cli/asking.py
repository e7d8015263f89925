"""The commands that ask a teacher: `aspects extract` and `aspects run`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli import execution, options
from flows.cli.boxes import refuse_boxes
from flows.cli.markup import echo
from flows.cli.model_options import with_models
from flows.option_values import OptionInvalid
from flows.parameters import (
    BoxParameters,
    BudgetParameters,
    CommonSettings,
    DatasetParameters,
    DetectionParameters,
    EngineArguments,
    ExtractionParameters,
    ProbeParameters,
    QuestionSets,
    ReportParameters,
    ShardOptions,
    ShardParameters,
    StoredClassAnswers,
    StudentParameters,
    SubjectParameters,
    TaskParameters,
)
from storage.parameters import Overrides

if TYPE_CHECKING:
    from student.core.results import Results

app = typer.Typer()


@app.command(epilog="Example: aspects extract -d data/scenes -q questions/scenes.yaml -s store --splits train,test")
@with_models
def extract(
    named: Annotated[dict[str, Any], Overrides(DatasetParameters, ("source", "name", "root", "download"))],
    given: ShardOptions,
    arguments: EngineArguments,
    sets: QuestionSets,
    boxes: BoxParameters,
    subject: SubjectParameters,
    probing: ProbeParameters,
    budget: BudgetParameters,
    chosen: TaskParameters,
    classes: Annotated[
        Path | None,
        typer.Option(
            help="A text file with a class name in each line, in place of a dataset.",
            metavar="FILE",
            rich_help_panel=SubjectParameters.panel,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be asked and how long it takes; ask nothing.")
    ] = False,
    gpus: Annotated[
        int | None,
        typer.Option("--gpus", min=1, help="With --dry-run: estimate hours, cost and store size for so many GPUs."),
    ] = None,
) -> None:
    """Ask the teacher every question about every image, or about every class, and store the answers as Parquet.

    After an interruption, the same command resumes: finished shards are kept. If questions or images have changed, only
    the missing answers are asked.
    """
    if gpus is not None and not dry_run:
        raise OptionInvalid("--gpus is for an estimate by --dry-run; a run takes all GPUs, or --workers")
    _check_store(given.store)
    described = _dataset(named, classes, subject)
    asked = _with_arguments(ShardParameters(**dict(given), dataset=described), arguments)
    if chosen.task == "detection":
        _refuse_classes(subject)
        budget.refuse_budget("--task detection")
        detection = DetectionParameters(**dict(asked), **dict(sets), boxes=boxes, train=False)
        _forecast_detection(detection, gpus) if dry_run else _detect(detection)
        return
    refuse_boxes(sets.box_questions, boxes)
    questions_file = options.required_questions(sets.questions)
    given_too = {**dict(subject), **dict(probing), **dict(budget)}
    extraction = ExtractionParameters(**dict(asked), **given_too, questions=questions_file, train=False)
    _forecast(extraction, gpus) if dry_run else _extract(extraction)


@app.command(
    epilog="Example: aspects run -d data/scenes -q questions/scenes.yaml --recipe small --seeds 0,1,2 --runs runs/demo"
)
@with_models
def run(
    asked: ShardParameters,
    arguments: EngineArguments,
    sets: QuestionSets,
    boxes: BoxParameters,
    subject: SubjectParameters,
    probing: ProbeParameters,
    budget: BudgetParameters,
    student: StudentParameters,
    common: CommonSettings,
    of_classes: StoredClassAnswers,
    reported: ReportParameters,
    chosen: TaskParameters,
) -> None:
    """Ask the teacher; train students by the labels alone, a method and its twin without answers; compare them.

    After an interruption, the same command resumes: answers and finished students are kept.
    """
    from flows.cli.report import print_results

    student = student.changed_by(common)
    _check_store(asked.store)
    asked = _with_arguments(asked, arguments)
    if chosen.task == "detection":
        _refuse_classes(subject)
        budget.refuse_budget("--task detection")
        if of_classes.class_teacher is not None:
            raise OptionInvalid("--class-teacher is for --task classification; leave it out")
        given = {**dict(asked), **dict(sets), **dict(reported)}
        results = _detect(DetectionParameters(**given, boxes=boxes, detector=student))
    else:
        refuse_boxes(sets.box_questions, boxes)
        questions_file = options.required_questions(sets.questions)
        about = {**dict(subject), **dict(probing), **dict(budget)}
        given = {**dict(asked), **about, **dict(of_classes), **dict(reported)}
        results = _extract(ExtractionParameters(**given, questions=questions_file, student=student))
    assert results is not None  # students were trained
    print_results(results)


def _dataset(given: dict[str, Any], classes: Path | None, subject: SubjectParameters) -> DatasetParameters:
    """Return the dataset, or the one that a file of class names stands for. Raises OptionInvalid."""
    if classes is None:
        if "source" not in given:
            instead = ", or a file of class names by --classes" if subject.about == "classes" else ""
            raise OptionInvalid(f"no dataset is given; name one by --dataset, e.g. -d data/scenes{instead}")
        return DatasetParameters(**given)
    if "source" in given:
        raise OptionInvalid("--dataset and --classes both name the classes; leave one of them out")
    if subject.about != "classes":
        raise OptionInvalid("--classes needs --about classes: there are no images to ask about; add that")
    return DatasetParameters(**{**given, "source": f"classes:{classes}"})


def _refuse_classes(subject: SubjectParameters) -> None:
    subject.check_subject()
    if subject.about == "classes":
        raise OptionInvalid("--about classes is for --task classification; leave it out")


def _with_arguments(asked: ShardParameters, arguments: EngineArguments) -> ShardParameters:
    return asked.model_copy(update={"engine": asked.engine.with_arguments(arguments)})


def _check_store(store: str) -> None:
    """Raise StoreUnreachable and StorageUnavailable before slow imports."""
    from storage.filesystem import open_store

    open_store(store)


def _extract(asked: ExtractionParameters) -> Results | None:
    from flows.work.extraction import check_inputs, extract_aspects, read_class_answers
    from flows.work.inputs import Inputs

    asked.check_subject()
    config = asked.student.config() if asked.train else None
    inputs = Inputs()
    with execution.terminal().working("checking dataset and questions"):
        check_inputs(inputs, asked, asked.questions)
        if config is not None:
            read_class_answers(inputs, asked, config)
    return execution.carry_out(extract_aspects, inputs, asked).results


def _detect(asked: DetectionParameters) -> Results | None:
    from flows.work.detection import check_detection_inputs, detect_aspects, evaluation_split, student_for
    from flows.work.inputs import Inputs

    if asked.train:
        student_for(asked.detector, asked.questions, asked.box_questions).detector_config()
    inputs = Inputs()
    with execution.terminal().working("checking dataset and questions"):
        check_detection_inputs(inputs, asked)
        if asked.train:
            evaluation_split(inputs.boxed(asked.dataset))
    _, results = execution.carry_out(detect_aspects, inputs, asked)
    return results


def _forecast(asked: ExtractionParameters, gpus: int | None) -> None:
    from flows.work.forecasts import forecast_extraction

    for line in forecast_extraction(asked, gpus):
        echo(line)


def _forecast_detection(asked: DetectionParameters, gpus: int | None) -> None:
    from flows.work.detection import to_ask
    from flows.work.forecasts import forecast_about

    for images, questions in to_ask(asked.dataset.open_detection(), asked).values():
        for line in forecast_about(asked, images, questions, gpus):
            echo(line)
