"""The command `aspects`: one command for each thing a user does. What is heavy is imported inside the commands."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from flows import direct, options, questions_cli, store_cli
from flows.errors import USERS_MISTAKE, explain, wants_traceback

if TYPE_CHECKING:
    from flows.extraction import ExtractionSummary
    from flows.parameters import StudentParameters

INTERRUPTED = 130
# Typer brings its own copy of click in some releases: these are the classes that it really raises.
ClickException = typer.BadParameter.__mro__[2]
app = typer.Typer(
    name="aspects",
    help="Teach small image classifiers what a multimodal LLM knows.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


app.add_typer(questions_cli.app, name="questions")
app.add_typer(store_cli.app, name="store")


@app.callback()
def configure(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks, and Prefect's log.")] = False,
) -> None:
    """Teach small image classifiers what a multimodal LLM knows."""
    if debug:
        os.environ["ASPECTS_DEBUG"] = "1"
        os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "DEBUG")


@app.command(epilog="Example: aspects scenes data/scenes")
def scenes(
    folder: Annotated[Path, typer.Argument(help="Folder to fill with train/ and test/.", metavar="DIR")],
    train: Annotated[int, typer.Option(help="Training images of each class.", min=1)] = 24,
    test: Annotated[int, typer.Option(help="Test images of each class.", min=1)] = 40,
    seed: Annotated[int, typer.Option(help="Another seed draws other scenes.", min=0)] = 0,
) -> None:
    """Draw the demo dataset: little scenes whose classes differ in combinations of aspects."""
    from storage.scenes import write_scenes

    if folder.exists() and any(folder.iterdir()) and not (folder / "ground_truth.parquet").exists():
        raise options.OptionInvalid(f"folder {folder} holds something else; choose one that is new or empty")
    write_scenes(folder, train_per_class=train, test_per_class=test, seed=seed)
    typer.echo(f"{len(list(folder.glob('*/*/*.png')))} scenes: {folder}")


@app.command(epilog="Example: aspects extract -d data/scenes -q questions/scenes.yaml -s store --splits train,test")
@options.with_options(source=options.DATASET, asking=options.ASKING)
def extract(
    dataset: options.Dataset,
    questions: options.Questions,
    store: options.Store = "store",
    splits: options.Splits = "train",
    shard_size: options.ShardSize = 256,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be asked and how long it takes; ask nothing.")
    ] = False,
    *,
    source: options.Given,
    asking: options.Given,
) -> None:
    """Ask the teacher every question about every photo, and keep the answers as Parquet.

    Killed half-way? Start it again: finished shards are kept. Other questions or photos? Only what is new is asked.
    """
    if dry_run:
        _print_forecast(dataset, questions, store, splits, shard_size, source, asking)
        return
    _run_extraction(dataset, questions, store, splits, shard_size, source, asking)


@app.command(
    epilog="Example: aspects run -d data/scenes -q questions/scenes.yaml --recipe small --seeds 0,1,2 --runs runs/demo"
)
@options.with_options(source=options.DATASET, asking=options.ASKING, training=options.TRAINING)
def run(
    dataset: options.Dataset,
    questions: options.Questions,
    store: options.Store = "store",
    splits: options.Splits = "train",
    shard_size: options.ShardSize = 256,
    *,
    source: options.Given,
    asking: options.Given,
    training: options.Given,
) -> None:
    """All of it: ask the teacher, train students with and without its answers, and compare them.

    Start it again at any time: answers and finished students are kept.
    """
    student = options.student_parameters(training)
    student.config()
    summary = _run_extraction(dataset, questions, store, splits, shard_size, source, asking, student)
    assert summary.results is not None
    _print_results(summary.results)


@app.command(epilog="Example: aspects train -d data/scenes -s store --recipe small --epochs 60 --seeds 0,1,2")
@options.with_options(source=options.DATASET, training=options.TRAINING)
def train(
    dataset: options.Dataset,
    store: options.Store = "store",
    questions: options.AnyQuestions = None,
    teacher: options.AnswersBy = None,
    class_teacher: options.ClassAnswersBy = None,
    *,
    source: options.Given,
    training: options.Given,
) -> None:
    """Train students with and without the store's answers, seed by seed, and compare them on the test split."""
    student = options.student_parameters(training)
    images = options.dataset_parameters(dataset, **source)
    asked = str(questions) if questions else None
    direct.get_ready()
    from flows.training import find_knowledge, train_student

    # Prefect takes seconds to start; a typing mistake should not.
    student.config()
    find_knowledge(store, images.open().name, teacher, asked, class_teacher)
    _print_results(
        train_student(
            dataset=images,
            store=store,
            teacher=teacher,
            questions=asked,
            class_teacher=class_teacher,
            student=student,
        )
    )


@app.command(epilog="Example: aspects experiment experiments/alpha.yaml --runs runs/alpha")
def experiment(
    file: Annotated[Path, typer.Argument(help="What to train; docs/students.md has the fields.", metavar="FILE")],
    dataset: Annotated[str | None, typer.Option("--dataset", "-d", help="Instead of the file's.")] = None,
    store: Annotated[str | None, typer.Option("--store", "-s", help="Instead of the file's.")] = None,
    teacher: options.AnswersBy = None,
    class_teacher: options.ClassAnswersBy = None,
    name: options.Name = None,
    root: options.Root = None,
    download: options.Download = False,
    recipe: Annotated[str | None, typer.Option(help="Instead of the file's.", rich_help_panel=options.STUDENT)] = None,
    seeds: Annotated[str | None, typer.Option(help="Instead of the file's.", rich_help_panel=options.STUDENT)] = None,
    runs: Annotated[Path | None, typer.Option(help="Instead of the file's.", rich_help_panel=options.STUDENT)] = None,
    epochs: options.Epochs = None,
    settings: options.Settings = None,
) -> None:
    """Train a grid of students - methods, backbones, any settings, seeds - and compare them in pairs.

    Start it again at any time: finished students are kept, and what the file has more is trained.
    """
    direct.get_ready()
    from flows.experiment import read_experiment, run_experiment

    given = {
        "dataset": options.dataset_parameters(dataset, name, root, download) if dataset else None,
        "store": store,
        "teacher": teacher,
        "class_teacher": class_teacher,
        "recipe": recipe,
        "seeds": options.seed_numbers(seeds) if seeds else None,
        "runs": str(runs) if runs else None,
    }
    changed = options.assignments("--set", settings) | ({} if epochs is None else {"epochs": epochs})
    asked = read_experiment(file, {name: value for name, value in given.items() if value is not None}, changed)
    asked.check()
    _print_results(run_experiment(asked))


@app.command(epilog="Example: aspects evaluate runs/recommended/seed-0 -d data/scenes -s store")
def evaluate(
    run: options.RunDir,
    dataset: options.Dataset,
    split: Annotated[str, typer.Option(help="The split to evaluate on.")] = "test",
    store: Annotated[str | None, typer.Option("--store", "-s", help="Score the aspects too, on these answers.")] = None,
    questions: options.AnyQuestions = None,
    teacher: options.AnswersBy = None,
    name: options.Name = None,
    root: options.Root = None,
    download: options.Download = False,
) -> None:
    """Accuracy of one trained student, per class as well, and how well it repeats its teacher."""
    from flows.report import print_evaluation
    from flows.training import find_teacher_answers
    from student.config import present_accelerator
    from student.evaluate import evaluate as evaluate_run

    images = options.dataset_parameters(dataset, name, root, download).open()
    asked = str(questions) if questions else None
    answers = find_teacher_answers(store, images.name, teacher, asked) if store else None
    print_evaluation(
        evaluate_run(run, images, answers, split, accelerator=present_accelerator(), progress=sys.stderr.isatty())
    )


@app.command(epilog="Example: aspects export runs/recommended/seed-0 exported --format safetensors --format onnx")
def export(
    run: options.RunDir,
    out: Annotated[Path, typer.Argument(help="Folder to write.", metavar="DIR")],
    formats: Annotated[list[str] | None, typer.Option("--format", help="safetensors or onnx; may be repeated.")] = None,
    keep_aspects: Annotated[bool, typer.Option("--keep-aspects", help="Keep the aspect outputs too.")] = False,
) -> None:
    """Write a trained student as safetensors with its timm config, and as ONNX (checked with onnxruntime)."""
    from student.export import export as export_run

    written = export_run(run, out, tuple(formats or ("safetensors", "onnx")), keep_aspects)
    for file in written.files:
        typer.echo(written.folder / file)
    if written.onnx_difference is not None:
        typer.echo(f"onnxruntime and torch differ by at most {written.onnx_difference:.1g} in a logit")


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
    """Bring answers into the store that somebody else has computed: MaKD, LaViD or human attributes."""
    from flows.imports import read_answers_file
    from flows.report import import_lines
    from teacher.precomputed import import_answers as import_into_store

    answers = read_answers_file(file, format, questions, alias)
    images = options.dataset_parameters(dataset, name, root, download).open()
    for line in import_lines(import_into_store(answers, images, options.split_names(splits), store)):
        typer.echo(line)


@app.command(epilog="Example: aspects show --store store --dataset scenes")
def show(
    store: options.Store = "store",
    dataset: Annotated[str | None, typer.Option("--dataset", "-d", help="Only the dataset of this name.")] = None,
    questions: Annotated[int, typer.Option(help="How many of the most and least informative questions.", min=0)] = 3,
) -> None:
    """What a store holds: datasets, teachers, questions, what is missing, and which questions tell classes apart."""
    from flows.show import show_store

    show_store(store, dataset, questions)


@app.command(epilog="Example: aspects teachers")
def teachers() -> None:
    """Teachers that have a short name here, and their settings. Any other vision-language model works as well."""
    from flows.report import print_teachers

    print_teachers()


def _run_extraction(
    dataset: str,
    questions: Path,
    store: str,
    splits: str,
    shard_size: int,
    source: options.Given,
    asking: options.Given,
    student: StudentParameters | None = None,
) -> ExtractionSummary:
    direct.get_ready()
    from flows.extraction import check_inputs, extract_aspects
    from flows.terminal import working

    images, names = options.dataset_parameters(dataset, **source), options.split_names(splits)
    teacher, engine = options.teacher_parameters(asking)
    # Prefect takes seconds to start; a typing mistake should not.
    with working("checking dataset and questions"):
        check_inputs(images, str(questions), names, teacher, engine)
    return extract_aspects(
        dataset=images,
        questions=str(questions),
        splits=names,
        teacher=teacher,
        engine=engine,
        store=store,
        shard_size=shard_size,
        train=student is not None,
        **({} if student is None else {"student": student}),
    )


def _print_forecast(
    dataset: str,
    questions: Path,
    store: str,
    splits: str,
    shard_size: int,
    source: options.Given,
    asking: options.Given,
) -> None:
    from flows.extraction import check_inputs, forecast_extraction

    images, names = options.dataset_parameters(dataset, **source), options.split_names(splits)
    teacher, engine = options.teacher_parameters(asking)
    check_inputs(images, str(questions), names, teacher, engine)
    for line in forecast_extraction(images, str(questions), names, teacher, engine, store, shard_size).lines():
        typer.echo(line)


def _print_results(results: Any) -> None:
    from flows.report import print_results

    print_results(results)


def main() -> None:
    """The entry point: whatever goes wrong becomes one line on standard error and an exit code."""
    try:
        code = app(standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except Exception as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # the help is on the terminal already
            sys.exit(USERS_MISTAKE)
        if isinstance(error, ClickException):
            _fail(_usage(error), USERS_MISTAKE)
        if wants_traceback() or (explained := explain(error)) is None:
            raise
        _fail(*explained)
    if code == INTERRUPTED:
        _fail("interrupted; the same command again goes on where this one stopped", INTERRUPTED)
    sys.exit(code if isinstance(code, int) else 0)


def _usage(error: Any) -> str:
    context = getattr(error, "ctx", None)
    message = " ".join(error.format_message().split()).rstrip(".")
    return f"{message}; see {context.command_path if context else 'aspects'} --help"


def _fail(message: str, code: int) -> NoReturn:
    typer.echo(f"error: {message}", err=True)
    sys.exit(code)
