"""Images decoded once into one file of raw pixels, which every process of a run maps into its memory.

The file is either in memory (`memory_cache`) or on disk (`disk_cache.py`). Its pages are in the operating system's
memory once, however many ranks read them.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from storage.datasets.base import ImageRecord
from storage.errors import StorageUnavailable
from student.core.decoding import ImageSource, Unreadable
from student.core.files import remove_cache, writing
from student.core.images import Images
from student.core.progress import ImageBar


@dataclass(frozen=True)
class ImageCache(Images):
    """Decoded images in one file. `shapes` [N, 2] holds height and width of each."""

    path: Path
    shapes: NDArray[np.int64]

    def __reduce__(self) -> tuple[type[ImageCache], tuple[object, ...]]:
        # Another process maps the file itself; a pickled map would carry all pixels.
        return ImageCache, (self.records, self.dropped, self.path, self.shapes)

    def shape(self, index: int) -> tuple[int, int]:
        height, width = self.shapes[index].tolist()
        return height, width

    def image(self, index: int) -> Tensor:
        """One image as uint8 [3, H, W]; a view of the shared pixels, not to be written to."""
        height, width = self.shapes[index]
        start = self._starts[index]
        return self._pixels[start : start + 3 * height * width].view(height, width, 3).permute(2, 0, 1)

    def batches(self, batches: Iterable[Sequence[int]]) -> Iterator[list[Tensor]]:
        return ([self.image(index) for index in batch] for batch in batches)

    def with_records(self, records: Sequence[ImageRecord]) -> Self:
        return dataclasses.replace(self, records=tuple(records))

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
    def _starts(self) -> NDArray[np.int64]:
        return np.concatenate([[0], np.cumsum(3 * self.shapes.prod(axis=1, dtype=np.int64))])


class SharedCaches:
    """Images that the students of an experiment share: opened once for all that need the same images in the same form,
    with folders below `folder`, until `stack` ends."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._open: dict[tuple[object, ...], Images] = {}

    def get(self, key: tuple[object, ...], decode: Callable[[Path], AbstractContextManager[Images]]) -> Images:
        """The images of `key`; `decode` opens them in a folder where they are not open yet."""
        if key not in self._open:
            folder = self._folder / "-".join(["images", *map(str, key)])
            self._stack.callback(remove_cache, folder)
            self._open[key] = self._stack.enter_context(decode(folder))
        return self._open[key]


@dataclass(frozen=True)
class Decoded:
    """What became of every image of a source: height and width [N, 2], 0 where it cannot be read, and why by its id."""

    shapes: NDArray[np.int64]
    unreadable: dict[str, Unreadable]

    def kept(self, records: Sequence[ImageRecord]) -> tuple[ImageRecord, ...]:
        """Those of the source's `records` that could be read."""
        return tuple(record for record, height in zip(records, self.shapes[:, 0].tolist(), strict=True) if height)

    @property
    def kept_shapes(self) -> NDArray[np.int64]:
        return self.shapes[self.shapes[:, 0] > 0]

    def cache(self, source: ImageSource, path: Path) -> ImageCache:
        """The images that could be read, whose pixels are in the file `path`."""
        return ImageCache(self.kept(source.records), tuple(self.unreadable), path, self.kept_shapes)


@contextmanager
def memory_cache(source: ImageSource, path: Path, *, progress: bool) -> Iterator[tuple[Decoded, Path]]:
    """Decode all images into a file in memory, which is gone when the block ends or the process does: its path, under
    which other processes find it too. Where the system has no such files it is `path`."""
    with _memory_file(path) as (file, place):
        shapes: list[tuple[int, ...]] = []
        unreadable: dict[str, Unreadable] = {}
        with writing(path), ImageBar("decoding images", len(source.records), shown=progress) as bar:
            for chunk in source.decoded_chunks():
                for image in chunk:
                    if isinstance(image, Unreadable):
                        unreadable[source.records[len(shapes)].image_id] = image
                        shapes.append((0, 0))
                    else:
                        os.write(file, image.tobytes())
                        shapes.append(image.shape[:2])
                bar.advance(len(chunk))
        yield Decoded(np.array(shapes, dtype=np.int64).reshape(-1, 2), unreadable), place


@contextmanager
def _memory_file(path: Path) -> Iterator[tuple[int, Path]]:
    """An empty file in memory: its descriptor, and a path that other processes can open while the block runs."""
    if hasattr(os, "memfd_create"):
        handle = os.memfd_create(path.name)
        place = Path(f"/proc/{os.getpid()}/fd/{handle}")
    else:  # not on Linux
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        place = path
    try:
        yield handle, place
    finally:
        os.close(handle)
        if place == path:
            with suppress(OSError):
                path.unlink()
