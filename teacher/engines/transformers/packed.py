"""All questions about an image behind one pass over the part of the prompt that they share, for models of any family.

Plain transformers run over the image again for every question. Here its keys and values are computed once; then the
endings of the prompts, where the questions differ, stand in one row as a tree: tokens with which several begin ("Is
there a ...") stand there once. A mask lets each token see the shared part and what comes before it in its own question.
The layers are Hugging Face's own: what they compute is what a plain forward pass does.

Shapes: B images, S shared tokens, L tokens in a row, V words of the vocabulary.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import BatchFeature, DynamicCache

# Tokens that go through the language model at once, over all images: bounds memory. What a CPU computes on should stay
# in its cache, a GPU should have enough to do.
PASS_TOKENS = {"cpu": 2048, "cuda": 16384}
# Endings of one image in a pass. Longer rows waste attention on what the mask hides, shorter ones copy the shared keys
# and values more often.
ROW_TOKENS = {"cpu": 256, "cuda": 1024}


def obstacle(model: Any) -> str | None:
    """Return why questions cannot be packed in this model, as far as its structure shows; None if they can."""
    text = model.config.get_text_config(decoder=True)
    if model.config.is_encoder_decoder:
        return "it is an encoder-decoder model"
    if getattr(text, "cross_attention_layers", None):
        return "its language model sees the image through cross-attention"
    if "token_type_ids" in inspect.signature(model.forward).parameters:
        return "its image tokens see what comes after them"
    if text._attn_implementation not in ("sdpa", "eager"):
        return f"its attention ({text._attn_implementation}) takes no mask"
    # A window or a recurrent state would mix the questions.
    others = {type(layer).__name__ for layer in DynamicCache(config=model.config).layers} - {"DynamicLayer"}
    if others:
        return f"not all of its layers attend to every earlier token ({', '.join(sorted(others))})"
    return None


def packed_logits(
    model: Any, inputs: Sequence[Mapping[str, Tensor]], endings: Sequence[list[int]]
) -> Iterator[tuple[list[int], list[int], Tensor]]:
    """Return logits [B, questions, V] of the first answer token, with the indices of their images and questions.

    `inputs` are the processor's for each image and the first question, [1, S + L] tokens each.
    """
    prefixes = [_cut(one, endings[0]) for one in inputs]
    most, row = PASS_TOKENS[model.device.type], ROW_TOKENS[model.device.type]
    for images in _batches(prefixes, most):
        batch = {name: torch.cat([prefixes[image][name] for image in images]) for name in prefixes[images[0]]}
        cache, start_B = _read_prefix(model, BatchFeature(batch).to(model.device, dtype=model.dtype))
        for questions in _rows(endings, min(row, most // len(images))):
            yield images, questions, _read_endings(model, cache, start_B, [endings[index] for index in questions])


def _cut(inputs: Mapping[str, Tensor], ending: list[int]) -> dict[str, Tensor]:
    """Return the processor's output without the tokens of the first question's ending."""
    tokens = inputs["input_ids"]
    shared = tokens.shape[1] - len(ending)
    assert tokens[0, shared:].tolist() == ending, "the processor changed the text behind the image"
    return {name: value[:, :shared] if value.shape == tokens.shape else value for name, value in inputs.items()}


def _batches(prefixes: Sequence[Mapping[str, Tensor]], most: int) -> Iterator[list[int]]:
    """Yield the indices of images that can go through the model together: same number of tokens, and tensors of
    matching shapes.

    A batch has at most `most` tokens, or a single longer image.
    """
    alike: dict[Any, list[int]] = {}
    for index, prefix in enumerate(prefixes):
        shapes = tuple((name, value.shape[1:]) for name, value in prefix.items())
        alike.setdefault(shapes, []).append(index)
    for images in alike.values():
        size = max(1, most // prefixes[images[0]]["input_ids"].shape[1])
        for start in range(0, len(images), size):
            yield images[start : start + size]


def _rows(endings: Sequence[list[int]], most: int) -> Iterator[list[int]]:
    """Yield the indices of questions whose tree has at most `most` tokens, or of a single longer one.

    Those that begin alike come one after the other.
    """
    row, held = list[int](), set[tuple[int, ...]]()
    for index in sorted(range(len(endings)), key=endings.__getitem__):
        own = _beginnings(endings[index])
        if row and len(held.union(own)) > most:
            yield row
            row, held = [], set()
        row.append(index)
        held.update(own)
    yield row


def _read_prefix(model: Any, inputs: Mapping[str, Tensor]) -> tuple[DynamicCache, Tensor]:
    """Return keys and values of the shared tokens, and the next position [B]."""
    seen: list[Tensor | None] = []

    def note(_: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.append(kwargs.get("position_ids"))

    # Positions are not always counts of tokens (Qwen-VL gives an image as many as it has rows or columns): only what
    # the model gives to its own decoder tells where they end.
    hook = model.get_decoder().register_forward_pre_hook(note, with_kwargs=True)
    try:
        cache = model(**inputs, use_cache=True, logits_to_keep=1).past_key_values
    finally:
        hook.remove()
    images, shared = inputs["input_ids"].shape
    if seen[0] is None:
        return cache, torch.full((images,), shared, device=model.device)
    last = seen[0].amax(-1)  # [B], or [3, B] with a position for time, row and column
    return cache, last.reshape(-1, last.shape[-1]).amax(0).expand(images) + 1


def _read_endings(model: Any, cache: DynamicCache, start_B: Tensor, endings: Sequence[list[int]]) -> Tensor:
    """Return logits [B, questions, V] after the last token of each ending. The cache is left unchanged."""
    beginnings, paths = _tree(endings)
    tokens = torch.tensor([beginning[-1] for beginning in beginnings])
    offsets = torch.tensor([len(beginning) - 1 for beginning in beginnings])
    mask = _mask(paths, len(tokens), cache.get_seq_length(), model.dtype)
    logits = model(
        input_ids=tokens.to(model.device).expand(len(start_B), -1),
        attention_mask=mask.to(model.device).expand(len(start_B), -1, -1, -1),
        position_ids=start_B[:, None] + offsets.to(model.device),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=torch.tensor([path[-1] for path in paths], device=model.device),
    ).logits
    cache.crop(-len(tokens))
    return logits


def _tree(endings: Sequence[list[int]]) -> tuple[list[tuple[int, ...]], list[list[int]]]:
    """Return the different beginnings of all endings, one for each token of the row, and the places of each ending's
    tokens in the row."""
    places: dict[tuple[int, ...], int] = {}
    paths = [[places.setdefault(beginning, len(places)) for beginning in _beginnings(ending)] for ending in endings]
    return list(places), paths


def _beginnings(ending: list[int]) -> list[tuple[int, ...]]:
    return [tuple(ending[:length]) for length in range(1, len(ending) + 1)]


def _mask(paths: Sequence[list[int]], tokens: int, shared: int, dtype: torch.dtype) -> Tensor:
    """Return the additive attention mask of a row's tokens: [1, 1, L, S + L]."""
    seen = torch.zeros(tokens, tokens, dtype=torch.bool)
    for path in paths:
        seen[np.ix_(path, path)] = torch.ones(len(path), len(path), dtype=torch.bool).tril()
    mask = torch.zeros(tokens, shared + tokens, dtype=dtype)
    mask[:, shared:].masked_fill_(~seen, torch.finfo(dtype).min)
    return mask[None, None]
