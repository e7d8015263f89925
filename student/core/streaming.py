"""Images that are decoded anew each time, by processes of a torch DataLoader: for what fits neither memory nor disk.

The DataLoader is given the order by the training loop, one task for each batch. A task carries the part of the dataset
that it needs, so that a worker holds no list of all images, and starts at once however many there are.
"""

from __future__ import annotations

import dataclasses
import os
import re
import signal
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from storage.datasets.base import ImageDataset, ImageRecord
from storage.errors import RunFailed
from storage.platform.processes import serve_parent, without_signals
from storage.text import printable
from student.core.decoding import Pixels, Unreadable, decode, unreadable_line
from student.core.images import Images, ImagesInvalid
from student.core.resizing import Preparation

AHEAD = 4  # batches that each worker decodes ahead
WORKER_DIED = re.compile(r"DataLoader worker \(pid.*")


@dataclass(frozen=True)
class StreamedImages(Images):
    """Images that are decoded each time by `workers` processes, or in this process where there are none. `shapes` are
    given where they are known without decoding."""

    dataset: ImageDataset
    preparation: Preparation
    workers: int
    shapes: NDArray[np.int64] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_loader"}

    def shape(self, index: int) -> tuple[int, int]:
        if self.shapes is None:
            return self.image(index).shape[1], self.image(index).shape[2]
        height, width = self.shapes[index].tolist()
        return height, width

    def image(self, index: int) -> Tensor:
        (image,) = self._images(DecodeBatches()[self._task([index])])
        return image

    def batches(self, batches: Iterable[Sequence[int]]) -> Iterator[list[Tensor]]:
        loader = self._loader
        assert isinstance(loader.sampler, _Order)
        loader.sampler.tasks = map(self._task, batches)
        with without_signals():  # until they serve this process
            found = iter(loader)
        while True:
            try:
                batch = next(found)
            except StopIteration:
                return
            except (OSError, EOFError) as error:  # what a worker had sent is gone with it
                raise _worker_died(str(error) or "its connection was closed") from error
            yield self._images(batch)

    def with_records(self, records: Sequence[ImageRecord]) -> Self:
        return dataclasses.replace(self, records=tuple(records))

    def close(self) -> None:
        """End the workers. The next pass starts others."""
        self.__dict__.pop("_loader", None)

    def _task(self, indices: Sequence[int]) -> Task:
        records = [self.records[index] for index in indices]
        return Task(self.dataset.subset(records), [record.image_id for record in records], self.preparation)

    def _images(self, batch: DecodedBatch) -> list[Tensor]:
        """Raises ImagesInvalid for one that cannot be read."""
        if batch.unreadable:
            raise ImagesInvalid(unreadable_line(self.dataset.name, batch.unreadable, len(self)))
        sizes = (3 * batch.shapes.prod(axis=1)).tolist()
        parts = batch.pixels.split(sizes)
        return [
            part.view(height, width, 3).permute(2, 0, 1)
            for part, (height, width) in zip(parts, batch.shapes.tolist(), strict=True)
        ]

    @cached_property
    def _loader(self) -> DataLoader[Any]:
        several: dict[str, Any] = {}
        if self.workers:
            # Spawned: a fork of a process with threads, of OpenMP, Arrow or a server, can hang.
            several = {
                "multiprocessing_context": "spawn",
                "persistent_workers": True,
                "prefetch_factor": AHEAD,
                "worker_init_fn": _serve,
            }
        return DataLoader(
            DecodeBatches(),
            batch_size=None,
            sampler=_Order(),
            num_workers=self.workers,
            collate_fn=_unchanged,
            generator=torch.Generator(),  # else it would draw from torch's own, which augmentation uses
            **several,
        )


@dataclass(frozen=True, slots=True)
class Task:
    """What a worker is sent: images by their ids, and the dataset that reads them."""

    dataset: ImageDataset
    image_ids: list[str]
    preparation: Preparation


@dataclass(frozen=True, slots=True)
class DecodedBatch:
    """What a worker sends back: all pixels one after the other in one tensor, which is passed by shared memory, height
    and width of each image [B, 2], and ids and reasons of those that cannot be read."""

    pixels: Tensor
    shapes: NDArray[np.int64]
    unreadable: list[tuple[str, str]]


class DecodeBatches(Dataset[DecodedBatch]):
    """Decodes the images of a task."""

    def __getitem__(self, task: Task) -> DecodedBatch:
        images: list[Pixels] = []
        unreadable: list[tuple[str, str]] = []
        for image_id in task.image_ids:
            image = decode(task.dataset, image_id, task.preparation)
            if isinstance(image, Unreadable):
                unreadable.append((image_id, image.why))
            else:
                images.append(image)
        shapes = np.array([image.shape[:2] for image in images], dtype=np.int64).reshape(-1, 2)
        pixels = np.concatenate([image.reshape(-1) for image in images]) if images else np.empty(0, np.uint8)
        return DecodedBatch(torch.from_numpy(pixels), shapes, unreadable)


class _Order(Sampler[Task]):
    """The tasks of one pass."""

    def __init__(self) -> None:
        self.tasks: Iterator[Task] = iter(())

    def __iter__(self) -> Iterator[Task]:
        return self.tasks


def _unchanged(batch: Any) -> Any:
    return batch


def _serve(_: int) -> None:
    # SIGTERM ends it, as the DataLoader does; SIGINT reaches every process of a terminal.
    serve_parent(os.getppid(), ignored={signal.SIGINT, signal.SIGHUP})


@contextmanager
def reporting_dead_workers() -> Iterator[None]:
    """A worker that was killed as RunFailed. torch raises a RuntimeError, in whatever line the process is."""
    try:
        yield
    except RuntimeError as error:
        if WORKER_DIED.search(str(error)) is None:
            raise
        raise _worker_died(str(error)) from error


def _worker_died(why: str) -> RunFailed:
    return RunFailed(
        f"a process that decodes images has ended ({printable(why, 200)}); most often memory or shared memory "
        f"(/dev/shm) has run out: give fewer by --set workers=NUMBER, or smaller batches; the same command "
        f"resumes from the last checkpoint"
    )
