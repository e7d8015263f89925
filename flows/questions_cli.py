"""The commands `aspects questions ...`: check a question set, choose from it, make a change known."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows import options
from flows.direct import direct_run

app = typer.Typer(
    name="questions",
    help="Check question sets, choose from them, make changes known.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
File = Annotated[Path, typer.Argument(help="The question set (YAML).", metavar="FILE")]


@app.command(epilog="Example: aspects questions audit questions/scenes.yaml -d data/scenes -s store")
@options.with_options(source=options.DATASET, asking=options.ASKING)
def audit(
    file: File,
    dataset: options.Dataset,
    store: options.Store = "store",
    splits: options.Splits = "train",
    images: Annotated[
        int, typer.Option(help="Photos of the sample; all where the store has all answers.", min=1)
    ] = 200,
    probed: Annotated[int, typer.Option(help="Of them, asked in other words, negated and mirrored.", min=1)] = 64,
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
    direct_run()
    from flows.auditing import audit_questions, read_truth
    from flows.extraction import check_inputs
    from flows.report import print_audit
    from storage.questions import load_questions

    photos = options.dataset_parameters(dataset, **source)
    teacher, engine = options.teacher_parameters(asking)
    names = options.split_names(splits)
    check_inputs(photos, str(file), names, teacher, engine)
    if truth is not None:
        read_truth(truth, load_questions(file))
    summary = audit_questions(
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
    count: Annotated[int, typer.Option(help="Questions to choose.", min=1)],
    out: Annotated[Path, typer.Option("--out", "-o", help="Question set to write.")],
    store: options.Store = "store",
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Choose the questions that tell the classes apart together, from a set that has been audited."""
    from flows.selection import select_from_audit
    from storage.questions import load_questions, refuse_existing, write_questions

    asked = load_questions(file)
    if not force:
        refuse_existing(out)
    chosen, audit = select_from_audit(file, asked, count, store)
    write_questions(out, chosen, heading=f"{count} of {file.name}, chosen by their answers.", replace=force)
    verdicts = ", ".join(f"{number} {verdict}" for verdict, number in audit.verdicts.items())
    typer.echo(f"audited: {verdicts}")
    typer.echo(f"chosen: {', '.join(chosen.keys)}")
    typer.echo(f"{len(chosen)} questions: {out}")
