"""Prepared images of a split, wherever their pixels are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from storage.datasets.base import ImageRecord
from storage.errors import InputInvalid


class ImagesInvalid(InputInvalid):
    """The images of a split cannot be used as they are; the message says which, why and what to do."""


@dataclass(frozen=True)
class Images(ABC):
    """Images as uint8 RGB, in the records' order. The pixels are the same whichever subclass holds them."""

    records: tuple[ImageRecord, ...]
    dropped: tuple[str, ...]  # ids of the images that were left out because they could not be read

    def __len__(self) -> int:
        return len(self.records)

    @property
    def labels(self) -> Tensor:
        """int64 [N]."""
        return torch.tensor([record.label for record in self.records], dtype=torch.int64)

    @abstractmethod
    def shape(self, index: int) -> tuple[int, int]:
        """Height and width of one image."""

    @abstractmethod
    def image(self, index: int) -> Tensor:
        """One image as uint8 [3, H, W]; not to be written to."""

    @abstractmethod
    def batches(self, batches: Iterable[Sequence[int]]) -> Iterator[list[Tensor]]:
        """The images of each of `batches`, given as indices, as `image` returns them. One pass at a time; what follows
        may be read ahead."""

    @abstractmethod
    def with_records(self, records: Sequence[ImageRecord]) -> Self:
        """The same images with other splits and labels."""

    def on(self, device: torch.device) -> Images:
        """The same images for training on `device`; their pixels in its memory where that can be."""
        return self

    def in_order(self, batch_size: int) -> Iterator[list[Tensor]]:
        """All images in their order, in batches."""
        return self.batches(range(len(self))[start : start + batch_size] for start in range(0, len(self), batch_size))
