"""Image files named one by one, by folders, or by patterns: no classes and no splits."""

from __future__ import annotations

import glob
from collections.abc import Iterable
from pathlib import Path

from storage.datasets.base import DatasetInvalid
from storage.datasets.files import Skipped, has_image_name, images_below

WILDCARDS = frozenset("*?[")


def image_paths(places: Iterable[str]) -> tuple[list[Path], tuple[str, ...]]:
    """The image files that `places` name, in their order, each once, and notes about what was skipped.

    A place is a file of any name, a folder, whose image files at any depth are taken, or a pattern (`**` matches
    folders at any depth), of which the files with the name of an image are. Raises DatasetInvalid for a place that
    does not exist or has no images.
    """
    skipped, found = Skipped(), dict[Path, None]()
    for text in places:
        place = Path(text).expanduser()
        if place.is_dir():
            real = place.resolve()
            names = images_below(real.name, real.parent, skipped)
            paths = [place / name.removeprefix(f"{real.name}/") for name in names]
        elif place.exists() or not WILDCARDS.intersection(text):
            paths = [place]
        else:
            matches = map(Path, sorted(glob.glob(str(place), recursive=True)))
            paths = [path for path in matches if has_image_name(path.name) and not path.is_dir()]
        if not paths:
            what = f"no images in {text}" if place.is_dir() else f"no images match {text}"
            raise DatasetInvalid(f"{what}; {'; '.join(skipped.notes()) or 'check the path'}")
        if not place.exists() and paths == [place] and not place.is_symlink():
            raise DatasetInvalid(f"no file or folder at {text}; check the path")
        found.update(dict.fromkeys(paths))
    return list(found), skipped.notes()
