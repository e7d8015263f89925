from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from scipy import stats

from student.core.bootstrap import Bootstrap


def bootstrap_of(**right_SN: NDArray[np.bool_]) -> Bootstrap:
    """Of cells with the top-1 of each image (S seeds, N images)."""
    found = Bootstrap.of(
        {
            (cell, seed): pl.DataFrame({"image_id": [f"{n}.jpg" for n in range(len(right))], "top1": right})
            for cell, seeds in right_SN.items()
            for seed, right in enumerate(seeds)
        }
    )
    assert found is not None
    return found


def test_one_seed_gives_the_interval_of_a_mean_over_images() -> None:
    random = np.random.default_rng(5)
    ours, theirs = random.random((1, 800)) < 0.7, random.random((1, 800)) < 0.6
    low, high = interval = bootstrap_of(ours=ours, theirs=theirs).interval("top1", "ours", "theirs") or (0, 0)
    differences = ours[0].astype(float) - theirs[0]
    expected = stats.norm(differences.mean(), differences.std() / np.sqrt(800)).interval(0.95)
    assert interval == pytest.approx(expected, abs=0.004)
    assert low < differences.mean() < high


def test_seeds_and_images_both_widen_the_interval() -> None:
    """The variance of the mean is that of the mean over seeds, by Student's t, plus that of the mean over images."""
    shares, images = (0.5, 0.6, 0.7, 0.8), 1000
    random = np.random.default_rng(1)
    ours = np.stack([random.permutation(np.arange(images) < share * images) for share in shares])
    nothing = np.zeros_like(ours)
    low, high = bootstrap_of(ours=ours, nothing=nothing).interval("top1", "ours", "nothing") or (0, 0)
    between_seeds = np.std(shares, ddof=1) / 2
    of_images = ours.mean(axis=0).std() / np.sqrt(images)
    assert (low + high) / 2 == pytest.approx(0.65, abs=0.01)
    half = np.hypot(stats.t.ppf(0.975, 3) * between_seeds, 1.96 * of_images)
    assert (high - low) / 2 == pytest.approx(half, rel=0.08)


@pytest.mark.parametrize("seeds", [3, 5])
def test_where_seeds_alone_vary_the_interval_is_that_of_student(seeds: int) -> None:
    random = np.random.default_rng(4)
    shares, held = np.arange(200) / 200, 0
    for _ in range(100):
        ours = np.stack([shares < 0.5 + gain for gain in random.normal(0, 0.1, seeds)])
        theirs = np.stack([shares < 0.5] * seeds)
        low, high = bootstrap_of(ours=ours, theirs=theirs).interval("top1", "ours", "theirs") or (0, 0)
        held += low <= 0 <= high
    assert 90 <= held <= 99


def test_all_comparisons_have_the_same_resamples() -> None:
    random = np.random.default_rng(2)
    first, second = random.random((3, 200)) < 0.6, random.random((3, 200)) < 0.5
    both = bootstrap_of(first=first, second=second)
    low, high = both.interval("top1", "first", "second") or (0, 0)
    assert both.interval("top1", "second", "first") == pytest.approx((-high, -low))
    assert both.interval("top1", "first", "first") == (0, 0)
    assert bootstrap_of(first=first, second=second).interval("top1", "first", "second") == (low, high)
    assert both.interval("loss", "first", "second") is None


def test_students_that_were_evaluated_on_different_images_are_not_resampled_together() -> None:
    tables = [pl.DataFrame({"image_id": ids, "top1": [1.0, 0.0]}) for ids in (["a", "b"], ["a", "c"])]
    assert Bootstrap.of({("base", 0): tables[0], ("makd", 0): tables[1]}) is None
    assert Bootstrap.of({}) is None
