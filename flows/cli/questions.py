"""The commands `aspects questions ...`, which import slow libraries inside functions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli import execution, options
from flows.cli.markup import TextTable, echo
from flows.cli.model_options import with_models
from flows.option_values import OptionInvalid
from flows.parameters import (
    AskingParameters,
    AuditParameters,
    BriefParameters,
    CommonSettings,
    EngineArguments,
    EngineParameters,
    ImprovementParameters,
    RoundParameters,
    SampleParameters,
    StoreParameters,
    StudentParameters,
    TeacherParameters,
)
from storage.parameters import Only

if TYPE_CHECKING:
    from teacher.questions.rounds import Record

# Options of answering models that apply to writing models too.
WRITER_FIELDS = ("model", "revision", "dtype", "max_pixels", "quantization", "trust_remote_code")
WRITER_HELP = (
    "Language model that writes, with or without image input: name of `aspects teachers`, folder, Hugging Face name, "
    "or name on the server."
)
ENGINE_FIELDS = ("name", "gpu_memory_utilization", "max_model_len", "base_url", "api_key_variable")
ENGINE_HELP = "vllm or openai (a server); default: vllm where it is installed."
STUDENT_HELP = {
    "seeds": "Seeds, separated by commas; each trains a student for each fold.",
    "runs": "Folder of the rounds and their students; given again, it is resumed.",
}

app = typer.Typer(help="Question sets: write, check, choose, improve, publish.")
File = Annotated[Path, typer.Argument(help="Question set: a YAML file, or a bundled one such as dtd.", metavar="FILE")]


@app.callback(invoke_without_command=True)
def questions(context: typer.Context) -> None:
    """Question sets: write, check, choose, improve, publish."""
    options.require_command(context)


@app.command(epilog="Example: aspects questions generate questions/mine.yaml -d photos -t Qwen/Qwen3-VL-8B-Instruct")
@with_models
def generate(
    output: Annotated[Path, typer.Argument(help="Question set (YAML) to write.", metavar="FILE")],
    teacher: Annotated[TeacherParameters, Only(WRITER_FIELDS, help={"model": WRITER_HELP})],
    engine: Annotated[EngineParameters, Only(ENGINE_FIELDS, help={"name": ENGINE_HELP})],
    arguments: EngineArguments,
    brief: BriefParameters,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Have a language model write questions that distinguish the classes.

    Rejected: other than yes/no questions, negated or either-or wording, class names, and repetitions.
    """
    if teacher.model is None:
        raise OptionInvalid(
            "no teacher is given; name the model that is to write, e.g. --teacher Qwen/Qwen3-VL-8B-Instruct"
        )
    from flows.work.generation import check_output, generate_questions

    run_by = engine.with_arguments(arguments)
    check_output(output.expanduser(), run_by, force)
    brief.load(teacher.config().max_pixels)
    teacher.check_writer(run_by)
    execution.carry_out(
        generate_questions, output=str(output), brief=brief, teacher=teacher, engine=run_by, overwrite=force
    )


@app.command(epilog="Example: aspects questions audit questions/scenes.yaml -d data/scenes -s store")
@with_models
def audit(
    file: File,
    asked: AskingParameters,
    arguments: EngineArguments,
    sample: SampleParameters,
) -> None:
    """Measure every question on a sample of images, and report which ones to keep and why.

    Writes FILE.audit.parquet and FILE.audit.json beside FILE. Answers of earlier audits are reused.
    """
    from flows.cli.report import print_audit
    from flows.work.auditing import audit_questions
    from flows.work.extraction import check_inputs
    from flows.work.inputs import Inputs
    from storage.questions import load_questions
    from teacher.questions.truth import read_truth

    engine = asked.engine.with_arguments(arguments)
    audited = AuditParameters(**{**dict(asked), "engine": engine}, **dict(sample), questions=str(file))
    inputs = Inputs()
    check_inputs(inputs, audited, audited.questions)
    if audited.truth is not None:
        read_truth(Path(audited.truth).expanduser(), load_questions(file))
    print_audit(execution.carry_out(audit_questions, inputs, audited).audit)


@app.command(epilog="Example: aspects questions select questions/scenes.yaml --count 10 --out questions/ten.yaml")
@with_models
def select(
    file: File,
    count: Annotated[int, typer.Option(help="Questions to choose.", min=1, max=10_000)],
    out: Annotated[Path, typer.Option("--out", "-o", help="Question set to write.")],
    place: StoreParameters,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Choose the questions that together distinguish the classes best, from a set that has been audited."""
    from storage.questions import load_questions, refuse_existing, write_questions
    from teacher.questions.selection import select_from_audit

    asked = load_questions(file)
    if not force:
        refuse_existing(out)
    chosen, audit = select_from_audit(file, asked, count, place.store)
    write_questions(out, chosen, heading=f"{count} of {file.name}, chosen by their answers.", replace=force)
    verdicts = ", ".join(f"{number} {verdict}" for verdict, number in audit.verdicts.items())
    echo(f"audited: {verdicts}")
    echo(f"chosen: {', '.join(chosen.keys)}")
    echo(f"{len(chosen)} questions: {out}")


@app.command(
    epilog="Example: aspects questions improve questions/ten.yaml --pool questions/scenes.yaml -d data/scenes -s store"
)
@with_models
def improve(
    file: File,
    asked: Annotated[AskingParameters, Only(("dataset", "store", "teacher", "engine"))],
    arguments: EngineArguments,
    rounds: RoundParameters,
    student: Annotated[StudentParameters, Only(("recipe", "settings", "seeds", "runs"), help=STUDENT_HELP)],
    common: Annotated[CommonSettings, Only(("backbone", "epochs", "image_size", "method", "alpha"))],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Question set to write; default: questions.yaml in --runs.", metavar="FILE"),
    ] = None,
) -> None:
    """Improve a question set in rounds, by the classes that students confuse.

    Each round asks candidates about a sample, keeps the set that separates the classes best, asks it about all training
    images and trains again. The same command resumes. Writes rounds.json and rounds.md in --runs.
    """
    from flows.work.extraction import check_inputs
    from flows.work.improving import improve_questions
    from flows.work.inputs import Inputs

    rounds.check_source()
    engine = asked.engine.with_arguments(arguments)
    improved = ImprovementParameters(
        **{**dict(asked), "engine": engine},
        **dict(rounds),
        questions=str(file),
        output=None if out is None else str(out),
        student=student.changed_by(common),
    )
    inputs = Inputs()
    check_inputs(inputs, improved, improved.questions)
    _print_rounds(execution.carry_out(improve_questions, inputs, improved).record)


def _print_rounds(record: Record) -> None:
    from rich.console import Console

    table = TextTable(f"rounds; best: {record.best}")
    for column in record.rows[0]:
        table.column(column)
    for row in record.rows:
        table.row(*row.values())
    Console(highlight=False).print(table)
    echo(f"stopped: {record.stopped}")


@app.command(epilog="Example: aspects questions publish questions/scenes.yaml -s store")
@with_models
def publish(
    file: File,
    place: StoreParameters,
    force: Annotated[bool, typer.Option("--force", help="Publish even if the store has all the answers.")] = False,
) -> None:
    """Check a changed question set, list its differences from the answered sets, and notify the Prefect server.

    The deployment extract-aspects then asks the new questions (docs/deployments.md).
    """
    from flows.cli.report import change_line
    from flows.server.publishing import EVENT, publish_change
    from storage.questions import load_questions
    from teacher.questions.changes import compare

    asked = load_questions(file)
    changes = compare(asked, place.store)
    for change in changes:
        echo(change_line(change))
    if changes and all(change.complete for change in changes) and not force:
        echo("nothing published; --force publishes all the same")
        return
    echo(f"{EVENT}: {file}, event {publish_change(file, asked)}")
