"""List the image files of a folder, and count its other files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from storage.datasets.base import UNLABELLED, DatasetInvalid, ImageRecord
from storage.text import printable

# What Pillow opens by itself, written out so that another release of it does not change a dataset. Left out are
# .eps and .ps, which run Ghostscript, and formats that it recognises but cannot decode (.emf, .h5, .mpg, ...).
PILLOW_SUFFIXES = """
    .apng .avif .avifs .blp .bmp .bw .cur .dcx .dds .dib .fit .fits .flc .fli .ftc .ftu .gbr .gif .icb .icns .ico
    .iim .im .j2c .j2k .jfif .jp2 .jpc .jpe .jpeg .jpf .jpg .jpx .mpo .msp .pbm .pcd .pcx .pfm .pgm .png .pnm .ppm
    .psd .pxr .qoi .ras .rgb .rgba .sgi .tga .tif .tiff .vda .vst .webp .xbm .xpm
"""
# Pillow does not read HEIC: listed so that a phone's images are reported as unreadable instead of being skipped.
IMAGE_SUFFIXES = frozenset(PILLOW_SUFFIXES.split()) | {".heic", ".heif"}
# Files of file managers; names that start with "." or "__" are ignored as well.
LEFT_BEHIND = frozenset({"thumbs.db", "desktop.ini"})
USUAL_SPLITS = ("train", "val", "valid", "validation", "test")
JSON_LINES = (".jsonl", ".ndjson")
TABLE_SUFFIXES = (".csv", ".tsv", ".parquet", ".pq", *JSON_LINES)
DEEPEST = 50  # folders within each other
LONGEST_LIST = 5

Kind = Literal["folder", "file", "special"]


@dataclass
class Skipped:
    """Files other than images, by suffix, and paths that are not files or lead back to a parent folder."""

    suffixes: Counter[str] = field(default_factory=Counter)
    special: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.suffixes or self.special or self.links)

    def add(self, other: Skipped) -> None:
        self.suffixes.update(other.suffixes)
        self.special += other.special
        self.links += other.links

    def notes(self) -> tuple[str, ...]:
        """Return one line per kind."""
        lines = []
        if total := sum(self.suffixes.values()):
            lines.append(f"skipped {counted(total, 'file')} without the name of an image: {self.by_suffix()}")
        if self.special:
            what = counted(len(self.special), "pipe, device or socket", "pipes, devices or sockets")
            lines.append(f"skipped {what} among the files: {listing(self.special)}")
        if self.links:
            lines.append(f"skipped {counted(len(self.links), 'link')} back to a folder above: {listing(self.links)}")
        return tuple(lines)

    def by_suffix(self) -> str:
        """Return counts by suffix, the most frequent first: 9 .txt, 3 .xcf."""
        ordered = sorted(self.suffixes.items(), key=lambda item: (-item[1], item[0]))
        return listing([f"{count} {suffix or 'without a suffix'}" for suffix, count in ordered])


def counted(number: int, one: str, many: str | None = None) -> str:
    """Return a count with its noun: 1 file, 2 files."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def listing(names: Iterable[str]) -> str:
    """Return the first few paths, safe to print, and the number of further ones."""
    every = list(names)
    more = f" and {len(every) - LONGEST_LIST} more" if len(every) > LONGEST_LIST else ""
    return ", ".join(printable(name, 80) for name in every[:LONGEST_LIST]) + more


def missing_classes(records: Iterable[ImageRecord], class_names: Sequence[str]) -> tuple[str, ...]:
    """Return a note for each training or test split without images of some class."""
    seen: dict[str, set[int]] = {}
    for record in records:
        seen.setdefault(record.split, set()).add(record.label)
    notes = []
    for split, labels in seen.items():
        missing = [name for label, name in enumerate(class_names) if label not in labels]
        if missing and split in USUAL_SPLITS:
            notes.append(
                f"split '{split}' has no image of {counted(len(missing), 'class', 'classes')}: {listing(missing)}"
            )
    return tuple(notes)


def files_with(place: Path, suffixes: Sequence[str]) -> list[Path]:
    """Return the files with one of the suffixes in a folder and in the folders within it, sorted; or `place` itself."""
    if place.is_file():
        return [place] if place.suffix.lower() in suffixes else []
    found = [path for pattern in ("*", "*/*") for path in place.glob(pattern) if path.suffix.lower() in suffixes]
    return sorted(path for path in found if path.is_file())


def is_usual_split(name: str) -> bool:
    """Return whether the name, in any case, is one of a common split."""
    return name.casefold() in (*USUAL_SPLITS, UNLABELLED)


def split_rank(split: str) -> tuple[int, str]:
    """Return the sort key of a split: train, val, test, then others by name."""
    return (USUAL_SPLITS.index(split) if split in USUAL_SPLITS else len(USUAL_SPLITS), split)


def is_visible(name: str) -> bool:
    return not name.startswith((".", "__")) and name.casefold() not in LEFT_BEHIND


def has_image_name(name: str) -> bool:
    return suffix_of(name) in IMAGE_SUFFIXES


def suffix_of(name: str) -> str:
    """Return the lower-case suffix, like `Path(name).suffix` but several times as fast."""
    stem, _, suffix = name.rpartition("/")[2].rpartition(".")
    return f".{suffix}".lower() if stem and suffix else ""


def entries(folder: Path) -> Iterator[tuple[str, Kind]]:
    """Return visible names and their types, with links followed. A broken link counts as a file: reading it reports the
    error."""
    with os.scandir(folder) as found:
        for entry in found:
            if is_visible(entry.name):
                yield entry.name, _kind(entry)


def images_below(folder: str, root: Path, skipped: Skipped) -> list[str]:
    """Return image files at any depth below `root/folder`, ordered by folder and name, as paths relative to `root` with
    forward slashes.

    Other files are added to `skipped`. Links are followed, except to a folder that contains the link. Raises
    DatasetInvalid for folders nested too deeply.
    """
    above = (os.path.realpath(root), os.path.realpath((root / folder).parent))
    # Use strings: creating a Path for each file costs more than listing the files.
    return sorted(_images_below(folder, root, skipped, above), key=lambda path: path.split("/"))


def _images_below(folder: str, root: Path, skipped: Skipped, within: tuple[str, ...]) -> Iterator[str]:
    """Like `images_below`; `within` are the real folders above."""
    real = os.path.realpath(root / folder)
    if any(f"{passed}/".startswith(f"{real.rstrip('/')}/") for passed in within):
        skipped.links.append(folder)
        return
    if len(within) > DEEPEST:
        raise DatasetInvalid(f"{printable(str(root))} has folders nested more than {DEEPEST} levels deep")
    for name, kind in entries(root / folder):
        path = f"{folder}/{name}"
        if kind == "folder":
            yield from _images_below(path, root, skipped, (*within, real))
        elif not has_image_name(name):
            skipped.suffixes[suffix_of(name)] += 1
        elif kind == "special":
            skipped.special.append(path)
        else:
            yield path


def _kind(entry: os.DirEntry[str]) -> Kind:
    try:
        if entry.is_dir():
            return "folder"
        if entry.is_file():
            return "file"
        entry.stat()
    except OSError:  # a broken link, or one to itself
        return "file"
    return "special"
