"""How much the answers about an image speak for a class."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SUREST = 0.99  # a mean p(yes); a finite number of images never makes an answer impossible


def evidence(
    p_yes_BQ: NDArray[np.floating], classes_B: NDArray[np.int64], means_CQ: NDArray[np.float64]
) -> NDArray[np.float64]:
    """How much each aspect of an image speaks for a class, in nats [B, Q]: below 0 it speaks against it. `means_CQ` is
    the mean p(yes) of each class, NaN where it is not known.

    The weight of evidence (Good 1950) of the answer yes is log(m_c / m), where m_c is the class's mean p(yes) and m the
    mean over all classes, and of no log((1 - m_c) / (1 - m)). The image's p(yes), clipped to 0..1, weighs the two.
    Means are kept within 1 - SUREST .. SUREST. NaN where there is no mean for the class.
    """
    means_CQ = means_CQ.clip(1 - SUREST, SUREST)
    known = ~np.isnan(means_CQ)
    overall_Q = np.where(known, means_CQ, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    overall_Q = np.where(known.any(axis=0), overall_Q, np.nan)
    p_yes, means_BQ = p_yes_BQ.astype(np.float64), means_CQ[classes_B]
    return p_yes * np.log(means_BQ / overall_Q) + (1 - p_yes) * np.log((1 - means_BQ) / (1 - overall_Q))
