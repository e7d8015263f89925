"""The commands `aspects questions ...`. What is heavy is imported inside the commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli import direct, options
from flows.cli.markup import echo

PROMPTED = "What the model is told"

app = typer.Typer(help="Question sets: write, check, choose, publish.", no_args_is_help=True)
File = Annotated[Path, typer.Argument(help="Question set: a YAML file, or a bundled one such as dtd.", metavar="FILE")]


@app.callback()
def questions() -> None:
    """Question sets: write, check, choose, publish."""


@app.command(epilog="Example: aspects questions generate questions/mine.yaml -d photos -t Qwen/Qwen3-VL-8B-Instruct")
def generate(
    output: Annotated[Path, typer.Argument(help="Question set (YAML) to write.", metavar="FILE")],
    teacher: Annotated[
        str | None,
        typer.Option(
            "--teacher",
            "-t",
            help="Language model that writes, with eyes or without: name of `aspects teachers`, folder, Hugging Face "
            "name, or its name on the server.",
            rich_help_panel=options.TEACHER,
        ),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", "-d", help="Dataset whose classes are asked about, as for extract.")
    ] = None,
    classes: Annotated[Path | None, typer.Option(help="Or a text file with a class name in each line.")] = None,
    root: options.Root = None,
    download: options.Download = False,
    count: Annotated[int, typer.Option(min=1, max=10_000, help="Questions wanted.")] = 50,
    groups: Annotated[
        list[str] | None,
        typer.Option("--group", help="Share of a group, NAME=NUMBER; repeatable. Default: 30, 12 and 8 of three."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    photos: Annotated[
        list[Path] | None,
        typer.Option("--photo", help="Photo to show to the model; repeatable.", rich_help_panel=PROMPTED),
    ] = None,
    prompt: Annotated[
        Path | None, typer.Option(help="File with a prompt of your own.", rich_help_panel=PROMPTED)
    ] = None,
    rounds: Annotated[
        int, typer.Option(min=1, max=1000, help="How often what is missing is asked for.", rich_help_panel=PROMPTED)
    ] = 4,
    max_tokens: Annotated[
        int | None,
        typer.Option(
            min=1, max=1_000_000, help="Longest answer; default: 150 for each question.", rich_help_panel=PROMPTED
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=options.MAX_SEED, help="Another seed, other questions.", rich_help_panel=PROMPTED)
    ] = 0,
    revision: options.Revision = None,
    dtype: options.Dtype = None,
    max_pixels: options.MaxPixels = None,
    quantization: options.Quantization = None,
    trust_remote_code: options.TrustRemoteCode = False,
    engine: Annotated[
        str | None,
        typer.Option(
            help="vllm or openai (a server); default: vllm where it is installed.",
            metavar="NAME",
            rich_help_panel=options.ENGINE,
        ),
    ] = None,
    gpu_memory: options.GpuMemory = 0.9,
    max_model_len: options.MaxModelLen = None,
    vllm: options.VllmSettings = None,
    base_url: options.BaseUrl = None,
    api_key_variable: options.ApiKeyVariable = "OPENAI_API_KEY",
    request: options.RequestSettings = None,
) -> None:
    """Have a language model write questions that tell classes apart, and keep those that can be asked.

    Rejected: what is no yes/no question, negated or either-or wording, class names, and repetitions.
    """
    if teacher is None:
        raise options.OptionInvalid(
            "no teacher is given; name the model that is to write, e.g. --teacher Qwen/Qwen3-VL-8B-Instruct"
        )
    from flows.parameters import EngineParameters, TeacherParameters
    from flows.work.generation import BriefParameters, check_output, generate_questions

    weights = {"revision": revision, "dtype": dtype, "quantization": quantization, "max_pixels": max_pixels}
    writer = TeacherParameters.model_validate({"model": teacher, "trust_remote_code": trust_remote_code, **weights})
    server = {"base_url": base_url, "api_key_variable": api_key_variable}
    arguments = options.engine_arguments(engine, base_url, vllm, request)
    memory = {"gpu_memory_utilization": gpu_memory, "max_model_len": max_model_len}
    run_by = EngineParameters.model_validate({"name": engine, "arguments": arguments, **server, **memory})
    shares = options.assignments("--group", groups)
    brief = BriefParameters(
        dataset=options.dataset_parameters(dataset, None, root, download) if dataset else None,
        classes=str(classes) if classes else None,
        photos=[str(photo) for photo in photos or []],
        count=count,
        prompt=str(prompt) if prompt else None,
        rounds=rounds,
        max_tokens=max_tokens,
        seed=seed,
        **({"shares": shares} if shares else {}),
    )
    check_output(output.expanduser(), run_by, force)
    brief.load(writer.config().max_pixels)
    writer.check_writer(run_by)
    direct.carry_out(
        generate_questions, output=str(output), brief=brief, teacher=writer, engine=run_by, overwrite=force
    )


@app.command(epilog="Example: aspects questions audit questions/scenes.yaml -d data/scenes -s store")
@options.with_options(source=options.DATASET, asking=options.ASKING)
def audit(
    file: File,
    dataset: options.Dataset,
    store: options.Store = "store",
    splits: options.Splits = "train",
    images: Annotated[
        int,
        typer.Option(help="Images of the sample; all where the store has all answers.", min=1, max=10_000_000),
    ] = 200,
    probed: Annotated[
        int, typer.Option(help="Of them, asked in other words, negated and mirrored.", min=1, max=10_000_000)
    ] = 64,
    truth: Annotated[
        Path | None, typer.Option(help="Right answers: Parquet or CSV with image_id and a column per question.")
    ] = None,
    *,
    source: options.Given,
    asking: options.Given,
) -> None:
    """Measure every question on a sample of photos, and say which ones to keep and why.

    Writes FILE.audit.parquet and FILE.audit.json beside FILE. What was asked before is not asked again.
    """
    from flows.cli.report import print_audit
    from flows.work.auditing import audit_questions, read_truth
    from flows.work.extraction import check_inputs
    from flows.work.inputs import Inputs
    from storage.questions import load_questions

    photos = options.dataset_parameters(dataset, **source)
    teacher, engine = options.teacher_parameters(asking)
    names = options.split_names(splits)
    inputs = Inputs()
    check_inputs(inputs, photos, str(file), names, teacher, engine)
    if truth is not None:
        read_truth(truth, load_questions(file))
    teacher.answering(photos)
    summary = direct.carry_out(
        audit_questions,
        inputs,
        dataset=photos,
        questions=str(file),
        splits=names,
        teacher=teacher,
        engine=engine,
        store=store,
        images=images,
        probed=probed,
        truth=None if truth is None else str(truth),
    )
    print_audit(summary.audit)


@app.command(epilog="Example: aspects questions select questions/scenes.yaml --count 10 --out questions/ten.yaml")
def select(
    file: File,
    count: Annotated[int, typer.Option(help="Questions to choose.", min=1, max=10_000)],
    out: Annotated[Path, typer.Option("--out", "-o", help="Question set to write.")],
    store: options.Store = "store",
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Choose the questions that tell the classes apart together, from a set that has been audited."""
    from flows.cli.selection import select_from_audit
    from storage.questions import load_questions, refuse_existing, write_questions

    asked = load_questions(file)
    if not force:
        refuse_existing(out)
    chosen, audit = select_from_audit(file, asked, count, store)
    write_questions(out, chosen, heading=f"{count} of {file.name}, chosen by their answers.", replace=force)
    verdicts = ", ".join(f"{number} {verdict}" for verdict, number in audit.verdicts.items())
    echo(f"audited: {verdicts}")
    echo(f"chosen: {', '.join(chosen.keys)}")
    echo(f"{len(chosen)} questions: {out}")


@app.command(epilog="Example: aspects questions publish questions/scenes.yaml -s store")
def publish(
    file: File,
    store: options.Store = "store",
    force: Annotated[bool, typer.Option("--force", help="Even if the store has all the answers.")] = False,
) -> None:
    """Check a changed question set, say what differs from what is answered, and tell the Prefect server.

    The deployment extract-aspects then asks what is new (docs/deployments.md).
    """
    from flows.server.publishing import EVENT, compare
    from flows.server.publishing import publish as tell
    from storage.questions import load_questions

    asked = load_questions(file)
    changes = compare(asked, store)
    for change in changes:
        echo(change.line())
    if changes and all(change.complete for change in changes) and not force:
        echo("nothing published; --force publishes all the same")
        return
    echo(f"{EVENT}: {file}, event {tell(file, asked)}")
