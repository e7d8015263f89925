"""What answers say about the classes, measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def class_information(p_yes: NDArray[np.floating], label_names: Sequence[str]) -> NDArray[np.float64]:
    """Mutual information of each question's answer and the class, in bits: float64 [Q].

    `p_yes` is [I, Q], NaN where there is no answer; `label_names` are the images' classes. The answer is a yes with
    probability p(yes): I(answer; class) = H(mean p) - sum over classes of share * H(mean p within the class). 0 where
    every class gets the same answer, at most 1 where half of the classes get yes and half no; NaN without answers.
    """
    answered = ~np.isnan(p_yes)
    values = np.where(answered, p_yes, 0.0).astype(np.float64)
    _, labels = np.unique(np.asarray(label_names), return_inverse=True)
    classes = np.eye(labels.max(initial=-1) + 1)[labels]
    counts_CQ = classes.T @ answered
    sums_CQ = classes.T @ values
    total = counts_CQ.sum(axis=0)
    with np.errstate(invalid="ignore"):
        within = np.nansum(counts_CQ / total * binary_entropy(sums_CQ / counts_CQ), axis=0)
        information = binary_entropy(sums_CQ.sum(axis=0) / total) - within
    return np.where(total > 0, np.maximum(information, 0.0), np.nan)


def binary_entropy(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Entropy in bits of a yes with probability `p`; NaN stays NaN."""
    inside = np.clip(p, 1e-300, 1 - 1e-16)
    return -(p * np.log2(inside) + (1 - p) * np.log2(1 - inside))
