"""Train the last layers on features of the pretrained backbone before all layers are trained.

Random last layers send gradients into the backbone that change what it knows before they are of use (LP-FT: Kumar et
al., Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution, arXiv 2202.10054).
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from student.classification.config import StudentConfig
from student.classification.model import Student
from student.classification.probe import ProbeHead, is_probeable
from student.classification.recipes import RECIPES
from student.classification.task import ClassifierTask
from student.core.schedule import (
    NETWORK,
    UpdatePlan,
    batches,
    build_optimizer,
    build_scheduler,
    derive_seed,
    parameter_groups,
)

OF_PROBE = {name: RECIPES["probe"][name] for name in ("optimizer", "lr", "weight_decay", "batch_size", "schedule")}
# What the recipe leaves at its default.
SETTINGS = {**OF_PROBE, "nesterov": False, "milestones": (), "warmup": 0, "accumulate": 1, "devices": 1}

# Of more images the features take gigabytes, and random last layers have learned after a small part of an epoch.
MOST_IMAGES = 100_000


def refused_start(config: StudentConfig, student: Student, images: int) -> str | None:
    """Why the last layers of `student`, on the CPU, cannot learn first from so many images; None where they can."""
    if images > MOST_IMAGES:
        return f"there are {images:,} training images, more than {MOST_IMAGES:,}"
    if not is_probeable(student, config.image_size):
        return f"backbone '{config.backbone}' does not end in a single linear layer"
    return None


def start_head(task: ClassifierTask, features_ND: Tensor) -> None:
    """Train the last layers of the task's student for `probe_epochs`, by the labels and answers of its method, on the
    features [N, D] that the backbone has of all training images before it is trained. KD teachers, consistency between
    views and balanced groups wait for the training of all layers."""
    config = task.config.replace(epochs=task.config.probe_epochs, probe_epochs=0, **SETTINGS)
    device, train_indices = task.fabric.device, task.examples.train_indices
    objective = dataclasses.replace(task.objective, balance=None)
    head = ProbeHead(task.student, features_ND, config.drop_rate).to(device)
    optimizer = build_optimizer(config, parameter_groups(config, head))
    plan = UpdatePlan.of(config, len(train_indices))
    scheduler = build_scheduler(config, optimizer, plan.updates)
    update = 0
    head.train()
    for epoch in range(1, config.epochs + 1):
        torch.manual_seed(derive_seed(config.seed, 0, NETWORK, epoch))
        for batch in batches(config, train_indices, epoch, plan.batches, task.sampling_weights(train_indices)):
            scheduler.step_update(update)
            optimizer.zero_grad()
            objective(head(features_ND[batch].to(device)), batch)["loss"].backward()
            optimizer.step()
            update += 1
    optimizer.zero_grad()  # the training of all layers begins without the gradients of the last batch
    head.move_standardisation()
