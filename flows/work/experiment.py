"""Run experiments: train a grid of students from a YAML file, and write a table and a plot of the results."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from flows.parameters import Experiment
from flows.work import checks, corrections, detection, training
from flows.work.host import Host
from flows.work.inputs import Inputs
from flows.work.reports import require_report_place, show_report
from storage.bundled import find_file, say_names
from storage.datasets.base import ImageDataset, select
from storage.datasets.detection import require_boxes
from storage.documents import DocumentInvalid, read_yaml
from storage.errors import InputInvalid

if TYPE_CHECKING:  # torch takes seconds
    from student.classification.examples import TeacherAnswers
    from student.core.results import Results


class ExperimentInvalid(InputInvalid):
    """An experiment's file cannot be used; the message says what, where and what to do."""


def read_experiment(file: Path, changes: Mapping[str, Any], settings: Mapping[str, Any]) -> Experiment:
    """Read an experiment from a YAML file or the bundled one of that name, with changes of its fields and `settings`.

    Raises ExperimentInvalid, which names the file.
    """
    try:
        document = read_yaml(find_file(file, "experiments"))
    except OSError as error:
        hint = say_names("experiments", error)
        raise ExperimentInvalid(f"cannot read experiment {file}: {error.strerror}{hint}") from error
    except DocumentInvalid as error:
        raise ExperimentInvalid(f"experiment {error}") from error
    if not isinstance(document, dict):
        raise ExperimentInvalid(f"{file} holds no experiment; it needs dataset, grid and runs")
    try:
        experiment = Experiment.model_validate({**document, **changes})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ExperimentInvalid(f"{file}: {place}: {first['msg'].lower()}; docs/students.md has the fields") from error
    return experiment.model_copy(update={"settings": {**experiment.settings, **settings}})


def check_experiment(experiment: Experiment, inputs: Inputs) -> None:
    """Raise the errors of training about settings and answers, before anything is trained."""
    from student.classification.experiment import is_own_validation, require_split

    runs = Path(experiment.runs)
    if experiment.task == "detection":
        if experiment.group_by is not None or experiment.metric is not None:
            raise ExperimentInvalid("group_by and metric are for task: classification; leave them out")
        experiment.to_detector_grid().cells(runs)
        boxed = inputs.boxed(experiment.dataset)
        require_boxes(boxed, ("train", experiment.split or detection.evaluation_split(boxed)))
        detection.read_stored_answers(inputs, experiment)
    else:
        grid = experiment.to_grid()
        grid.cells(runs)
        images = inputs.images(experiment.dataset)
        split = experiment.split or checks.evaluation_split(images)
        require_split(grid, images, runs, split)
        if experiment.embed and is_own_validation(images, split):
            raise ExperimentInvalid(
                f"embed draws the images of a split of the dataset, but split '{split}' is different for each student; "
                f"set embed: false, or another split"
            )
        known = read_teacher_answers(experiment, inputs)
        _check_groups(experiment, images, split, known)


def _check_groups(experiment: Experiment, images: ImageDataset, split: str, known: TeacherAnswers) -> None:
    """Raise where groups or a metric are asked for that cannot be measured on `split`."""
    from student.classification.experiment import compared_metrics, is_own_validation
    from student.classification.group_scores import find_groups

    grid = experiment.to_grid().fit_to_answers(known)
    grouped = any(cell.config.balance for cell in grid.cells(Path(experiment.runs)))
    if experiment.group_by is not None:
        if is_own_validation(images, split):
            raise ExperimentInvalid(
                f"group_by needs a split of the dataset, and split '{split}' stands for each student's own; leave "
                f"group_by out, or set another split"
            )
        find_groups(images, select(images, (split,)), experiment.group_by, known.image)
        grouped = True
    compared_metrics(images, split, grouped=grouped, first=experiment.metric)


def read_teacher_answers(experiment: Experiment, inputs: Inputs) -> TeacherAnswers:
    """Load the answers. Raises AnswersMissing if there are none and some cell learns from answers."""
    cells = experiment.to_grid().cells(Path(experiment.runs))
    return training.read_stored_answers(inputs, experiment, *(cell.config for cell in cells))


def run_experiment(host: Host, experiment: Experiment) -> Results:
    """Train the missing students and show all results. The table, the report and the plot are written to
    `experiment.runs`."""
    from student.classification.plots import plot_features
    from student.core.plots import plot_results

    require_report_place(experiment)
    check_experiment(experiment, host.inputs)
    runs = Path(experiment.runs).expanduser()
    written = [runs / name for name in ("results.parquet", "report.md", "results.png")]
    images: ImageDataset
    if experiment.task == "detection":
        images = boxed = host.inputs.boxed(experiment.dataset)
        split = experiment.split or detection.evaluation_split(boxed)
        detection_answers = detection.read_stored_answers(host.inputs, experiment)
        answers = detection_answers.images or detection_answers.boxes
        grid = experiment.to_detector_grid()
        results = detection.train_detection_grid(host.reporter, grid, boxed, detection_answers, runs, split=split)
    else:
        images = host.inputs.images(experiment.dataset)
        split = experiment.split or checks.evaluation_split(images)
        teacher_answers = read_teacher_answers(experiment, host.inputs)
        use, store = experiment.corrections, experiment.store
        answers = teacher_answers.image or teacher_answers.classes
        images, teacher_answers = corrections.apply_corrections(host.reporter.say, use, store, images, teacher_answers)
        results = training.train_grid(
            host.reporter,
            experiment.to_grid(),
            images,
            teacher_answers,
            runs,
            split=split,
            group_by=experiment.group_by,
            metric=experiment.metric,
        )
        if experiment.embed:
            plot_features(results, images, runs, runs / "features.png")
            written.append(runs / "features.png")
    plot_results(results, runs / "results.png")
    for path in written:
        host.reporter.say(f"written: {path}")
    show_report(host.reporter, experiment, images, answers, runs)
    return results
