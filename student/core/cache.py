"""Images decoded once into one file of raw pixels, which every process of a run maps into its memory.

The file is the cache: its pages live in the operating system's memory once, however many ranks and workers read them.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from storage.datasets.base import ImageDataset, ImageRecord
from storage.errors import InputInvalid, StorageUnavailable
from storage.images.decode import ImageUnreadable, decode_image
from student.core.files import remove_cache, writing
from student.core.progress import ImageBar
from student.core.settings import OnError

CHUNK = 256


class ImagesInvalid(InputInvalid):
    """The images of a split cannot be used as they are; the message says which, why and what to do."""


@dataclass(frozen=True)
class ImageCache:
    """Decoded images, uint8 RGB, in the records' order. `shapes` [N, 2] holds height and width of each."""

    path: Path
    records: tuple[ImageRecord, ...]
    shapes: np.ndarray
    dropped: tuple[str, ...]  # ids of the images that were left out because they could not be read

    def __len__(self) -> int:
        return len(self.records)

    def __reduce__(self) -> tuple[type[ImageCache], tuple[object, ...]]:
        # Another process maps the file itself; a pickled map would carry all pixels.
        return ImageCache, (self.path, self.records, self.shapes, self.dropped)

    def image(self, index: int) -> Tensor:
        """One image as uint8 [3, H, W]; a view of the shared pixels, not to be written to."""
        height, width = self.shapes[index]
        start = self._starts[index]
        return self._pixels[start : start + 3 * height * width].view(height, width, 3).permute(2, 0, 1)

    def on(self, device: torch.device) -> ImageCache:
        """The same images with their pixels in the memory of `device`, where at most half of what is free would hold
        them all; else, and on a CPU, these."""
        if device.type != "cuda" or 2 * self._pixels.nbytes > torch.cuda.mem_get_info(device)[0]:
            return self
        return self._with_pixels(self._pixels.to(device))

    def _with_pixels(self, pixels: Tensor) -> ImageCache:
        copy = dataclasses.replace(self)
        copy.__dict__["_pixels"] = pixels
        return copy

    def stack(self, indices: Sequence[int] | slice) -> Tensor:
        """Images of one shape as uint8 [N, H, W, 3]."""
        chosen = range(len(self))[indices] if isinstance(indices, slice) else indices
        return torch.stack([self.image(index).permute(1, 2, 0) for index in chosen])

    @property
    def labels(self) -> Tensor:
        """int64 [N]."""
        return torch.tensor([record.label for record in self.records], dtype=torch.int64)

    @cached_property
    def _pixels(self) -> Tensor:
        size = int(self._starts[-1])
        try:
            if self.path.stat().st_size == size:  # what is mapped beyond the end of a file kills the process
                return torch.from_file(str(self.path), shared=True, size=size, dtype=torch.uint8)
        except FileNotFoundError:
            pass
        raise StorageUnavailable(f"{self.path} was changed while it was in use; give the same command again")

    @cached_property
    def _starts(self) -> np.ndarray:
        return np.concatenate([[0], np.cumsum(3 * self.shapes.prod(axis=1, dtype=np.int64))])


class SharedCaches:
    """Caches that the students of an experiment share: decoded once for all that need the same images in the same form,
    in folders below `folder`, until `stack` ends."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._open: dict[tuple[object, ...], ImageCache] = {}

    def get(self, key: tuple[object, ...], decode: Callable[[Path], AbstractContextManager[ImageCache]]) -> ImageCache:
        """The cache of `key`; `decode` opens it in a folder where it is not open yet."""
        if key not in self._open:
            folder = self._folder / "-".join(["images", *map(str, key)])
            self._stack.callback(remove_cache, folder)
            self._open[key] = self._stack.enter_context(decode(folder))
        return self._open[key]


@contextmanager
def image_cache(
    dataset: ImageDataset,
    records: Sequence[ImageRecord],
    prepare: Callable[[Image.Image], Image.Image],
    path: Path,
    damaged: OnError,
    progress: bool,
) -> Iterator[ImageCache]:
    """What `prepare` makes of the images, in the file `path`, which is gone when the block ends.

    Raises ImagesInvalid for images that cannot be read, unless `damaged` ones are dropped and some are left.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)

    try:
        kept, shapes, unreadable = _decode_all(dataset, records, prepare, path, progress)
        if unreadable and (damaged == "refuse" or not kept):
            raise ImagesInvalid(_name_unreadable(dataset, unreadable, len(records)))
        yield ImageCache(path, tuple(kept), np.array(shapes, dtype=np.int64).reshape(-1, 2), tuple(unreadable))
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _decode_all(
    dataset: ImageDataset,
    records: Sequence[ImageRecord],
    prepare: Callable[[Image.Image], Image.Image],
    path: Path,
    progress: bool,
) -> tuple[list[ImageRecord], list[tuple[int, ...]], dict[str, str]]:
    """Write the pixels of all images to `path`, in the records' order: the records that could be read, height and width
    of each, and why the others could not, by their ids."""

    def decode(record: ImageRecord) -> np.ndarray | str:
        try:
            return np.asarray(prepare(decode_image(dataset.read(record.image_id))))
        except ImageUnreadable as error:
            return str(error)
        except OSError as error:
            return error.strerror or str(error)

    kept: list[ImageRecord] = []
    shapes: list[tuple[int, ...]] = []
    unreadable: dict[str, str] = {}
    # Pillow decodes outside Python's lock, so threads are enough; by chunks, so that few wait in memory.
    with (
        writing(path),  # of all that happens here, only this file's errors are the file system's
        path.open("wb") as file,
        ThreadPoolExecutor(os.cpu_count()) as pool,
        ImageBar("decoding images", len(records), shown=progress) as bar,
    ):
        for start in range(0, len(records), CHUNK):
            chunk = records[start : start + CHUNK]
            for record, image in zip(chunk, pool.map(decode, chunk), strict=True):
                if isinstance(image, str):
                    unreadable[record.image_id] = image
                else:
                    file.write(image.tobytes())
                    kept.append(record)
                    shapes.append(image.shape[:2])
                bar.advance(1)
    return kept, shapes, unreadable


def _name_unreadable(dataset: ImageDataset, unreadable: dict[str, str], total: int) -> str:
    named = [f"{image_id} ({why})" for image_id, why in list(unreadable.items())[:3]]
    more = f" and {len(unreadable) - 3} more" if len(unreadable) > 3 else ""
    return (
        f"{len(unreadable)} of {total} images of dataset '{dataset.name}' cannot be read: {', '.join(named)}{more}; "
        f"repair or remove them, or leave them out by --set damaged_images=drop"
    )
