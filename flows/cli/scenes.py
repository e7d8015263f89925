"""The command `aspects scenes`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.cli.markup import echo
from flows.option_values import MAX_SEED, OptionInvalid

MOST_SCENES = 100_000  # of a class

app = typer.Typer()


@app.command(epilog="Example: aspects scenes data/scenes")
def scenes(
    folder: Annotated[Path, typer.Argument(help="Folder to fill with train/ and test/.", metavar="DIR")],
    train: Annotated[int, typer.Option(help="Training images of each class.", min=1, max=MOST_SCENES)] = 24,
    test: Annotated[int, typer.Option(help="Test images of each class.", min=1, max=MOST_SCENES)] = 40,
    seed: Annotated[int, typer.Option(help="Another seed draws other scenes.", min=0, max=MAX_SEED)] = 0,
    task: Annotated[
        Literal["classification", "detection"],
        typer.Option(help="detection: several objects in a scene, in COCO's layout; --train and --test count scenes."),
    ] = "classification",
    spurious: Annotated[
        float | None,
        typer.Option(
            help="Draw two classes, few and many objects: so many of the training images of a class have its colour as "
            "background, and half of the test images.",
            metavar="SHARE",
            min=0,
            max=1,
        ),
    ] = None,
) -> None:
    """Draw the demo dataset: small scenes whose classes differ in combinations of aspects."""
    from storage.datasets.scenes.classification import write_scenes
    from storage.datasets.scenes.detection import write_detection_scenes
    from storage.datasets.scenes.folder import require_scenes_folder
    from storage.datasets.scenes.spurious import write_spurious_scenes

    if spurious is not None and task == "detection":
        raise OptionInvalid("--spurious is for --task classification; leave it out")
    require_scenes_folder(folder)
    if task == "detection":
        write_detection_scenes(folder, train=train, test=test, seed=seed)
    elif spurious is not None:
        write_spurious_scenes(folder, train_per_class=train, test_per_class=test, share=spurious, seed=seed)
    else:
        write_scenes(folder, train_per_class=train, test_per_class=test, seed=seed)
    echo(f"{len(list(folder.rglob('*.png')))} scenes: {folder}")
