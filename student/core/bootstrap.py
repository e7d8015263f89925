"""Confidence intervals of gains over test images and seeds, for metrics that are a mean over the images.

The students of all seeds are evaluated on the same images, so images and seeds are crossed, and both are resampled with
replacement, as in the pigeonhole bootstrap (Owen 2007, Annals of Applied Statistics 1, 386-411): the same images for
all seeds in the mean over the seeds, and the seeds in what their gains differ by. Seeds are few, so the deviations of
their weights are scaled: by sqrt(S / (S - 1)), since resampled means of S seeds vary by the inverse of what they
should, and by the ratio of the quantiles of Student's t with S - 1 degrees of freedom and of the normal distribution,
since the spread of few seeds is known poorly. Where all that varies is the seed, the interval is about that of
Student's t.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import stats

RESAMPLES = 5_000
CHUNK = 100  # resamples at once: their weights of a few thousand images stay in the CPU's cache
CONFIDENCE = 0.95

Student = tuple[str, int]  # a cell's name and the seed


@dataclass(frozen=True, kw_only=True)
class Bootstrap:
    """For each metric and cell the means of S seeds over the images [S], and over resampled images [R, S], the same for
    all seeds and cells in row r."""

    means: Mapping[tuple[str, str], NDArray[np.float64]]
    resampled: Mapping[tuple[str, str], NDArray[np.float32]]
    seed_deviations: NDArray[np.float64]  # [R, S], of the weights of resampled seeds from 1 / S

    @classmethod
    def of(cls, image_scores: Mapping[Student, pl.DataFrame]) -> Self | None:
        """From a table for each student with the column `image_id` and one for each metric, whose mean over the images
        is the student's. None where there is none, or where students were evaluated on different images."""
        tables = list(image_scores.values())
        if not tables or not all(table["image_id"].equals(tables[0]["image_id"]) for table in tables):
            return None
        generator = np.random.default_rng(0)
        metrics = [name for name in tables[0].columns if name != "image_id"]
        scores = np.stack([table[name].to_numpy() for name in metrics for table in tables]).astype(np.float32)
        means, resampled = scores.mean(axis=1, dtype=np.float64), _resample_images(scores, generator)
        places: dict[tuple[str, str], list[int]] = {}
        for place, (metric, (cell, _)) in enumerate((name, student) for name in metrics for student in image_scores):
            places.setdefault((metric, cell), []).append(place)
        seeds = len({seed for _, seed in image_scores})
        return cls(
            means={key: means[columns] for key, columns in places.items()},
            resampled={key: resampled[:, columns] for key, columns in places.items()},
            seed_deviations=_resample_seeds(seeds, generator),
        )

    def interval(self, metric: str, cell: str, other: str) -> tuple[float, float] | None:
        """The 95 % interval of `cell` minus `other`: percentiles of the resampled gains. With one seed it is over the
        images alone. None for a metric without scores of single images."""
        if (metric, cell) not in self.means:
            return None
        by_seed = self.means[metric, cell] - self.means[metric, other]
        of_images = (self.resampled[metric, cell] - self.resampled[metric, other]).mean(axis=1)
        gains = of_images + self.seed_deviations @ by_seed
        low, high = np.quantile(gains, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
        return float(low), float(high)


def _resample_images(scores_MN: NDArray[np.float32], generator: np.random.Generator) -> NDArray[np.float32]:
    """The mean of each row over N images drawn with replacement, R times: [R, M]."""
    images = scores_MN.shape[1]
    means = np.empty((RESAMPLES, len(scores_MN)), np.float32)
    for start in range(0, RESAMPLES, CHUNK):
        # Counting draws is several times faster than Generator.multinomial, and the same distribution.
        counts = [np.bincount(generator.integers(images, size=images), minlength=images) for _ in range(CHUNK)]
        means[start : start + CHUNK] = np.stack(counts).astype(np.float32) @ scores_MN.T / images
    return means


def _resample_seeds(seeds: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """By how much the weight of each seed in a mean over as many that are drawn with replacement differs from 1 / S, R
    times: [R, S], scaled as above."""
    even = 1 / seeds
    if seeds == 1:
        return np.zeros((RESAMPLES, 1))
    drawn = generator.multinomial(seeds, np.full(seeds, even), size=RESAMPLES) / seeds
    upper = (1 + CONFIDENCE) / 2
    scale = np.sqrt(seeds / (seeds - 1)) * stats.t.ppf(upper, seeds - 1) / stats.norm.ppf(upper)
    deviations: NDArray[np.float64] = scale * (drawn - even)
    return deviations
