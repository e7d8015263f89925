"""Answer many questions about one image in one pass of the language model, which processes the shared prompt only once.

The results are those of transformers' forward pass on each prompt (tests compare them), several times faster for short
questions. Shapes: B images, K questions each, S shared tokens, L tokens of a question, D features.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import InternVLForConditionalGeneration, InternVLProcessor

from storage.questions import QuestionSet
from teacher.tiny.architecture import IMAGE_TOKENS
from teacher.tiny.phrases import Phrase

MASKED = -1e4
LONGEST = 30  # tokens of a phrase and of the rest of its prompt


@dataclass(frozen=True)
class Prompts:
    """Token ids of the prompt before the question, and of P phrases with the rest of the prompt after them."""

    prefix: Tensor  # [S], with the image's tokens
    blocks: Tensor  # [P, L], padded on the right
    last: Tensor  # [P], the position whose next token is the answer
    keys: Tensor  # [P], index of the question
    negated: Tensor  # [P]
    weights: np.ndarray  # [P], sums to 1


def see(model: InternVLForConditionalGeneration, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return features of the class token and all patches [B, 65, V], and the image's tokens for the language model."""
    output = model.model.get_image_features(pixel_values=images, vision_feature_layer=-1)
    return output.last_hidden_state, output.pooler_output


def answer_logits(
    model: InternVLForConditionalGeneration, tokens: Tensor, prompts: Prompts, asked: Tensor, *, compiled: bool = False
) -> Tensor:
    """Return logits of the first answer token [B, K, vocabulary] for phrases `asked` [B, K] about each image.

    `tokens` [B, 16, D] are the images' tokens for the language model.
    """
    language_model = model.model.language_model
    embed = model.get_input_embeddings()
    place = int((prompts.prefix == model.config.image_token_id).nonzero()[0])
    shared = embed(prompts.prefix).expand(len(tokens), -1, -1)
    shared = torch.cat([shared[:, :place], tokens.to(shared.dtype), shared[:, place + IMAGE_TOKENS :]], dim=1)
    last = prompts.last[asked].flatten()
    own = embed(prompts.blocks[asked].flatten(0, 1)[:, : int(last.max()) + 1 if not compiled else None])
    positions = torch.arange(shared.shape[1] + own.shape[1])[None]
    cosine, sine = (table[0] for table in language_model.rotary_emb(shared, positions))
    layer_forward = _compiled() if compiled else _layer_forward
    for layer in language_model.layers:
        shared, own = layer_forward(layer, shared, own, cosine, sine)
    hidden = language_model.norm(own[torch.arange(len(own)), last])
    return model.lm_head(hidden).unflatten(0, asked.shape)


@cache
def _compiled() -> Any:
    return torch.compile(_layer_forward, dynamic=False)


def _layer_forward(layer: Any, shared: Tensor, own: Tensor, cosine: Tensor, sine: Tensor) -> tuple[Tensor, Tensor]:
    """Apply one decoder layer to the shared tokens [B, S, D] and to each question's own tokens [B*K, L, D], which
    attend to both."""
    (batch, start), (rows, length) = shared.shape[:2], own.shape[:2]
    count = rows // batch
    query, key, value = _attention_inputs(layer, shared, cosine[:start], sine[:start])
    heads, size = query.shape[1], query.shape[-1]
    scale = size**-0.5
    causal = torch.full((start, start), MASKED).triu(1)
    weights = ((query @ key.transpose(-1, -2)) * scale + causal).float().softmax(-1).to(value.dtype)
    shared_seen = (weights @ value).transpose(1, 2).reshape(batch, start, -1)

    own_query, own_key, own_value = _attention_inputs(layer, own, cosine[start:], sine[start:])
    # [B*K, H, L, .] <-> [B, H, K*L, .]: one product for all questions of an image with its keys.
    gathered = own_query.view(batch, count, heads, length, size).transpose(1, 2).reshape(batch, heads, -1, size)
    to_shared = (gathered @ key.transpose(-1, -2)).view(batch, heads, count, length, start)
    to_shared = to_shared.transpose(1, 2).reshape(rows, heads, length, start)
    to_own = own_query @ own_key.transpose(-1, -2) + torch.full((length, length), MASKED / scale).triu(1)
    scores = torch.cat([to_shared.float(), to_own.float()], dim=-1) * scale
    weights = scores.softmax(-1).to(own_value.dtype)
    of_shared = weights[..., :start].view(batch, count, heads, length, start).transpose(1, 2)
    own_seen = of_shared.reshape(batch, heads, count * length, start) @ value
    own_seen = own_seen.view(batch, heads, count, length, size).transpose(1, 2).reshape(rows, heads, length, size)
    own_seen = (own_seen + weights[..., start:] @ own_value).transpose(1, 2).reshape(rows, length, -1)

    shared, own = (states + layer.self_attn.o_proj(seen) for states, seen in ((shared, shared_seen), (own, own_seen)))
    return (
        shared + layer.mlp(layer.post_attention_layernorm(shared)),
        own + layer.mlp(layer.post_attention_layernorm(own)),
    )


def _attention_inputs(layer: Any, states: Tensor, cosine: Tensor, sine: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries, keys (both rotated to their positions) and values, [N, H, T, size] each."""
    attention, normed = layer.self_attn, layer.input_layernorm(states)
    shape = (*normed.shape[:-1], -1, attention.head_dim)
    query = attention.q_norm(attention.q_proj(normed).view(shape)).transpose(1, 2)
    key = attention.k_norm(attention.k_proj(normed).view(shape)).transpose(1, 2)
    value = attention.v_proj(normed).view(shape).transpose(1, 2)
    return _rotate(query, cosine, sine), _rotate(key, cosine, sine), value


def _rotate(vectors: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    first, second = vectors.chunk(2, dim=-1)
    return vectors * cosine + torch.cat((-second, first), dim=-1) * sine


def tokenize(processor: InternVLProcessor, phrases: list[Phrase], questions: QuestionSet) -> Prompts:
    """Tokenize all phrases by the chat template. The few longest ones, which would slow down all, are left out."""
    tokens = [_prompt_tokens(processor, phrase.text) for phrase in phrases]
    newline = tokens[0].index(processor.end_image_token_id) + 2
    prefix = tokens[0][:newline]
    assert all(line[:newline] == prefix for line in tokens), "the question changes the tokens before it"
    rest = [line[newline:] for line in tokens]
    phrases = [phrase for phrase, line in zip(phrases, rest, strict=True) if len(line) <= LONGEST]
    rest = [line for line in rest if len(line) <= LONGEST]
    assert {phrase.key for phrase in phrases} == set(questions.keys), "all phrases of a question are too long"
    width = max(map(len, rest))
    pad = processor.tokenizer.pad_token_id
    weights = np.array([phrase.weight for phrase in phrases])
    return Prompts(
        prefix=torch.tensor(prefix),
        blocks=torch.tensor([line + [pad] * (width - len(line)) for line in rest]),
        last=torch.tensor([len(line) - 1 for line in rest]),
        keys=torch.tensor([questions.keys.index(phrase.key) for phrase in phrases]),
        negated=torch.tensor([phrase.negated for phrase in phrases]),
        weights=weights / weights.sum(),
    )


def _prompt_tokens(processor: InternVLProcessor, text: str) -> list[int]:
    content = [{"type": "image"}, {"type": "text", "text": text}]
    conversation: list[dict[str, Any]] = [{"role": "user", "content": content}]
    prompt = processor.apply_chat_template(conversation, add_generation_prompt=True)
    image = processor.image_token
    shown = f"{processor.start_image_token}{image * IMAGE_TOKENS}{processor.end_image_token}"
    return processor.tokenizer(prompt.replace(image, shown))["input_ids"]
