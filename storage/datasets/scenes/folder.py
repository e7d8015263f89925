"""Recognise, fill and refill the folder of `aspects scenes`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from storage.errors import InputInvalid

# Written last by `aspects scenes`: the right answers, a bool column for each question about scenes.
GROUND_TRUTH = "ground_truth.parquet"
# Some of its columns; together no other table is likely to have them.
KEYS = frozenset({"image_id", "has_red", "has_twins", "on_grass"})

# Exists until everything is written.
UNFINISHED = ".unfinished_scenes"
RENDERED = re.compile(r"(train|test)/([a-z]+_[a-z]+/)?\d{4,}\.png|annotations/instances_(train|test)\.json")


def holds_rendered_scenes(folder: Path) -> bool:
    """Return whether `aspects scenes` has filled the folder; the bundled teacher knows only such images."""
    try:
        return set(pq.read_schema(folder / GROUND_TRUTH).names) >= KEYS
    except (OSError, ValueError, pa.ArrowException):
        return False


def require_scenes_folder(folder: Path) -> None:
    """Raise InputInvalid for a folder with files other than those of an earlier, possibly unfinished `aspects
    scenes`."""
    if folder.exists() and not folder.is_dir():
        raise InputInvalid(f"{folder} is a file; choose a folder that is new or empty")
    ours = (folder / UNFINISHED).exists() or holds_rendered_scenes(folder)
    if not ours and folder.exists() and any(folder.iterdir()):
        raise InputInvalid(f"folder {folder} holds something else; choose one that is new or empty")


@contextmanager
def filling(folder: Path) -> Iterator[None]:
    """Fill `folder` with scenes in the block, which writes GROUND_TRUTH last.

    Scenes of an earlier command are removed first: it may have been killed, or have drawn more of them.
    """
    mark = folder / UNFINISHED
    again = mark.exists() or holds_rendered_scenes(folder)
    folder.mkdir(parents=True, exist_ok=True)
    mark.write_text("'aspects scenes' has not finished here; start it again\n", encoding="utf-8")
    (folder / GROUND_TRUTH).unlink(missing_ok=True)
    if again:
        _remove_scenes(folder)
    yield
    mark.unlink()


def _remove_scenes(folder: Path) -> None:
    """Remove files named like those of `aspects scenes`, and folders that are then empty; nothing else."""
    folders = [folder / name for name in ("train", "test", "annotations")]
    folders += [path for top in folders if top.is_dir() for path in top.iterdir() if path.is_dir()]
    for within in reversed(folders):
        if within.is_symlink() or not within.is_dir():
            continue
        for path in within.iterdir():
            if RENDERED.fullmatch(path.relative_to(folder).as_posix()):
                path.unlink()
        if not any(within.iterdir()):
            within.rmdir()
