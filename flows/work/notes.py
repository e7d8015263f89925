"""Notes of dataset and image readers, printed once per command."""

from __future__ import annotations

import sys
from typing import TypeVar

from storage.datasets.base import FileDataset, ImageDataset
from storage.datasets.overlap import shared_images
from storage.images.decoder_warnings import take_warnings
from storage.text import printable

LONGEST_NOTE = 400
Images = TypeVar("Images", bound=ImageDataset)

# Per process: a command opens its dataset several times.
_printed: set[str] = set()
_compared: set[tuple[str, int]] = set()


def print_notes(dataset: Images) -> Images:
    """Return `dataset`, and print its notes on standard error unless this process has printed them already."""
    for note in (*dataset.notes, *_overlap(dataset)):
        line = f"note: dataset '{printable(dataset.name)}': {printable(note, LONGEST_NOTE)}"
        if line not in _printed:
            _printed.add(line)
            print(line, file=sys.stderr, flush=True)
    return dataset


def _overlap(dataset: ImageDataset) -> list[str]:
    """Return a note about images in several splits, computed once per process."""
    key = (dataset.name, len(dataset.records))
    if key in _compared or not isinstance(dataset, FileDataset):
        return []
    _compared.add(key)
    note = shared_images(dataset)
    return [note] if note else []


def print_warnings() -> None:
    """Print one line about decoder warnings for images of this process, if any."""
    if line := take_warnings():
        print(f"note: {line}", file=sys.stderr, flush=True)
