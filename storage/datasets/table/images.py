"""Find the image files that the rows of a table name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from storage.datasets.base import DatasetInvalid
from storage.datasets.trees import ImageTree
from storage.matching import match_images
from storage.tables import Table
from storage.text import is_unicode, printable

ADDRESS = re.compile(r"[A-Za-z][\w+.-]+://")
DRIVE = re.compile(r"[A-Za-z]:[\\/]")


def find_images(table: Table, column: str, tree: ImageTree, images: Sequence[str]) -> list[str | None]:
    """Return each row's image id, a path in `tree`; None if there is no such file.

    Names are paths in the tree, with or without suffix, or file names that are unique in it; all rows are read in the
    same way (`match_images`). `images` are the tree's. Raises TableInvalid for empty and repeated names, and
    DatasetInvalid for a path outside the tree.
    """
    named = table.names(column)
    paths = [_relative(tree, name, f"{table.path}, row {row}") for row, name in zip(table.rows, named, strict=True)]
    found = {name: image_id for image_id, name in match_images(paths, images, table.path).items()}
    located = [found.get(path) or (path if tree.is_file(path) else None) for path in paths]
    _refuse_repeated(table, named, located)
    return located


def _relative(tree: ImageTree, name: str, where: str) -> str:
    said = printable(name, 200)
    if ADDRESS.match(name):
        raise DatasetInvalid(
            f"{where}: {said} is an address, not a file below {tree.place}; download it and name the file"
        )
    path = name
    if name.startswith("/"):
        path = tree.relative(name) or name
    if path.startswith("/") or DRIVE.match(path) or ".." in PurePosixPath(path.replace("\\", "/")).parts:
        raise DatasetInvalid(
            f"{where}: {said} is not below {tree.place}; name files relative to that folder, or name another by "
            "?images=FOLDER"
        )
    if "\0" in path or not is_unicode(path):
        raise DatasetInvalid(f"{where}: {printable(repr(name), 200)} cannot name a file; correct it")
    return path.removeprefix("./")


def _refuse_repeated(table: Table, named: Sequence[str], located: Sequence[str | None]) -> None:
    """Raise DatasetInvalid for two names of one image, e.g. a.jpg and ./a.jpg."""
    rows: dict[str, int] = {}
    for row, name, image_id in zip(table.rows, named, located, strict=True):
        if image_id is not None and rows.setdefault(image_id, row) != row:
            raise DatasetInvalid(
                f"{table.path} has several rows for the image {printable(image_id, 200)} ({rows[image_id]} and {row}, "
                f"'{printable(name, 200)}'); keep one"
            )
