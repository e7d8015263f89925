"""Train the tiny teacher from scratch: `python -m teacher.tiny.train --seed 0`.

1. Seeing: the vision tower learns to classify the object under each patch, and its tokens to predict all answers.
2. Reading: the tower is frozen and its features are cached, so that only projector and language model are trained, on
   many questions about each image, with cross-entropy on the first answer token.

The weights are then stored in float16, and the stored model is evaluated on new scenes.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import InternVLForConditionalGeneration, PreTrainedConfig

from storage.questions import load_questions
from teacher.tiny import architecture
from teacher.tiny.architecture import ANSWERS, IMAGE_SIZE, PATCH_SIZE
from teacher.tiny.evaluation import evaluate, model_answers, to_input
from teacher.tiny.phrases import PROMPT, Phrase, all_phrases
from teacher.tiny.reader import Prompts, answer_logits, see, tokenize
from teacher.tiny.world import PATCH_LABELS, PATCH_NAMES, World, render_world

HERE = Path(__file__).parent
QUESTIONS = Path("scenes")  # the bundled set
YES, NO = ANSWERS
SHORT = 26  # tokens; most phrases are no longer, and batches of these are padded to this length only
PATCHES_PER_SIDE = IMAGE_SIZE // PATCH_SIZE


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """All settings that determine the weights."""

    seed: int
    scenes: int
    see_steps: int
    read_steps: int
    see_batch: int = 128
    read_batch: int = 64
    questions_per_image: int = 16
    first_steps: int = 250  # of reading, on the questions' own texts only
    see_rate: float = 1.5e-3
    see_decay: float = 0.05
    read_rate: float = 2e-3


class SeeingHeads(nn.Module):
    """Auxiliary heads on the vision tower, discarded after training."""

    def __init__(self, vision_width: int, text_width: int, questions: int) -> None:
        super().__init__()
        self.sizes = [1 + len(PATCH_NAMES[name]) for name in PATCH_LABELS]
        self.patch = nn.Linear(vision_width, sum(self.sizes))
        self.whole = nn.Sequential(
            nn.LayerNorm(vision_width), nn.Linear(vision_width, 256), nn.GELU(), nn.Linear(256, questions)
        )
        # If a linear layer can predict the answers from the tokens, the language model learns to read them quickly.
        self.tokens = nn.Linear(text_width, questions)

    def losses(self, features: Tensor, tokens: Tensor, truth: Tensor, patches: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the cross-entropy of the patches' labels [B, 64, 4], and of the answers [B, Q] as predicted from the
        mean of the patches' features and from the mean of the tokens."""
        logits = self.patch(features[:, 1:]).split(self.sizes, dim=-1)
        each = [functional.cross_entropy(one.flatten(0, 1), patches[..., i].flatten()) for i, one in enumerate(logits)]
        return torch.stack(each).sum(), self.whole_loss(features, truth), self.token_loss(tokens, truth)

    def whole_loss(self, features: Tensor, truth: Tensor) -> Tensor:
        logits = self.whole(features[:, 1:].mean(dim=1))
        return functional.binary_cross_entropy_with_logits(logits, truth.float())

    def token_loss(self, tokens: Tensor, truth: Tensor) -> Tensor:
        logits = self.tokens(tokens.mean(dim=1))
        return functional.binary_cross_entropy_with_logits(logits, truth.float())


def batches(world: World, size: int, steps: int, seed: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield batches of images, truth and patch labels. Half of the images are mirrored, which changes no answer."""
    rng = np.random.default_rng(seed)
    order = np.empty(0, dtype=int)
    for _ in range(steps):
        if len(order) < size:
            order = rng.permutation(len(world.pixels))
        chosen, order = order[:size], order[size:]
        pixels, patches = world.pixels[chosen], world.patches[chosen]
        mirrored = rng.random(len(chosen)) < 0.5
        pixels[mirrored] = pixels[mirrored, :, ::-1]
        grid = patches.reshape(-1, PATCHES_PER_SIDE, PATCHES_PER_SIDE, len(PATCH_LABELS))
        grid[mirrored] = grid[mirrored, :, ::-1]
        labels = torch.from_numpy(grid.reshape(patches.shape).astype(np.int64))
        yield to_input(pixels), torch.from_numpy(world.truth[chosen]), labels


def learn_to_see(
    model: InternVLForConditionalGeneration, heads: SeeingHeads, world: World, config: TrainConfig
) -> None:
    """Stage 1: train vision tower and projector by AdamW, with weight decay on matrices only."""
    trained = [
        *model.model.vision_tower.parameters(),
        *model.model.multi_modal_projector.parameters(),
        *heads.parameters(),
    ]
    groups = [
        {"params": [p for p in trained if p.ndim == 2], "weight_decay": config.see_decay},
        {"params": [p for p in trained if p.ndim != 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=config.see_rate, betas=(0.9, 0.98), fused=True)
    schedule = _cosine(optimizer, config.see_steps, warm=max(1, config.see_steps // 20))
    started = time.monotonic()
    for step, (images, truth, patches) in enumerate(batches(world, config.see_batch, config.see_steps, config.seed)):
        with torch.autocast("cpu", torch.bfloat16):
            features, tokens = see(model, images)
        patch_loss, whole_loss, token_loss = heads.losses(features.float(), tokens.float(), truth, patches)
        _step([optimizer], [schedule], patch_loss + 3 * whole_loss + 3 * token_loss, trained)
        _log("see", step, config.see_steps, started, patches=patch_loss, whole=whole_loss, tokens=token_loss)


def learn_to_read(
    model: InternVLForConditionalGeneration, heads: SeeingHeads, world: World, prompts: Prompts, config: TrainConfig
) -> None:
    """Stage 2: train projector and language model on the tower's cached features, Muon for the layers' matrices."""
    projector = model.model.multi_modal_projector
    features, truth = compute_features(model, world.pixels), torch.from_numpy(world.truth)
    trained = [p for name, p in model.named_parameters() if "vision_tower" not in name]
    matrices = [p for p in model.model.language_model.layers.parameters() if p.ndim == 2]
    rest = [p for p in trained if not any(p is matrix for matrix in matrices)] + list(heads.tokens.parameters())
    rate = config.read_rate
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True),
        torch.optim.Muon(matrices, lr=2 * rate, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
    ]
    schedules = [_cosine(optimizer, config.read_steps, warm=60, floor=0.02) for optimizer in optimizers]
    rng = np.random.default_rng(config.seed + 1)
    yes, no = model_answers(model)
    pools = _pools(prompts)
    started = time.monotonic()
    for step in range(config.read_steps):
        chosen = torch.from_numpy(rng.integers(len(features), size=config.read_batch))
        length, pool = pools[int(rng.random() >= pools[0][1].sum())]
        if step < config.first_steps:
            length, pool = pools[2]
        shape = (config.read_batch, config.questions_per_image)
        asked = torch.from_numpy(rng.choice(np.flatnonzero(pool), size=shape, p=pool[pool > 0] / pool.sum()))
        right = truth[chosen].gather(1, prompts.keys[asked]) ^ prompts.negated[asked]
        cut = Prompts(**{**vars(prompts), "blocks": prompts.blocks[:, :length]})
        with torch.autocast("cpu", torch.bfloat16):
            tokens = projector(features[chosen])
            logits = answer_logits(model, tokens, cut, asked, compiled=True)
        target = torch.where(right.flatten(), yes, no)
        answer_loss = functional.cross_entropy(logits.float().flatten(0, 1), target)
        token_loss = heads.token_loss(tokens.float(), truth[chosen])
        _step(optimizers, schedules, answer_loss + 0.5 * token_loss, trained)
        _log("read", step, config.read_steps, started, answer=answer_loss, tokens=token_loss)


def _pools(prompts: Prompts) -> list[tuple[int, np.ndarray]]:
    """Return three pools of phrases, each with its length in tokens and its phrases' weights [P], 0 for others: the
    short phrases, the long ones, and each question's own text."""
    lengths = prompts.last.numpy() + 1
    short = lengths <= SHORT
    own = prompts.weights > 0.4 * prompts.weights.max()
    return [
        (int(lengths[chosen].max()) if name != "short" else SHORT, np.where(chosen, prompts.weights, 0.0))
        for name, chosen in (("short", short), ("long", ~short), ("own", own))
    ]


@torch.no_grad()
def compute_features(model: InternVLForConditionalGeneration, pixels: np.ndarray) -> Tensor:
    """Return the projector's input for every image, bfloat16 [N, 16, 4V], 25 kB each."""
    parts = []
    for start in range(0, len(pixels), 256):
        with torch.autocast("cpu", torch.bfloat16):
            features = model.model.vision_tower(pixel_values=to_input(pixels[start : start + 256])).last_hidden_state
        grid = features[:, 1:].unflatten(1, (PATCHES_PER_SIDE, PATCHES_PER_SIDE))
        merged = model.model.pixel_shuffle(grid, scale_factor=model.config.downsample_ratio)
        parts.append(merged.flatten(1, 2).bfloat16())
    return torch.cat(parts)


def _cosine(
    optimizer: torch.optim.Optimizer, steps: int, *, warm: int, floor: float = 0.0
) -> torch.optim.lr_scheduler.LRScheduler:
    """Return the schedule: a linear warm-up, then a cosine down to `floor`."""

    def factor(step: int) -> float:
        return min((step + 1) / warm, max(floor, 0.5 + 0.5 * math.cos(math.pi * step / max(1, steps))))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def _step(
    optimizers: list[torch.optim.Optimizer],
    schedules: list[torch.optim.lr_scheduler.LRScheduler],
    loss: Tensor,
    parameters: list[nn.Parameter],
) -> None:
    for optimizer in optimizers:
        optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(parameters, 1.0)
    for optimizer, schedule in zip(optimizers, schedules, strict=True):
        optimizer.step()
        schedule.step()


def _log(stage: str, step: int, steps: int, started: float, **losses: Tensor) -> None:
    if step % 50 == 0 or step == steps - 1:
        seconds = time.monotonic() - started
        shown = "  ".join(f"{name} {loss.item():.3f}" for name, loss in losses.items())
        print(f"{stage} {step:5d}/{steps}  {seconds:5.0f} s  {shown}", flush=True)


def train(config: TrainConfig, folder: Path, *, workers: int) -> dict[str, Any]:
    """Train, write the model to `folder`, and return its evaluation.

    The state after the first stage is also saved in `folder`, and a later call resumes from it.
    """
    torch.manual_seed(config.seed)
    questions = load_questions(QUESTIONS)
    phrases = all_phrases(questions)
    processor = architecture.build_processor(architecture.build_tokenizer([phrase.text for phrase in phrases]))
    prompts = tokenize(processor, phrases, questions)
    model = architecture.build_model(processor.tokenizer)
    vision, text = model.config.vision_config, model.config.text_config
    assert isinstance(vision, PreTrainedConfig)
    assert isinstance(text, PreTrainedConfig)
    heads = SeeingHeads(vision.hidden_size, text.hidden_size, len(questions))
    assert model_answers(model) == processor.tokenizer.convert_tokens_to_ids([YES, NO])
    started = time.monotonic()
    world = render_world(config.scenes, seed=config.seed + 1000, workers=workers)
    print(f"rendered {config.scenes} scenes in {time.monotonic() - started:.0f} s", flush=True)
    # PyTorch's fused attention has a slow backward pass on a CPU; compiled plain attention is twice as fast.
    model.set_attn_implementation("eager")
    for layer in model.model.vision_tower.encoder.layer:
        layer.compile()
    trained = time.monotonic()
    seeing = folder / "seeing.pt"
    if seeing.exists():
        state = torch.load(seeing, weights_only=True)
        model.load_state_dict(state["model"])
        heads.load_state_dict(state["heads"])
    else:
        learn_to_see(model, heads, world, config)
        folder.mkdir(parents=True, exist_ok=True)
        torch.save({"model": model.state_dict(), "heads": heads.state_dict()}, seeing)
    learn_to_read(model, heads, world, prompts, config)
    seconds = time.monotonic() - trained
    architecture.save(model, processor, folder)
    seeing.unlink()
    model = InternVLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    fresh = render_world(2000, seed=config.seed + 2000, workers=workers)
    asked = [Phrase(key=q.key, text=PROMPT.format(question=q.text), weight=1.0) for q in questions.questions]
    return {
        "command": f"python -m teacher.tiny.train {' '.join(sys.argv[1:])}",
        "config": asdict(config),
        "training_seconds": round(seconds),
        "torch": torch.__version__,
        **evaluate(model, tokenize(processor, asked, questions), fresh, questions.keys),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--scenes", type=int, default=120_000, help="scenes to render for training")
    parser.add_argument("--see-steps", type=int, default=4000, help="steps of learning to see")
    parser.add_argument("--read-steps", type=int, default=1500, help="steps of learning to read")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=HERE / "model", help="folder for the model")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    config = TrainConfig(
        seed=options.seed, scenes=options.scenes, see_steps=options.see_steps, read_steps=options.read_steps
    )
    report = train(config, options.out, workers=options.threads)
    (options.out / "training.json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps({name: value for name, value in report.items() if name != "auroc"}))


if __name__ == "__main__":
    main()
