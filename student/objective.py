"""What a student is trained to lower: the labels' cross-entropy and what its method adds to it, term by term."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from student.examples import Examples
from student.methods import AspectTerm, Method
from student.model import Logits

LOSSES = ("loss", "classification", "aspects", "network", "inner")


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The losses of a method on `examples`, for batches of their indices."""

    method: Method
    examples: Examples

    def __call__(self, logits: Logits, indices_B: Tensor, network_logits_BC: Tensor | None = None) -> dict[str, Tensor]:
        """`loss` is what to backpropagate; for the log there are its parts: `classification`, `aspects` (all that is
        learnt from answers, before alpha), `network` (from a larger one) and `inner` (the labels at inner stages)."""
        class_logits_BC = logits.class_logits_BC.float()
        device = class_logits_BC.device
        labels_B = self.examples.labels_N[indices_B].to(device)
        classification = self._classify(logits, labels_B)
        targets = [targets_NK[indices_B].to(device) for targets_NK in self.examples.targets]
        aspects = self._repeat_answers(logits, targets)
        inner = network = torch.zeros((), device=device)
        for stage in logits.inner:
            aspects = aspects + self._repeat_answers(stage, targets, aspects_only=True)
            if self.method.inner_labels > 0:
                inner = inner + self.method.inner_labels * self._classify(stage, labels_B)
        if network_logits_BC is not None:
            for term in self.method.network_terms:
                network = network + term.weight * term.loss(class_logits_BC, network_logits_BC, labels_B)
        loss = classification + self.method.alpha * aspects + network + inner
        return dict(zip(LOSSES, (loss, classification, aspects, network, inner), strict=True))

    def _classify(self, logits: Logits, labels_B: Tensor) -> Tensor:
        """Mean over the images whose label is known, 0 where it is of none."""
        labelled = labels_B >= 0
        losses = functional.cross_entropy(
            logits.class_logits_BC.float(),
            labels_B.clamp(min=0),
            label_smoothing=self.method.label_smoothing,
            reduction="none",
        )
        return (losses * labelled).sum() / labelled.sum().clamp(min=1)

    def _repeat_answers(self, logits: Logits, targets: Sequence[Tensor], *, aspects_only: bool = False) -> Tensor:
        """The weighted sum of the terms that learn from answers, each on its own outputs."""
        total = torch.zeros((), device=logits.class_logits_BC.device)
        first = 0
        for term, targets_BK in zip(self.method.answer_terms, targets, strict=True):
            if isinstance(term, AspectTerm):
                outputs_BK = logits.aspect_logits_BQ[:, first : first + targets_BK.shape[1]]
                first += targets_BK.shape[1]
            elif aspects_only:
                continue
            else:
                outputs_BK = logits.class_logits_BC
            total = total + term.weight * term.loss(outputs_BK.float(), targets_BK)
        return total
