"""Evaluate the tiny teacher on scenes that it was not trained on."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import InternVLForConditionalGeneration

from storage.statistics import calibration_error
from teacher.tiny import architecture
from teacher.tiny.architecture import ANSWERS
from teacher.tiny.reader import Prompts, answer_logits, see
from teacher.tiny.world import World

YES, NO = ANSWERS


def to_input(pixels: np.ndarray) -> Tensor:
    """Convert uint8 [B, 64, 64, 3] to the input of the model, [B, 3, 64, 64], like the image processor."""
    mean, std = architecture.MEAN_STD
    scaled = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    return (scaled - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


def model_answers(model: InternVLForConditionalGeneration) -> list[int]:
    """Return the token ids of Yes and No: the last two of the vocabulary."""
    size = model.config.get_text_config().vocab_size
    return [size - 2, size - 1]


@torch.no_grad()
def p_yes(model: InternVLForConditionalGeneration, pixels: np.ndarray, prompts: Prompts) -> np.ndarray:
    """Return the probability of Yes against No for every image and every phrase of `prompts`, float32 [N, P]."""
    yes, no = model_answers(model)
    asked = torch.arange(len(prompts.keys))
    found = []
    for part in np.array_split(pixels, max(1, len(pixels) // 32)):
        logits = answer_logits(model, see(model, to_input(part))[1], prompts, asked.expand(len(part), -1))
        found.append(torch.sigmoid(logits[..., yes] - logits[..., no]))
    return torch.cat(found).numpy()


def auroc(scores: np.ndarray, truth: np.ndarray) -> float:
    """Return the area under the ROC curve by ranks (Mann-Whitney U); ties count half."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    positive = int(truth.sum())
    negative = len(truth) - positive
    return float((ranks[truth].sum() - positive * (positive + 1) / 2) / (positive * negative))


def evaluate(
    model: InternVLForConditionalGeneration, prompts: Prompts, world: World, keys: tuple[str, ...]
) -> dict[str, Any]:
    """Measure AUROC, accuracy and expected calibration error (10 equal bins) on `world`, and AUROC on a blank image."""
    p = p_yes(model, world.pixels, prompts)
    per_question = {key: round(auroc(p[:, i], world.truth[:, i]), 4) for i, key in enumerate(keys)}
    blank = p_yes(model, np.full_like(world.pixels[:1], 128), prompts).repeat(len(p), axis=0)
    return {
        "scenes": len(p),
        "mean_auroc": round(float(np.mean(list(per_question.values()))), 4),
        "worst_auroc": min(per_question.values()),
        "accuracy": round(float(((p > 0.5) == world.truth).mean()), 4),
        "calibration_error": round(calibration_error(p.ravel(), world.truth.ravel(), bins=10), 4),
        "blank_mean_auroc": round(float(np.mean([auroc(blank[:, i], world.truth[:, i]) for i in range(len(keys))])), 4),
        "auroc": per_question,
    }
