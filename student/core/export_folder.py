"""The folder of an export, written atomically, in place of an earlier export."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from storage.errors import InputInvalid
from storage.filesystem import unfinished_prefix
from student.core.files import RunBusy, only_user, writing

USE = "preprocessing.json"
FILES = (USE, "config.json", "model.safetensors", "model.onnx", "model.int8.onnx", "README.md")

Format = Literal["safetensors", "onnx"]


class ExportInvalid(InputInvalid):
    """The export cannot be made or used; the message says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Int8:
    """How a model was quantised, and top-1 (0..1) of both models on `images` images of a split; None without any."""

    kind: Literal["static", "dynamic"]
    images: int = 0
    split: str | None = None
    top1: float | None = None
    top1_fp32: float | None = None


@dataclass(frozen=True, kw_only=True)
class Export:
    """What was written. `onnx_difference` is the largest difference of a logit from torch's, None without ONNX."""

    folder: Path
    files: tuple[str, ...]
    onnx_difference: float | None
    int8: Int8 | None = None


def require_formats(formats: Sequence[str]) -> None:
    """Raises ExportInvalid for an unknown one."""
    for name in formats:
        if name not in get_args(Format):
            raise ExportInvalid(f"export format '{name}' is unknown; use {' or '.join(get_args(Format))}")


@contextmanager
def export_folder(out_dir: Path) -> Iterator[Path]:
    """A new folder to write FILES into, which becomes `out_dir` when the block ends without an error.

    An export that is there already is replaced as a whole. Raises ExportInvalid for a folder that holds anything else,
    and as `student.core.files.writing`.
    """
    target = out_dir.expanduser().resolve()
    with writing(target):
        _require_replaceable(target)
        # What cannot be renamed, such as a folder mounted into a container, gets the files one by one.
        inside = target.is_dir() and (target.is_mount() or not os.access(target.parent, os.W_OK))
        place = target if inside else target.parent
        _remove_killed(place, target.name)
        unfinished = place / f"{unfinished_prefix(target.name)}{uuid.uuid4().hex}"
    try:
        with only_user(unfinished):
            yield unfinished
            # While it is locked: another export would take it for that of a killed one.
            with writing(target):
                if inside:
                    _move_files(unfinished, target)
                else:
                    _swap(unfinished, target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _require_replaceable(target: Path) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        raise ExportInvalid(f"{target} is a file; give a folder that is new or empty")
    names = {path.name for path in target.iterdir() if not _is_unfinished(path, target.name)}
    if others := sorted(names - set(FILES)):
        raise ExportInvalid(f"folder {target} holds something else ({others[0]}); give one that is new or empty")
    if names and USE not in names:
        raise ExportInvalid(f"folder {target} holds another model (no {USE}); give one that is new or empty")


def _is_unfinished(path: Path, name: str) -> bool:
    """Whether a killed export, of this release or of 0.1.0, has left it."""
    return path.name.startswith(unfinished_prefix(name)) or path.suffix == ".unfinished"


def _remove_killed(place: Path, name: str) -> None:
    """Delete what killed exports have left; one that is still at work holds its lock."""
    if not place.is_dir():
        return
    for path in place.iterdir():
        if path.name.startswith(unfinished_prefix(name)) and path.is_dir():
            with suppress(RunBusy), only_user(path):
                shutil.rmtree(path, ignore_errors=True)


def _swap(unfinished: Path, target: Path) -> None:
    if not target.exists():
        unfinished.rename(target)
        return
    aside = unfinished.with_name(f"{unfinished.name}-before")
    target.rename(aside)
    try:
        unfinished.rename(target)
    except OSError:
        aside.rename(target)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _move_files(unfinished: Path, target: Path) -> None:
    for name in FILES:
        if (unfinished / name).exists():
            (unfinished / name).replace(target / name)
        else:
            (target / name).unlink(missing_ok=True)
