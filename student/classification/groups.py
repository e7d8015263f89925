"""Groups of training images, class x answer to a question, and weights of images that balance them.

A teacher says p(yes), not yes or no: an image of a class belongs to the class's group of yes by p(yes), and to its
group of no by the rest.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from torch import Tensor

from student.classification.targets import ImageLabels, Values, means_by_class

STEP = 0.01  # of the exponentiated gradient, per update (Sagawa et al., ICLR 2020)
LEAST_IMAGES = 1.0  # expected images of a group; a smaller one is the teacher's uncertainty rather than images
UNDECIDED = 0.5
WEIGHTS = "group_weights"  # in a checkpoint


def soft_groups(log_odds: Values, images: ImageLabels) -> NDArray[np.float32]:
    """The share [N, G] of each image in each group, from the answers to K questions [N, K] as log-odds of yes in nats;
    G = K x classes x 2, no before yes. Each question divides an image among its groups, so that every row sums to K.

    Only images that are trained on with their label are in any group. Where there is no answer, the mean p(yes) of the
    class stands for it. A group with less than LEAST_IMAGES joins the other one of its class.
    """
    count, questions = log_odds.shape
    p_yes = expit(log_odds.astype(np.float64))
    means = means_by_class(p_yes[images.trained], images.labels[images.trained], images.classes)
    p_yes = np.where(np.isnan(p_yes), np.nan_to_num(means, nan=UNDECIDED)[images.labels], p_yes)
    members = np.zeros((count, questions, images.classes, 2), dtype=np.float32)
    rows = np.flatnonzero(images.trained)
    labels = images.labels[rows]
    for question in range(questions):
        members[rows, question, labels, 0] = 1 - p_yes[rows, question]
        members[rows, question, labels, 1] = p_yes[rows, question]
    sizes = members.sum(axis=0)
    smaller = sizes.argmin(axis=2)
    for question, label in np.argwhere(sizes.min(axis=2) < LEAST_IMAGES):
        group = members[:, question, label]
        group[:, 1 - smaller[question, label]] = group.sum(axis=1)
        group[:, smaller[question, label]] = 0
    return members.reshape(count, -1)


class GroupBalance:
    """Weights of images in the labels' loss that make it a weighted mean of the losses of the groups.

    The loss of a group is the mean over its images, each by its share in the group. The weights of the groups start
    equal and follow their losses: after every update the weight of a group is multiplied by exp(step x loss) (group
    DRO, Sagawa et al., arXiv 1911.08731), so that training minimises the loss of the worst group. A batch that is drawn
    uniformly gives unbiased estimates of the losses, since the expected number of images of each group is known.

    `state` has the weights of the groups [G], float32, with the sum 1.
    """

    def __init__(self, members_NG: Tensor, device: torch.device, step: float = STEP) -> None:
        """`members_NG` is what `soft_groups` gives."""
        sizes_G = members_NG.double().sum(dim=0)
        filled_G = sizes_G > 0
        labelled = (members_NG > 0).any(dim=1).sum()
        scale_G = torch.where(filled_G, labelled / sizes_G, 0.0)
        # What a loss adds to the mean loss of each group, as a multiple of what it adds to the mean over all images.
        self.parts_NG = (members_NG * scale_G).float()
        # Where no label is known, all weights are equal and none has an effect.
        equal_G = filled_G if filled_G.any() else torch.ones_like(filled_G)
        self.state = {WEIGHTS: (equal_G / equal_G.sum()).float()}
        self.device, self.step = device, step
        self._forget()

    @property
    def weights(self) -> Tensor:
        return self.state[WEIGHTS].to(self.device)

    def image_weights(self, indices_B: Tensor) -> Tensor:
        """[B], by the images' indices; the mean over all images that are trained on with their label is 1."""
        return self.parts_NG[indices_B].to(self.device) @ self.weights

    def record(self, indices_B: Tensor, losses_B: Tensor) -> None:
        """Add the losses of a batch to those of the groups, for the next update."""
        parts_BG = self.parts_NG[indices_B].to(self.device)
        self.losses_G += losses_B.detach() @ parts_BG
        self.images += (parts_BG > 0).any(dim=1).sum()

    def update(self, reduce: Callable[[Tensor], Tensor]) -> None:
        """Adapt the weights of the groups to what was recorded since the last update; `reduce` adds up a tensor over
        all devices."""
        losses_G = reduce(self.losses_G) / reduce(self.images).clamp(min=1)
        # A weight of 0 stays 0: its logarithm is -inf.
        self.state[WEIGHTS] = (self.weights.log() + self.step * losses_G).softmax(dim=0)
        self._forget()

    def _forget(self) -> None:
        self.losses_G = torch.zeros_like(self.weights)
        self.images = torch.zeros((), device=self.device)
