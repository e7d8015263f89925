"""Choosing the questions that tell the classes apart together.

What a question is worth depends on the others: a copy adds nothing, and two answers may tell together what neither
tells alone. So the whole set is judged by one classifier that knows pairs of answers, and given up one question after
the other, each time the one that is missed least.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

RIDGES = np.geomspace(1e-3, 1e2, 11)  # relative to the kernel's mean diagonal
MOST_IMAGES = 600  # a judgement costs their number cubed
SHARE_AT_ONCE = 0.1  # of a large set, given up between two judgements of all the others


def select_questions(
    p_yes: NDArray[np.floating], label_names: Sequence[str], count: int, *, seed: int = 0
) -> list[int]:
    """Columns of the `count` questions to keep, in their order; `p_yes` is [I, Q] without gaps, and the images' classes
    are `label_names`. All columns where there are no more than `count`.

    Greedy backward elimination (Guyon and Elisseeff, JMLR 2003, section 4.2) by `leave_one_out_error`.
    """
    values, labels = _sample(2 * p_yes.astype(np.float64) - 1, label_names, seed)
    kept = list(range(values.shape[1]))
    while len(kept) > count:
        products = values[:, kept] @ values[:, kept].T
        errors = []
        for column in kept:
            own = values[:, [column]]
            errors.append(leave_one_out_error(products - own @ own.T, len(kept) - 1, labels))
        dropped = min(len(kept) - count, max(1, math.floor(SHARE_AT_ONCE * (len(kept) - count))))
        for place in sorted(np.argsort(errors, kind="stable")[:dropped].tolist(), reverse=True):
            del kept[place]
    return kept


def leave_one_out_error(products: NDArray[np.float64], questions: int, labels: NDArray[np.int64]) -> float:
    """Mean squared error of the classes' one-hot labels [I, C] where each image is predicted from all the others.

    Kernel ridge regression with the kernel (1 + x.y / Q)^2 of the answers x, y in -1 .. 1, which knows every pair of
    answers; `products` are x.y [I, I] over `questions` answers. The error has a closed form (Rifkin and Lippert, "Notes
    on regularized least squares", 2007); the ridge is the one of RIDGES with the lowest.
    """
    kernel = (1 + products / max(1, questions)) ** 2
    kernel = kernel - kernel.mean(axis=0) - kernel.mean(axis=1)[:, None] + kernel.mean()
    targets = np.eye(labels.max() + 1)[labels]
    targets = targets - targets.mean(axis=0)
    eigenvalues, vectors = eigh(kernel, check_finite=False)
    eigenvalues = eigenvalues.clip(0)
    rotated = vectors.T @ targets
    scale = max(float(eigenvalues.mean()), 1e-12)
    squares = vectors**2
    found = []
    for ridge in RIDGES * scale:
        # I - H, whose diagonal turns residuals into leave-one-out residuals; the mean counts as one direction.
        left = ridge / (eigenvalues + ridge)
        residuals = vectors @ (left[:, None] * rotated)
        kept_diagonal = (squares @ left - 1 / len(labels)).clip(1e-6)
        found.append(float(((residuals / kept_diagonal[:, None]) ** 2).mean()))
    return min(found)


def _sample(
    values: NDArray[np.float64], label_names: Sequence[str], seed: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    _, labels = np.unique(np.asarray(label_names), return_inverse=True)
    chosen = np.sort(np.random.default_rng([seed, 6]).permutation(len(values))[:MOST_IMAGES])
    return values[chosen], labels[chosen]
