"""What a student is trained to lower: cross-entropy on the labels plus alpha times the aspects' cross-entropy."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from student.model import Logits


def student_losses(
    logits: Logits, labels_B: Tensor, yes_prob_BQ: Tensor, *, alpha: float, label_smoothing: float = 0.0
) -> dict[str, Tensor]:
    """CE(class logits, labels) + alpha * BCE(aspect logits, p(yes)), as in MaKD (arXiv 2501.13341).

    `loss` is what to backpropagate; `classification` and `aspects` are its parts, for the log.
    """
    classification = functional.cross_entropy(logits.class_logits_BC, labels_B, label_smoothing=label_smoothing)
    aspects = aspect_loss(logits.aspect_logits_BQ, yes_prob_BQ)
    return {"loss": classification + alpha * aspects, "classification": classification, "aspects": aspects}


def aspect_loss(aspect_logits_BQ: Tensor, yes_prob_BQ: Tensor) -> Tensor:
    """Binary cross-entropy against the teacher's p(yes), mean over the answers that exist (NaN: there is none).

    0 where there is no answer at all.
    """
    answered = ~yes_prob_BQ.isnan()
    # Filled before the loss, not masked after it: 0 * NaN would reach the gradient.
    targets = yes_prob_BQ.nan_to_num(0.0)
    losses = functional.binary_cross_entropy_with_logits(aspect_logits_BQ, targets, reduction="none")
    return (losses * answered).sum() / answered.sum().clamp(min=1)
