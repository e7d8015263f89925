"""Orders and samples of images and pairs that depend on names alone, so that a later run finds the same ones."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Uints = NDArray[np.uint64]


def numbers_of(names: Sequence[str], salt: str) -> Uints:
    """Return a random number for each name, uint64 [N]."""
    key = hashlib.sha256(salt.encode()).digest()[:16]
    digests = b"".join(hashlib.blake2b(name.encode(), digest_size=8, key=key).digest() for name in names)
    return np.frombuffer(digests, "<u8").astype(np.uint64)


def pair_numbers(image_ids: Sequence[str], keys: Sequence[str], salt: str) -> NDArray[np.float64]:
    """Return a number for each pair of image and question, uniform in 0 .. 1, float64 [I, Q]."""
    mixed = numbers_of(image_ids, f"{salt} image")[:, None] ^ numbers_of(keys, f"{salt} question")[None, :]
    found: NDArray[np.float64] = (_scrambled(mixed) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return found


def spread_out(image_ids: Sequence[str], labels: NDArray[np.integer], salt: str) -> NDArray[np.int64]:
    """Return an order of the images, int64 [I], whose every beginning has the same number of images of each class, as
    far as there are any; at random within a class. Images without a label are a class of their own."""
    numbers = numbers_of(image_ids, f"{salt} order")
    by_class = np.lexsort((numbers, labels))
    starts = np.searchsorted(labels[by_class], labels[by_class])
    rank = np.empty(len(labels), np.int64)
    rank[by_class] = np.arange(len(labels)) - starts
    sizes = np.bincount(labels + 1)[labels + 1]
    # Large classes, and images without a label, get a share in each beginning instead of a place at the end.
    return np.lexsort((numbers, (rank + 0.5) / sizes if (labels < 0).any() else rank)).astype(np.int64)


def _scrambled(values: Uints) -> Uints:
    """The finaliser of SplitMix64 (Steele et al., OOPSLA 2014)."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        values = (values ^ (values >> np.uint64(shift))) * np.uint64(factor)
    return values ^ (values >> np.uint64(31))
