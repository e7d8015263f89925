"""Metrics of the class outputs on a split.

A function with `@metric("name")` is a new one: it is evaluated, stored, and a column of every experiment's table.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

# Of class logits [N, C] and labels [N].
Metric = Callable[[Tensor, Tensor], float]

METRICS: dict[str, Metric] = {}
COMPARED: list[str] = []  # those whose gain over the baseline is reported, the main one first


def metric(name: str, *, compared: bool = True) -> Callable[[Metric], Metric]:
    """Register a metric; where `compared`, higher is better and its gain over the baseline is reported."""

    def register(function: Metric) -> Metric:
        if name in METRICS:
            raise ValueError(f"metric '{name}' is registered twice")
        METRICS[name] = function
        if compared:
            COMPARED.append(name)
        return function

    return register


@metric("top1")
def top1(class_logits_NC: Tensor, labels_N: Tensor) -> float:
    return (class_logits_NC.argmax(dim=1) == labels_N).double().mean().item()


@metric("top5")
def top5(class_logits_NC: Tensor, labels_N: Tensor) -> float:
    """Top C where there are fewer than five classes."""
    best = class_logits_NC.topk(min(5, class_logits_NC.shape[1])).indices
    return (best == labels_N[:, None]).any(dim=1).double().mean().item()


@metric("macro_accuracy")
def macro_accuracy(class_logits_NC: Tensor, labels_N: Tensor) -> float:
    """Mean of the top-1 of the classes that are present."""
    correct = (class_logits_NC.argmax(dim=1) == labels_N).double()
    return torch.stack([correct[labels_N == label].mean() for label in labels_N.unique()]).mean().item()


@metric("loss", compared=False)
def loss(class_logits_NC: Tensor, labels_N: Tensor) -> float:
    return functional.cross_entropy(class_logits_NC, labels_N).item()


def score_labels(class_logits_NC: Tensor, labels_N: Tensor) -> dict[str, float]:
    """Every metric by its name."""
    return {name: function(class_logits_NC, labels_N) for name, function in METRICS.items()}
