"""The commands `aspects view` and `aspects report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.markup import echo
from flows.cli.model_options import help_of, with_models
from flows.option_values import OptionInvalid
from flows.parameters import DatasetParameters, StoreParameters, TaskParameters
from flows.parameters.report import REPORT_MB

if TYPE_CHECKING:
    from view.sources import Sources

HIGHEST_PORT = 65535

Store = Annotated[str, typer.Argument(help=help_of(StoreParameters, "store"), metavar="STORE")]
Runs = Annotated[
    list[Path] | None, typer.Option("--runs", help="Folder of runs or experiments; repeatable.", metavar="DIR")
]
Questions = Annotated[
    list[Path] | None,
    typer.Option("--questions", "-q", help="Question sets with audits, files or folders; repeatable."),
]

app = typer.Typer()


@app.command(epilog="Example: aspects view store --runs runs -d data/scenes")
@with_models
def view(
    store: Store,
    images: DatasetParameters | None,
    chosen: TaskParameters,
    runs: Runs = None,
    questions: Questions = None,
    port: Annotated[int, typer.Option(help="0 chooses a free port.", min=0, max=HIGHEST_PORT)] = 0,
    host: Annotated[
        str, typer.Option(help="Address to listen on. An address that others reach requires a token.")
    ] = "127.0.0.1",
    no_open: Annotated[bool, typer.Option("--no-open", help="Do not open a browser.")] = False,
) -> None:
    """Show answers, images and students as a web page on this machine, until Ctrl-C."""
    from view.server import serve

    serve(
        open_sources(store, images, runs, questions, chosen.task),
        host=host,
        port=port,
        open_browser=not no_open,
        say=echo,
    )


@app.command(epilog="Example: aspects report store --runs runs -d data/scenes -o report.html")
@with_models
def report(
    store: Store,
    images: DatasetParameters | None,
    chosen: TaskParameters,
    output: Annotated[Path, typer.Option("--output", "-o", help="The HTML file to write.", metavar="FILE")],
    runs: Runs = None,
    questions: Questions = None,
    answers: Annotated[
        str | None, typer.Option(help="Id of the answers, as in the addresses of 'aspects view'; default: the first.")
    ] = None,
    max_mb: Annotated[
        float, typer.Option("--max-mb", help="Images beyond this size are left out.", min=0.1)
    ] = REPORT_MB,
) -> None:
    """Write the page about a store as one HTML file, with small copies of the images inside."""
    from view.report import write_report

    output = output.expanduser()
    if output.is_dir():
        raise OptionInvalid(f"--output {output} is a folder; name a file in it, e.g. {output / 'report.html'}")
    sources = open_sources(store, images, runs, questions, chosen.task)
    left_out = write_report(sources, output, answers_id=answers, max_bytes=int(max_mb * 1e6))
    echo(f"{output}: {output.stat().st_size / 1e6:.1f} MB")
    if left_out:
        echo(f"{left_out} images are left out; --max-mb sets the limit, {max_mb:g} MB now")


def open_sources(
    store: str, images: DatasetParameters | None, runs: list[Path] | None, questions: list[Path] | None, task: str
) -> Sources:
    """Open the sources of a page or a report. Raises OptionInvalid for a missing folder, AnswersMissing for a missing
    store, and DatasetInvalid."""
    from storage.answers.directories import answer_directories
    from storage.answers.store import AnswersMissing
    from view.sources import Sources, audited_questions, default_cache

    for name, places in (("--runs", runs), ("--questions", questions)):
        if missing := [place for place in places or () if not place.exists()]:
            raise OptionInvalid(f"{name} {missing[0]} does not exist; correct it, or leave it out")
    if not answer_directories(store):
        raise AnswersMissing(f"store {store} holds no answers; run 'aspects extract', or check the store's name")
    dataset = None
    if images is not None:
        dataset = images.open_detection() if task == "detection" else images.open()
    files = questions or audited_questions()
    sources = Sources(store, default_cache(), runs=runs or (), dataset=dataset, question_files=files)
    stored = list(dict.fromkeys(one.dataset for one in sources.answer_sets()))
    if dataset is not None and not any(sources.shows(name) for name in stored):
        names = ", ".join(f"'{name}'" for name in stored[:5])
        note = f"images are not shown: the answers in the store are about {names}, not about '{dataset.name}'"
        typer.echo(f"{note}; --name sets the name of the dataset", err=True)
    return sources
