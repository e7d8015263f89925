"""A file that names a grid of students in, a table of all of them and a plot out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationError

from flows.parameters import CROPPED_BOXES, BoxParameters, DatasetParameters, Parameters, Seed, StudentParameters
from flows.work import checks
from flows.work.detection import evaluation_split, load_detection_answers, train_detection_grid
from flows.work.host import Host
from flows.work.inputs import Inputs
from flows.work.training import load_teacher_answers, train_grid
from storage.bundled import find_file, say_names
from storage.datasets.detection import require_boxes
from storage.documents import DocumentInvalid, read_yaml
from storage.errors import InputInvalid

if TYPE_CHECKING:  # torch takes seconds
    from storage.datasets.detection import DetectionDataset
    from student.classification.examples import TeacherAnswers
    from student.classification.grid import StudentGrid
    from student.core.results import Results
    from student.detection.examples import DetectionAnswers
    from student.detection.experiment import DetectorGrid


class ExperimentInvalid(InputInvalid):
    """An experiment's file cannot be used; the message says what, where and what to do."""


class Experiment(Parameters):
    """What an experiment's file says. Every combination of `grid` is trained with every one of `seeds`."""

    task: Literal["classification", "detection"] = "classification"
    dataset: DatasetParameters
    store: str = "store"
    questions: str | None = Field(
        default=None,
        description="where the store has several; detection: the set about images, if any",
    )
    box_questions: str | None = Field(default=None, description="detection: the set about boxes that was asked, if any")
    boxes: BoxParameters = CROPPED_BOXES
    teacher: str | None = Field(default=None, description="TEACHER or TEACHER/QUESTIONS, where the store has several")
    class_teacher: str | None = Field(default=None, description="fingerprint of answers about the classes")
    recipe: str = "small"
    settings: dict[str, Any] = Field(default_factory=dict, description="of all students, where the recipe differs")
    grid: dict[str, list[Any]] = Field(min_length=1, description="settings that vary, each with its values")
    baseline: dict[str, Any] = Field(
        default={"method": "base"}, min_length=1, description="settings of the students that others are compared with"
    )
    network: dict[str, Any] | None = Field(
        default=None, description="settings of a KD teacher, for methods that learn from one"
    )
    seeds: list[Seed] = Field(default=[0, 1, 2], min_length=1)
    split: str | None = Field(
        default=None,
        description="test unless given, or what the dataset has instead; validation: where it has no such split, the "
        "images that students hold out of their training images (val_fraction), to choose settings by",
    )
    runs: str = Field(description="folder of the trained students, the table and the plot")
    embed: bool = Field(default=False, description="draw the features of every cell's first student in two dimensions")

    def check(self, inputs: Inputs) -> None:
        """Raise what training would raise about settings and answers, before anything is trained."""
        from student.classification.experiment import is_own_validation, require_split

        if self.task == "detection":
            self.to_detector_grid().cells(Path(self.runs))
            boxed = inputs.boxed(self.dataset)
            require_boxes(boxed, ("train", self.split or evaluation_split(boxed)))
            self.detection_answers(inputs, boxed)
        else:
            grid, runs = self.to_grid(), Path(self.runs)
            grid.cells(runs)
            images = inputs.images(self.dataset)
            split = self.split or checks.evaluation_split(images)
            require_split(grid, images, runs, split)
            if self.embed and is_own_validation(images, split):
                raise ExperimentInvalid(
                    f"embed draws the images of a split of the dataset, and split '{split}' stands for each student's "
                    f"own; set embed: false, or another split"
                )
            self.teacher_answers(inputs)

    def to_grid(self) -> StudentGrid:
        from student.classification.grid import StudentGrid

        recipe = StudentParameters(recipe=self.recipe, settings=self.settings).recipe_settings()
        return StudentGrid(
            recipe=recipe,
            settings=self.settings,
            axes=self.grid,
            seeds=self.seeds,
            baseline=self.baseline,
            network=self.network,
        )

    def to_detector_grid(self) -> DetectorGrid:
        from student.detection.experiment import DetectorGrid

        recipe = StudentParameters(recipe=self.recipe, settings=self.settings).detection_recipe_settings()
        # No detector has the setting `network`: refused as any unknown one.
        network = {} if self.network is None else {"network": self.network}
        return DetectorGrid(
            recipe=recipe,
            settings={**self.settings, **network},
            axes=self.grid,
            seeds=self.seeds,
            baseline=self.baseline,
        )

    def teacher_answers(self, inputs: Inputs) -> TeacherAnswers:
        needed = any(cell.config.objective.answer_terms for cell in self.to_grid().cells(Path(self.runs)))
        named = (self.teacher, self.questions, self.class_teacher)
        name = inputs.images(self.dataset).name
        return load_teacher_answers(self.store, name, *named, needed=needed, read=inputs.answers)

    def detection_answers(self, inputs: Inputs, images: DetectionDataset) -> DetectionAnswers:
        named = (self.teacher, self.questions, self.box_questions)
        return load_detection_answers(self.store, images, *named, self.boxes, inputs.answers)


def read_experiment(file: Path, changes: Mapping[str, Any], settings: Mapping[str, Any]) -> Experiment:
    """The experiment in a YAML file, or the bundled one of that name, with `changes` of its fields and of its
    `settings`. Raises ExperimentInvalid, naming the file."""
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


def run_experiment(host: Host, experiment: Experiment) -> Results:
    """Train what is missing and show all of it; the folder `experiment.runs` has the table, the report and the plot."""
    from student.classification.plots import plot_features
    from student.core.plots import plot_results

    experiment.check(host.inputs)
    runs = Path(experiment.runs).expanduser()
    written = [runs / name for name in ("results.parquet", "report.md", "results.png")]
    if experiment.task == "detection":
        boxed = host.inputs.boxed(experiment.dataset)
        split = experiment.split or evaluation_split(boxed)
        boxed_known = experiment.detection_answers(host.inputs, boxed)
        grid = experiment.to_detector_grid()
        results = train_detection_grid(host.reporter, grid, boxed, boxed_known, runs, split=split)
    else:
        images = host.inputs.images(experiment.dataset)
        split = experiment.split or checks.evaluation_split(images)
        known = experiment.teacher_answers(host.inputs)
        results = train_grid(host.reporter, experiment.to_grid(), images, known, runs, split=split)
        if experiment.embed:
            plot_features(results, images, runs, runs / "features.png")
            written.append(runs / "features.png")
    plot_results(results, runs / "results.png")
    for path in written:
        host.reporter.say(f"written: {path}")
    return results
