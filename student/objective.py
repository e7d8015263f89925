"""What a student is trained to lower: the labels' cross-entropy and what its method adds to it, term by term."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from student.examples import Examples
from student.methods import AspectTerm, Method
from student.model import Logits

LOSSES = ("loss", "classification", "aspects", "network")


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The losses of a method on `examples`, for batches of their indices."""

    method: Method
    examples: Examples

    def __call__(self, logits: Logits, indices_B: Tensor, network_logits_BC: Tensor | None = None) -> dict[str, Tensor]:
        """`loss` is what to backpropagate; `classification`, `aspects` (all that is learnt from answers, before alpha)
        and `network` (from a larger one) are its parts, for the log. Losses are of float32."""
        class_logits_BC = logits.class_logits_BC.float()
        device = class_logits_BC.device
        labels_B = self.examples.labels_N[indices_B].to(device)
        classification = functional.cross_entropy(
            class_logits_BC, labels_B, label_smoothing=self.method.label_smoothing
        )
        aspects = network = torch.zeros((), device=device)
        first = 0
        for term, targets_NK in zip(self.method.answer_terms, self.examples.targets, strict=True):
            targets_BK = targets_NK[indices_B].to(device)
            if not isinstance(term, AspectTerm):
                aspects = aspects + term.weight * term.loss(class_logits_BC, targets_BK)
                continue
            columns = slice(first, first := first + targets_BK.shape[1])
            inner = logits.inner_logits_BQ[len(logits.inner_logits_BQ) - term.inner :]
            for said_BQ in (logits.aspect_logits_BQ, *inner):
                aspects = aspects + term.weight * term.loss(said_BQ[:, columns].float(), targets_BK)
        if network_logits_BC is not None:
            for learnt in self.method.network_terms:
                network = network + learnt.weight * learnt.loss(class_logits_BC, network_logits_BC, labels_B)
        loss = classification + self.method.alpha * aspects + network
        return {"loss": loss, "classification": classification, "aspects": aspects, "network": network}
