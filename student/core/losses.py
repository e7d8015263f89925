"""Loss functions of the methods.

Every loss is a mean over the batch; targets that do not exist are NaN and count for nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def bce_loss(aspect_logits_BQ: Tensor, targets_BQ: Tensor, weights_BQ: Tensor | None = None) -> Tensor:
    """Binary cross-entropy of the logits against p(yes), as in MaKD (arXiv 2501.13341), mean over the answers, each
    times its weight, where there are `weights_BQ`."""
    answered = ~targets_BQ.isnan()
    # Filled before the loss, not masked after it: 0 * NaN would reach the gradient.
    losses = functional.binary_cross_entropy_with_logits(aspect_logits_BQ, targets_BQ.nan_to_num(0.0), reduction="none")
    if weights_BQ is not None:
        losses = losses * weights_BQ
    return (losses * answered).sum() / answered.sum().clamp(min=1)


def mse_loss(outputs_BQ: Tensor, targets_BQ: Tensor) -> Tensor:
    """Mean squared error over the answers, as in LaViD (arXiv 2606.27527): the outputs themselves are p(yes)."""
    answered = ~targets_BQ.isnan()
    losses = (outputs_BQ - targets_BQ.nan_to_num(0.0)).square()
    return (losses * answered).sum() / answered.sum().clamp(min=1)


def kd_loss(class_logits_BC: Tensor, target_logits_BC: Tensor, temperature: float) -> Tensor:
    """T^2 KL(softmax(target / T) || softmax(class / T)): knowledge distillation (Hinton et al., arXiv 1503.02531)."""
    known = ~target_logits_BC.isnan().any(dim=1)
    log_student = functional.log_softmax(class_logits_BC / temperature, dim=1)
    log_target = functional.log_softmax(target_logits_BC.nan_to_num(0.0) / temperature, dim=1)
    losses = functional.kl_div(log_student, log_target, reduction="none", log_target=True).sum(dim=1)
    return temperature**2 * (losses * known).sum() / known.sum().clamp(min=1)


def consistency_loss(
    weak_logits_BC: Tensor, strong_logits_BC: Tensor, labels_B: Tensor, threshold: float = 0.95
) -> Tensor:
    """FixMatch (Sohn et al., arXiv 2001.07685): cross-entropy of the strongly augmented view against the most likely
    class of the weakly augmented one, where that has at least `threshold` probability; mean over the images without a
    label (-1), those below the threshold included."""
    probabilities, named = weak_logits_BC.detach().softmax(dim=1).max(dim=1)
    unlabelled = labels_B < 0
    losses = functional.cross_entropy(strong_logits_BC, named, reduction="none")
    return (losses * (unlabelled & (probabilities >= threshold))).sum() / unlabelled.sum().clamp(min=1)


def dkd_loss(
    class_logits_BC: Tensor, target_logits_BC: Tensor, labels_B: Tensor, temperature: float, beta: float
) -> Tensor:
    """Decoupled knowledge distillation (Zhao et al., arXiv 2203.08679): KL of right against wrong classes, plus `beta`
    times KL among the wrong ones, both times T^2. Where the label is not known (-1), the target's most likely class
    stands for the right one."""
    right_B = torch.where(labels_B >= 0, labels_B, target_logits_BC.argmax(dim=1))
    hit = functional.one_hot(right_B, class_logits_BC.shape[1]).bool()
    log_student = functional.log_softmax(class_logits_BC / temperature, dim=1)
    log_target = functional.log_softmax(target_logits_BC / temperature, dim=1)
    right = _divergence(_right_and_wrong(log_student, hit), _right_and_wrong(log_target, hit))
    among = _divergence(_among_wrong(log_student, hit), _among_wrong(log_target, hit))
    return temperature**2 * (right + beta * among)


def standardized_kd_loss(class_logits_BC: Tensor, target_logits_BC: Tensor, temperature: float) -> Tensor:
    """`kd_loss` of logits with mean 0 and standard deviation 1 in every row (Sun et al., arXiv 2403.01427): the
    student has to match the order and the proportions of its teacher's logits, not their size."""
    return kd_loss(_standardize(class_logits_BC), _standardize(target_logits_BC), temperature)


def multi_level_kd_loss(
    class_logits_BC: Tensor, target_logits_BC: Tensor, temperatures: tuple[float, ...] = (1.0, 2.0, 3.0, 5.0, 6.0)
) -> Tensor:
    """Multi-level logit distillation (Jin et al., CVPR 2023) of standardised logits: at every temperature the
    predictions, the similarity of images and the similarity of classes, summed.

    Of the original's two views of each image there is one here, and no image or class is left out as too uncertain.
    """
    total = torch.zeros((), device=class_logits_BC.device)
    for temperature in temperatures:
        student, target = ((logits / temperature).softmax(dim=1) for logits in (class_logits_BC, target_logits_BC))
        images = (student @ student.T - target @ target.T).square().sum() / len(student)
        classes = (student.T @ student - target.T @ target).square().sum() / student.shape[1]
        total = total + standardized_kd_loss(class_logits_BC, target_logits_BC, temperature) + images + classes
    return total


def _divergence(log_student_BK: Tensor, log_target_BK: Tensor) -> Tensor:
    """KL(target || student), mean over the batch."""
    return functional.kl_div(log_student_BK, log_target_BK, reduction="batchmean", log_target=True)


def _standardize(logits_BC: Tensor) -> Tensor:
    # Heads that start at zero give equal logits, and a standard deviation has no gradient there.
    spread = logits_BC.var(dim=1, keepdim=True).clamp(min=1e-14).sqrt()
    return (logits_BC - logits_BC.mean(dim=1, keepdim=True)) / (spread + 1e-7)


def _right_and_wrong(log_p_BC: Tensor, hit_BC: Tensor) -> Tensor:
    """Log-probability of the right class and of all others together: [B, 2]."""
    right = log_p_BC[hit_BC]
    wrong = log_p_BC.masked_fill(hit_BC, -torch.inf).logsumexp(dim=1)
    return torch.stack([right, wrong], dim=1)


def _among_wrong(log_p_BC: Tensor, hit_BC: Tensor) -> Tensor:
    """Log-probabilities of the wrong classes, given that it is one of them: [B, C - 1]."""
    wrong = log_p_BC[~hit_BC].view(len(log_p_BC), -1)
    return wrong.log_softmax(dim=1)
