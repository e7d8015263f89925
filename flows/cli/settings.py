"""The command `aspects settings`, which lists every setting of a student."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.markup import TextTable, markdown_table
from flows.cli.model_options import with_models
from flows.parameters import TaskParameters
from storage.text import as_yaml

if TYPE_CHECKING:  # torch takes seconds
    from student.core.settings import TrainingConfig

# The beginning of docs/settings.md; a test compares the file with the output of `aspects settings --markdown`.
INTRODUCTION = """\
# Settings of students

Give any of these by `--set NAME=VALUE` to `aspects train`, `run` and `experiment`, or under `settings:` or `grid:` in
an experiment's file. A recipe (`--recipe`) sets some of them. Where neither does, the default holds, and for
`accelerator` what the machine has. VALUE is read as YAML: `0.1`, `true`, `null`, `[150, 180]`.
[Students](students.md) and [detection](detection.md) explain methods and recipes.

Printed by `aspects settings --markdown`.
"""

app = typer.Typer()


@app.command(epilog="Example: aspects settings --task detection")
@with_models
def settings(
    chosen: TaskParameters,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print docs/settings.md, with the settings of both tasks.")
    ] = False,
) -> None:
    """List the settings of students for --set NAME=VALUE, with their defaults."""
    from rich.console import Console

    from student.classification.config import StudentConfig
    from student.detection.config import DetectorConfig

    if markdown:
        typer.echo("\n".join(page()))
        return
    table = TextTable()
    table.column("setting", no_wrap=True)
    table.column("default")
    table.column("description")
    for row in rows(DetectorConfig if chosen.task == "detection" else StudentConfig):
        table.row(*row.values())
    Console().print(table)


def page() -> Iterator[str]:
    """Yield the lines of docs/settings.md."""
    from student.classification.config import StudentConfig
    from student.detection.config import DetectorConfig

    yield INTRODUCTION
    for heading, model in (("Classifiers", StudentConfig), ("Detectors", DetectorConfig)):
        yield from ("## " + heading, "", *markdown_table(list(rows(model))))
        if model is StudentConfig:
            yield ""


def rows(model: type[TrainingConfig]) -> Iterator[dict[str, str]]:
    """Yield one row per setting, in the order of the model."""
    from student.core.setting_errors import choices_of

    for name, field in model.model_fields.items():
        description = field.description or ""
        choices = [str(choice) for choice in choices_of(field.annotation) if choice is not None]
        if not all(choice in description for choice in choices):
            description = f"{description}; one of {', '.join(choices)}"
        default = "the recipe's" if field.is_required() else _as_option(field.get_default(call_default_factory=True))
        yield {"setting": name, "default": default, "description": description}


def _as_option(value: object) -> str:
    """Return the value as it is written after `--set NAME=`."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(_as_option, value))}]"
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else as_yaml(value)
