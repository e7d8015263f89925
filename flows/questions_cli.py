"""The commands `aspects questions ...`. What is heavy is imported inside the commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows import direct, options

PROMPTED = "What the model is told"

app = typer.Typer(help="Question sets: have one written.", no_args_is_help=True)


@app.callback()
def questions() -> None:
    """Question sets: have one written."""


@app.command(epilog="Example: aspects questions generate questions/mine.yaml -d photos -t Qwen/Qwen3-VL-8B-Instruct")
def generate(
    output: Annotated[Path, typer.Argument(help="Question set (YAML) to write.", metavar="FILE")],
    teacher: Annotated[
        str,
        typer.Option(
            "--teacher",
            "-t",
            help="Language model that writes, with eyes or without: name of `aspects teachers`, folder, Hugging Face "
            "name, or its name on the server.",
            rich_help_panel=options.TEACHER,
        ),
    ],
    dataset: Annotated[
        str | None, typer.Option("--dataset", "-d", help="Dataset whose classes are asked about, as for extract.")
    ] = None,
    classes: Annotated[Path | None, typer.Option(help="Or a text file with a class name in each line.")] = None,
    root: options.Root = None,
    download: options.Download = False,
    count: Annotated[int, typer.Option(min=1, help="Questions wanted.")] = 50,
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
        int, typer.Option(min=1, help="How often what is missing is asked for.", rich_help_panel=PROMPTED)
    ] = 4,
    max_tokens: Annotated[
        int | None,
        typer.Option(min=1, help="Longest answer; default: 150 for each question.", rich_help_panel=PROMPTED),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other questions.", rich_help_panel=PROMPTED)] = 0,
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
    direct.get_ready()
    from flows.generation import BriefParameters, check_output, generate_questions
    from flows.parameters import EngineParameters, TeacherParameters

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
    weights = {"revision": revision, "dtype": dtype, "quantization": quantization, "max_pixels": max_pixels}
    writer = TeacherParameters.model_validate({"model": teacher, "trust_remote_code": trust_remote_code, **weights})
    server = {"base_url": base_url, "api_key_variable": api_key_variable}
    arguments = {**options.assignments("--vllm", vllm), **options.assignments("--request", request)}
    memory = {"gpu_memory_utilization": gpu_memory, "max_model_len": max_model_len}
    run_by = EngineParameters.model_validate({"name": engine, "arguments": arguments, **server, **memory})
    # Prefect takes seconds to start; a typing mistake should not.
    check_output(output.expanduser(), run_by, force)
    brief.load(writer.config().max_pixels)
    generate_questions(output=str(output), brief=brief, teacher=writer, engine=run_by, overwrite=force)
