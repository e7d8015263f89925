"""The command `aspects`: one command for each thing a user does. What is heavy is imported inside the commands."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from flows.cli import direct, options
from flows.cli import questions as questions_cli
from flows.cli import store as store_cli
from flows.cli.markup import echo

if TYPE_CHECKING:
    from student.core.results import Results

app = typer.Typer(
    name="aspects",
    help="Teach small image classifiers what a multimodal LLM knows.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


app.add_typer(questions_cli.app, name="questions")
app.add_typer(store_cli.app, name="store")


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        echo(f"aspects {version('aspects')}")
        raise typer.Exit


@app.callback()
def configure(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and details.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Teach small image classifiers what a multimodal LLM knows."""
    if debug:
        os.environ["ASPECTS_DEBUG"] = "1"
        os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "DEBUG")


@app.command(epilog="Example: aspects scenes data/scenes")
def scenes(
    folder: Annotated[Path, typer.Argument(help="Folder to fill with train/ and test/.", metavar="DIR")],
    train: Annotated[int, typer.Option(help="Training images of each class.", min=1, max=options.MOST_SCENES)] = 24,
    test: Annotated[int, typer.Option(help="Test images of each class.", min=1, max=options.MOST_SCENES)] = 40,
    seed: Annotated[int, typer.Option(help="Another seed draws other scenes.", min=0, max=options.MAX_SEED)] = 0,
    task: Annotated[
        Literal["classification", "detection"],
        typer.Option(help="detection: several objects in a scene, in COCO's layout; --train and --test count scenes."),
    ] = "classification",
) -> None:
    """Draw the demo dataset: little scenes whose classes differ in combinations of aspects."""
    from storage.datasets.scenes.classification import write_scenes
    from storage.datasets.scenes.detection import write_detection_scenes
    from storage.datasets.scenes.folder import require_scenes_folder

    require_scenes_folder(folder)
    if task == "detection":
        write_detection_scenes(folder, train=train, test=test, seed=seed)
    else:
        write_scenes(folder, train_per_class=train, test_per_class=test, seed=seed)
    echo(f"{len(list(folder.rglob('*.png')))} scenes: {folder}")


@app.command(epilog="Example: aspects extract -d data/scenes -q questions/scenes.yaml -s store --splits train,test")
@options.with_options(source=options.DATASET, asking=options.ASKING, boxes=options.ASKED_BOXES)
def extract(
    dataset: options.Dataset,
    questions: options.Questions = None,
    task: options.Task = "classification",
    store: options.Store = "store",
    splits: options.Splits = "train",
    shard_size: options.ShardSize = 256,
    verify: options.Verify = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be asked and how long it takes; ask nothing.")
    ] = False,
    *,
    source: options.Given,
    asking: options.Given,
    boxes: options.Given,
) -> None:
    """Ask the teacher every question about every photo, and keep the answers as Parquet.

    Killed half-way? Start it again: finished shards are kept. Other questions or photos? Only what is new is asked.
    """
    from flows.cli import commands

    asked = {"dataset": dataset, "questions": questions, "splits": splits, "store": store, "shard_size": shard_size}
    given = {"task": task, "verify": verify, **asked, **source, **asking, **boxes}
    if dry_run:
        for line in commands.forecast(given):
            echo(line)
        return
    commands.ask(given)


@app.command(
    epilog="Example: aspects run -d data/scenes -q questions/scenes.yaml --recipe small --seeds 0,1,2 --runs runs/demo"
)
@options.with_options(
    source=options.DATASET, asking=options.ASKING, boxes=options.ASKED_BOXES, training=options.TRAINING
)
def run(
    dataset: options.Dataset,
    questions: options.Questions = None,
    task: options.Task = "classification",
    store: options.Store = "store",
    splits: options.Splits = "train",
    shard_size: options.ShardSize = 256,
    verify: options.Verify = False,
    *,
    source: options.Given,
    asking: options.Given,
    boxes: options.Given,
    training: options.Given,
) -> None:
    """All of it: ask the teacher, train students with and without its answers, and compare them.

    Start it again at any time: answers and finished students are kept.
    """
    from flows.cli import commands

    student = options.student_parameters(training)
    asked = {"dataset": dataset, "questions": questions, "splits": splits, "store": store, "shard_size": shard_size}
    _print_results(commands.ask({"task": task, "verify": verify, **asked, **source, **asking, **boxes}, student))


@app.command(epilog="Example: aspects train -d data/scenes -s store --recipe small --epochs 60 --seeds 0,1,2")
@options.with_options(source=options.DATASET, boxes=options.BOXES_ASKED, training=options.TRAINING)
def train(
    dataset: options.Dataset,
    store: options.Store = "store",
    questions: options.AnyQuestions = None,
    task: options.Task = "classification",
    teacher: options.AnswersBy = None,
    class_teacher: options.ClassAnswersBy = None,
    *,
    source: options.Given,
    boxes: options.Given,
    training: options.Given,
) -> None:
    """Train students with and without the store's answers, seed by seed, and compare them on the test split."""
    from flows.cli import commands

    student = options.student_parameters(training)
    known = {"store": store, "questions": questions, "teacher": teacher, "class_teacher": class_teacher}
    given = {"task": task, "dataset": dataset, **known, **source, **boxes}
    _print_results(commands.train(given, student))


@app.command(epilog="Example: aspects experiment experiments/alpha.yaml --runs runs/alpha")
def experiment(
    file: Annotated[
        Path, typer.Argument(help="YAML file (docs/students.md), or a bundled one: alpha.", metavar="FILE")
    ],
    dataset: Annotated[str | None, typer.Option("--dataset", "-d", help="Instead of the file's.")] = None,
    store: Annotated[str | None, typer.Option("--store", "-s", help="Instead of the file's.")] = None,
    teacher: options.AnswersBy = None,
    class_teacher: options.ClassAnswersBy = None,
    name: options.Name = None,
    root: options.Root = None,
    download: options.Download = False,
    recipe: Annotated[str | None, typer.Option(help="Instead of the file's.", rich_help_panel=options.STUDENT)] = None,
    seeds: Annotated[str | None, typer.Option(help="Instead of the file's.", rich_help_panel=options.STUDENT)] = None,
    runs: Annotated[
        str | None, typer.Option(help="Instead of the file's.", metavar="DIR", rich_help_panel=options.STUDENT)
    ] = None,
    epochs: options.Epochs = None,
    settings: options.Settings = None,
) -> None:
    """Train a grid of students - methods, backbones, any settings, seeds - and compare them in pairs.

    Start it again at any time: finished students are kept, and what the file has more is trained.
    """
    from flows.work.experiment import read_experiment, run_experiment
    from flows.work.inputs import Inputs

    given = {
        "dataset": None if dataset is None else options.dataset_parameters(dataset, name, root, download),
        "store": store,
        "teacher": teacher,
        "class_teacher": class_teacher,
        "recipe": recipe,
        "seeds": None if seeds is None else options.seed_numbers(seeds),
        "runs": None if runs is None else options.folder_to_write("--runs", runs),
    }
    changed = options.assignments("--set", settings) | ({} if epochs is None else {"epochs": epochs})
    asked = read_experiment(file, {name: value for name, value in given.items() if value is not None}, changed)
    inputs = Inputs()
    asked.check(inputs)
    _print_results(direct.carry_out(run_experiment, inputs, asked))


@app.command(epilog="Example: aspects evaluate runs/recommended/seed-0 -d data/scenes -s store")
def evaluate(
    run: options.RunDir,
    dataset: options.Dataset,
    split: Annotated[str, typer.Option(help="The split to evaluate on.")] = "test",
    store: Annotated[str | None, typer.Option("--store", "-s", help="Score the aspects too, on these answers.")] = None,
    questions: options.AnyQuestions = None,
    teacher: options.AnswersBy = None,
    box_questions: options.BoxQuestions = None,
    box_view: options.BoxView = "crop",
    name: options.Name = None,
    root: options.Root = None,
    download: options.Download = False,
) -> None:
    """Accuracy of one trained student, or mAP of a detector, per class as well; how well it repeats its teacher."""
    given = locals()
    from flows.cli import commands

    commands.evaluate(given)


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


@app.command(
    name="import-answers",
    epilog="Example: aspects import-answers internvl2.json --format makd -d data/flowers -s store",
)
def import_answers(
    file: Annotated[Path, typer.Argument(help="The answers: JSON, or a CSV or Parquet table.", metavar="FILE")],
    format: Annotated[Literal["makd", "lavid", "attributes"], typer.Option(help="What the file holds.")],
    dataset: options.Dataset,
    store: options.Store = "store",
    splits: options.Splits = "train",
    questions: Annotated[
        Path | None, typer.Option("--questions", "-q", help="Question set (YAML); for lavid its text file.")
    ] = None,
    alias: Annotated[
        list[str] | None, typer.Option("--alias", help="DATASET_CLASS=FILE_CLASS for lavid; may be repeated.")
    ] = None,
    name: options.Name = None,
    root: options.Root = None,
    download: options.Download = False,
) -> None:
    """Bring answers into the store that somebody else has computed: MaKD, LaViD or human attributes.

    makd: JSON {"1.jpg": [0.9, 0.1]} by image. lavid: JSON {"rose": [[0.7, 0.3]]} by class, with its questions as text.
    attributes: CSV or Parquet with a column image_id or label_name, and one of 0..1, yes or no for each question; an
    empty cell is no answer. More in docs/store.md.
    """
    from flows.cli.imports import read_answers_file
    from flows.cli.report import import_lines
    from teacher.extraction.precomputed import import_answers as import_into_store

    answers = read_answers_file(file, format, questions, alias)
    images = options.dataset_parameters(dataset, name, root, download).open()
    for line in import_lines(import_into_store(answers, images, options.split_names(splits), store)):
        echo(line)


@app.command(epilog="Example: aspects show --store store --dataset scenes")
def show(
    store: options.Store = "store",
    dataset: Annotated[str | None, typer.Option("--dataset", "-d", help="Only the dataset of this name.")] = None,
    questions: Annotated[int, typer.Option(help="How many of the most and least informative questions.", min=0)] = 3,
) -> None:
    """What a store holds: datasets, teachers, questions, what is missing, and which questions tell classes apart."""
    from flows.cli.show import show_store

    show_store(store, dataset, questions)


@app.command(epilog="Example: aspects teachers")
def teachers() -> None:
    """Teachers that have a short name here, and their settings. Any other vision-language model works as well."""
    from flows.cli.report import print_teachers

    print_teachers()


def _print_results(results: Results | None) -> None:
    assert results is not None  # students were trained
    from flows.cli.report import print_results

    print_results(results)
