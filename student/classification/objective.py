"""The training loss: cross-entropy on the labels plus the terms of the method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from student.classification.examples import Examples
from student.classification.groups import GroupBalance
from student.classification.model import Logits
from student.classification.terms import AspectTerm, ClassTerm, Method

LOSSES = ("loss", "classification", "aspects", "distillation", "inner")


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The losses of a method on `examples`, for batches of their indices. `class_weights_C` or `balance` weigh the
    labels' loss."""

    method: Method
    examples: Examples
    class_weights_C: Tensor | None = None
    balance: GroupBalance | None = None

    def __call__(
        self,
        logits: Logits,
        indices_B: Tensor,
        network_logits_BC: Tensor | None = None,
        strong_logits: Logits | None = None,
    ) -> dict[str, Tensor]:
        """The losses of images by their indices, from their `logits`, a KD teacher's, and their own for a strongly
        augmented view, where the method learns from those.

        `loss` is what to backpropagate; for the log there are its parts: `classification` by the labels, `aspects`
        (before alpha), `distillation` (what else the class outputs learn) and `inner` (classes at inner stages).
        Labels and the classes that label propagation names images by are one mean, in which every image weighs the
        same, however few have a label."""
        method = self.method
        device = logits.class_logits_BC.device
        labels_B = self.examples.labels_N[indices_B].to(device)
        targets = [targets_NK[indices_B].to(device) for targets_NK in self.examples.targets]
        weights = {term: weights_NK[indices_B].to(device) for term, weights_NK in self.examples.weights.items()}
        share = self._labelled_share(labels_B, targets)
        classification = share * self._classify(logits, labels_B, indices_B, record=True)
        distillation = self._learn_classes(logits, targets, share)
        aspects = self._learn_aspects(logits, targets, weights)
        inner = torch.zeros((), device=device)
        for depth, stage in zip(range(len(logits.inner), 0, -1), logits.inner, strict=True):
            aspects = aspects + self._learn_aspects(stage, targets, weights, depth)
            classes = self._learn_classes(stage, targets, share, depth)
            if depth <= method.inner_labels:
                classes = share * self._classify(stage, labels_B, indices_B) + classes
            inner = inner + classes
        if network_logits_BC is not None:
            for term in method.network_terms:
                learned = term.loss(logits.class_logits_BC.float(), network_logits_BC, labels_B)
                distillation = distillation + term.weight * learned
        if strong_logits is not None:
            weak_BC, strong_BC = logits.class_logits_BC.float(), strong_logits.class_logits_BC.float()
            for consistency in method.consistency_terms:
                distillation = distillation + consistency.weight * consistency.loss(weak_BC, strong_BC, labels_B)
        loss = classification + method.alpha * aspects + distillation + inner
        return dict(zip(LOSSES, (loss, classification, aspects, distillation, inner), strict=True))

    def _labelled_share(self, labels_B: Tensor, targets: Sequence[Tensor]) -> Tensor:
        """Of the images with a label or a class that stands for it, the share with a label."""
        labelled = named = labels_B >= 0
        for term, targets_BC in zip(self.method.target_terms, targets, strict=True):
            if isinstance(term, ClassTerm) and term.stands_for_labels:
                named = named | ~targets_BC.isnan().any(dim=1)
        return labelled.sum() / named.sum().clamp(min=1)

    def _classify(self, logits: Logits, labels_B: Tensor, indices_B: Tensor, *, record: bool = False) -> Tensor:
        """Mean over the images with a known label, 0 where there is none. `record` tells the balance of groups."""
        labelled = labels_B >= 0
        losses = functional.cross_entropy(
            logits.class_logits_BC.float(),
            labels_B.clamp(min=0),
            label_smoothing=self.method.label_smoothing,
            reduction="none",
        )
        if self.balance is not None:
            if record:
                self.balance.record(indices_B, losses)
            weights_B = labelled * self.balance.image_weights(indices_B)
            return (losses * weights_B).sum() / labelled.sum().clamp(min=1)
        if self.class_weights_C is None:
            return (losses * labelled).sum() / labelled.sum().clamp(min=1)
        weights_B = labelled * self.class_weights_C.to(labels_B.device)[labels_B.clamp(min=0)]
        return (losses * weights_B).sum() / weights_B.sum().clamp(min=torch.finfo(losses.dtype).tiny)

    def _learn_classes(self, logits: Logits, targets: Sequence[Tensor], share: Tensor, depth: int = 0) -> Tensor:
        """By the terms that act `depth` stages before the last one; `share` of the images have a label."""
        total = torch.zeros((), device=logits.class_logits_BC.device)
        for term, targets_BC in zip(self.method.target_terms, targets, strict=True):
            if isinstance(term, ClassTerm) and depth <= term.inner:
                learned = term.weight * term.loss(logits.class_logits_BC.float(), targets_BC)
                total = total + ((1 - share) * learned if term.stands_for_labels else learned)
        return total

    def _learn_aspects(
        self, logits: Logits, targets: Sequence[Tensor], weights: Mapping[int, Tensor], depth: int = 0
    ) -> Tensor:
        """Every term that acts `depth` stages before the last one on its own outputs."""
        total = torch.zeros((), device=logits.class_logits_BC.device)
        first = 0
        for number, (term, targets_BK) in enumerate(zip(self.method.target_terms, targets, strict=True)):
            if isinstance(term, AspectTerm):
                outputs_BK = logits.aspect_logits_BQ[:, first : first + targets_BK.shape[1]].float()
                if depth <= term.inner:
                    weighed = [weights[number]] if number in weights else []
                    total = total + term.weight * term.loss(outputs_BK, targets_BK, *weighed)
                first += targets_BK.shape[1]
        return total
