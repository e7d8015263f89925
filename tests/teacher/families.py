"""Small models with random weights for each family that teachers come from, built on the spot and offline.

A folder has everything that `from_pretrained` and vLLM load: configuration, weights, tokenizer, processor with the
family's own way of cutting images into tiles, and its chat template. The answers mean nothing, but they differ clearly
between images and between questions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    GenerationConfig,
    GotOcr2ImageProcessor,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    InternVLVideoProcessor,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionImageProcessor,
    LlavaOnevisionProcessor,
    LlavaOnevisionVideoProcessor,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    SmolVLMImageProcessor,
    SmolVLMProcessor,
    SmolVLMVideoProcessor,
)

from tests.teacher.family_parts import (
    CHATML,
    CHATML_ANSWER,
    ROPE,
    chat_template,
    text_config,
    token_id,
    train_tokenizer,
)

TILE = 32  # pixels; 4x4 patches
TILE_TOKENS = 4  # four patches merged into one token
# Weights whose names in the published models, the only ones that vLLM knows, are not those that transformers 5 writes.
PUBLISHED = {"llava_onevision": ("vision_tower.", "vision_tower.vision_model.")}
VISION = {"hidden_size": 64, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 128}


def build_family(name: str, folder: Path, seed: int = 0) -> Path:
    """A model of family `name` (one of `FAMILIES`) with its processor in `folder`, float32."""
    model, processor = _BUILDERS[name]()
    _randomise(model, seed)
    model.generation_config = GenerationConfig(eos_token_id=model.config.get_text_config().eos_token_id)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    if name in PUBLISHED:
        _rename(folder / "model.safetensors", *PUBLISHED[name])
    return folder


def _rename(file: Path, prefix: str, published: str) -> None:
    weights = {name.replace(prefix, published, 1): value for name, value in load_file(file).items()}
    save_file(weights, file, metadata={"format": "pt"})


def _randomise(model: torch.nn.Module, seed: int) -> None:
    """Weights larger than a training would begin with: those give nearly the same answer to everything."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in sorted(model.named_parameters()):
        fan_in = parameter[0].numel() if parameter.ndim > 1 and "embed_tokens" not in name else 1
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim > 1:
            parameter.data = noise * 2 / math.sqrt(fan_in)
        else:
            # Gains stay near one, biases are small but not zero: a forgotten one would go unnoticed.
            parameter.data = float(name.endswith("weight") or "lambda" in name) + 0.1 * noise


def _internvl() -> tuple[Any, Any]:
    """Tiles by the shape of the image, and a thumbnail; 4 tokens each."""
    names = {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    }
    tokenizer = train_tokenizer(("<|im_start|>", "<|im_end|>", *names.values()), "<|im_end|>", **names)
    size = {"height": TILE, "width": TILE}
    processor = InternVLProcessor(
        image_processor=GotOcr2ImageProcessor(size=size, crop_to_patches=True, min_patches=1, max_patches=6),
        tokenizer=tokenizer,
        video_processor=InternVLVideoProcessor(size=size),
        image_seq_length=TILE_TOKENS,
        chat_template=chat_template("<IMG_CONTEXT>\n", CHATML, "<|im_end|>\n", CHATML_ANSWER),
    )
    config = InternVLConfig(
        vision_config={**VISION, "image_size": [TILE, TILE], "patch_size": [8, 8], "attention_bias": True},
        text_config=text_config(tokenizer, model_type="qwen2"),
        image_token_id=token_id(tokenizer, "<IMG_CONTEXT>"),
        image_seq_length=TILE_TOKENS,
        tie_word_embeddings=False,
    )
    return InternVLForConditionalGeneration(config), processor


QWEN_SPECIAL = ("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
QWEN_IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"


def _qwen_ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    return {
        "image_token_id": token_id(tokenizer, "<|image_pad|>"),
        "video_token_id": token_id(tokenizer, "<|video_pad|>"),
        "vision_start_token_id": token_id(tokenizer, "<|vision_start|>"),
        "vision_end_token_id": token_id(tokenizer, "<|vision_end|>"),
    }


def _qwen3_vl() -> tuple[Any, Any]:
    """Images in their own shape, scaled to between 4 and 64 tokens; positions in three parts; DeepStack."""
    tokenizer = train_tokenizer(QWEN_SPECIAL, "<|im_end|>")
    size = {"shortest_edge": 4 * 32 * 32, "longest_edge": 64 * 32 * 32}
    half = [0.5, 0.5, 0.5]
    patches = {"patch_size": 16, "merge_size": 2, "temporal_patch_size": 2, "image_mean": half, "image_std": half}
    processor = Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=size, **patches),
        tokenizer=tokenizer,
        video_processor=Qwen3VLVideoProcessor(size=size, **patches),
        chat_template=chat_template(QWEN_IMAGE, CHATML, "<|im_end|>\n", CHATML_ANSWER),
    )
    config = Qwen3VLConfig(
        vision_config={
            "depth": 3,
            "hidden_size": 64,
            "num_heads": 2,
            "intermediate_size": 128,
            "out_hidden_size": 128,
            "num_position_embeddings": 16,
            "deepstack_visual_indexes": [0, 1],
        },
        text_config=text_config(
            tokenizer,
            head_dim=32,
            rope_parameters={**ROPE, "mrope_section": [6, 5, 5], "mrope_interleaved": True},
        ),
        tie_word_embeddings=False,
        **_qwen_ids(tokenizer),
    )
    return Qwen3VLForConditionalGeneration(config), processor


def _qwen2_5_vl() -> tuple[Any, Any]:
    """Images in their own shape, scaled to between 4 and 64 tokens; windows in the vision tower."""
    tokenizer = train_tokenizer(QWEN_SPECIAL, "<|im_end|>")
    size = {"shortest_edge": 4 * 28 * 28, "longest_edge": 64 * 28 * 28}
    system = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    processor = Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=size),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(size=size),
        chat_template=chat_template(QWEN_IMAGE, CHATML, "<|im_end|>\n", CHATML_ANSWER, system=system),
    )
    config = Qwen2_5_VLConfig(
        vision_config={
            "depth": 2,
            "hidden_size": 64,
            "num_heads": 2,
            "intermediate_size": 128,
            "out_hidden_size": 128,
            "fullatt_block_indexes": [1],
        },
        text_config=text_config(tokenizer, rope_parameters={**ROPE, "mrope_section": [4, 6, 6]}),
        tie_word_embeddings=False,
        **_qwen_ids(tokenizer),
    )
    return Qwen2_5_VLForConditionalGeneration(config), processor


def _llava_onevision() -> tuple[Any, Any]:
    """A base tile and up to 4x4 more, unpadded to the image's shape, scaled down where they are more than nine.

    Nine as in all published models: vLLM ignores `vision_aspect_ratio`.
    """
    tokenizer = train_tokenizer(("<|im_start|>", "<|im_end|>", "<image>", "<video>"), "<|im_end|>")
    grid = [[TILE * rows, TILE * columns] for rows in (1, 2, 3, 4) for columns in (1, 2, 3, 4)]
    size = {"height": TILE, "width": TILE}
    processor = LlavaOnevisionProcessor(
        image_processor=LlavaOnevisionImageProcessor(size=size, image_grid_pinpoints=grid),
        tokenizer=tokenizer,
        video_processor=LlavaOnevisionVideoProcessor(size=size),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        chat_template=chat_template("<image>\n", "'<|im_start|>' + message['role'] + ' '", "<|im_end|>", CHATML_ANSWER),
    )
    config = LlavaOnevisionConfig(
        vision_config={
            **VISION,
            "model_type": "siglip_vision_model",
            "image_size": TILE,
            "patch_size": 8,
            "vision_use_head": False,
        },
        text_config=text_config(tokenizer, model_type="qwen2"),
        image_token_index=token_id(tokenizer, "<image>"),
        video_token_index=token_id(tokenizer, "<video>"),
        image_grid_pinpoints=grid,
        tie_word_embeddings=False,
    )
    return LlavaOnevisionForConditionalGeneration(config), processor


def _smolvlm() -> tuple[Any, Any]:
    """Tiles in up to three rows and columns, each announced by tokens of its own, and the whole image."""
    places = tuple(f"<row_{row}_col_{column}>" for row in (1, 2, 3) for column in (1, 2, 3))
    special = ("<|im_start|>", "<end_of_utterance>", "<fake_token_around_image>", "<image>", "<global-img>", *places)
    tokenizer = train_tokenizer(special, "<end_of_utterance>")
    tiles = {"size": {"longest_edge": 3 * TILE}, "max_image_size": {"longest_edge": TILE}}
    processor = SmolVLMProcessor(
        image_processor=SmolVLMImageProcessor(**tiles),
        tokenizer=tokenizer,
        video_processor=SmolVLMVideoProcessor(**tiles),
        image_seq_len=TILE_TOKENS,
        chat_template=chat_template(
            "<image>", "'<|im_start|>' + message['role'] | capitalize + ':'", "<end_of_utterance>\n", "Assistant:"
        ),
    )
    config = SmolVLMConfig(
        vision_config={**VISION, "image_size": TILE, "patch_size": 8},
        text_config=text_config(tokenizer, model_type="llama", head_dim=32),
        image_token_id=token_id(tokenizer, "<image>"),
        pad_token_id=tokenizer.pad_token_id,
        scale_factor=2,
        tie_word_embeddings=False,
    )
    return SmolVLMForConditionalGeneration(config), processor


_BUILDERS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "internvl": _internvl,
    "qwen3_vl": _qwen3_vl,
    "qwen2_5_vl": _qwen2_5_vl,
    "llava_onevision": _llava_onevision,
    "smolvlm": _smolvlm,
}
FAMILIES = tuple(_BUILDERS)
