"""What the readers of datasets and images noticed, said once for each command."""

from __future__ import annotations

import sys
from typing import TypeVar

from storage.datasets.base import FileDataset, ImageDataset
from storage.datasets.overlap import shared_images
from storage.images.decoder_warnings import take_warnings
from storage.text import printable

LONGEST_NOTE = 400
Images = TypeVar("Images", bound=ImageDataset)

# Of this process: a command opens its dataset several times.
_told: set[str] = set()
_compared: set[tuple[str, int]] = set()


def telling(dataset: Images) -> Images:
    """`dataset`, its notes printed on standard error unless this process has printed them already."""
    for note in (*dataset.notes, *_overlap(dataset)):
        line = f"note: dataset '{printable(dataset.name)}': {printable(note, LONGEST_NOTE)}"
        if line not in _told:
            _told.add(line)
            print(line, file=sys.stderr, flush=True)
    return dataset


def _overlap(dataset: ImageDataset) -> list[str]:
    """What to say about images in several splits, looked for once in a process."""
    key = (dataset.name, len(dataset.records))
    if key in _compared or not isinstance(dataset, FileDataset):
        return []
    _compared.add(key)
    note = shared_images(dataset)
    return [note] if note else []


def tell_warnings() -> None:
    """Print one line about what decoders said of this process's images, where they said anything."""
    if line := take_warnings():
        print(f"note: {line}", file=sys.stderr, flush=True)
